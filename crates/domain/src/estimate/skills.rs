//! The skills a prompt asks for, and the kind of work that follows from them.

use super::reading::{Kind, Reading};
use super::text::searchable;
use super::title::title;

/// Kinds of work, from the quickest to the most demanding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    Data,
    Editing,
    General,
    Writing,
    Design,
    Code,
    Research,
}

/// What the prompt needs of whoever does it.
#[derive(Debug)]
pub(super) struct Skills {
    pub(super) requirements: Option<String>,
    pub(super) work: Work,
}

/// How many skills are named at most.
const MOST: usize = 8;

/// Reads the skills from the instructions, the kind of work from the request first.
pub(super) fn skills(reading: &Reading) -> Skills {
    let mut found: Vec<&'static Skill> = SKILLS.iter().filter(|skill| skill.is_named_in(&reading.words)).collect();
    // "Write" alone says writing; "write a script" and "write a haiku" have said more.
    if found.iter().all(|skill| skill.work == Work::Data) && WRITE.is_named_in(&reading.words) {
        found.push(&WRITE);
    }
    let translates = found.iter().any(|skill| skill.label == "translation");
    let mut labels: Vec<&str> = found.iter().map(|skill| skill.label).collect();
    labels.extend(LANGUAGES.iter().filter(|language| names_language(&reading.words, language, translates)));
    if looks_like_csv(reading) && !labels.contains(&"spreadsheets and CSV") {
        labels.insert(0, "spreadsheets and CSV");
    }
    labels.truncate(MOST);
    let request = searchable(&title(reading));
    let first = request.split(' ').nth(1).unwrap_or_default();
    let work = if QUICK_VERBS.contains(&first) {
        Work::Data
    } else {
        let asked = found.iter().filter(|skill| skill.is_named_in(&request)).map(|skill| skill.work).max();
        asked.or_else(|| found.iter().map(|skill| skill.work).max()).unwrap_or(Work::General)
    };
    Skills { requirements: prose(&labels), work }
}

struct Skill {
    label: &'static str,
    work: Work,
    /// Whole words; `*` at the end of a cue stands for any ending; parted by commas.
    cues: &'static str,
}

impl Skill {
    fn is_named_in(&self, words: &str) -> bool {
        self.cues.split(", ").any(|cue| match cue.strip_suffix('*') {
            Some(start) => words.contains(&format!(" {start}")),
            None => words.contains(&format!(" {cue} ")),
        })
    }
}

/// `spreadsheets and CSV`, `arithmetic` → `Spreadsheets and CSV; arithmetic`.
fn prose(labels: &[&str]) -> Option<String> {
    let joined = labels.join("; ");
    let mut letters = joined.chars();
    let first = letters.next()?;
    Some(first.to_uppercase().chain(letters).collect())
}

/// A translation names its languages anywhere; elsewhere a language is one that is written *in*.
fn names_language(words: &str, language: &str, translates: bool) -> bool {
    let name = language.to_lowercase();
    let beside = ["into", "in", "to", "from"].iter().any(|before| words.contains(&format!(" {before} {name} ")));
    // "Polish" and "English" are said of too much else.
    let plain = !["polish", "english"].contains(&name.as_str());
    beside && (translates || plain) || translates && plain && words.contains(&format!(" {name} "))
}

/// Whether two lines of the material have the same three or more fields.
fn looks_like_csv(reading: &Reading) -> bool {
    let fields = |text: &str| text.matches(',').count();
    let rows = reading
        .blocks
        .iter()
        .filter(|block| block.kind == Kind::Material && !block.text.contains(['{', '}', ';', '(']));
    let counts: Vec<usize> = rows.map(|row| fields(&row.text)).collect();
    counts.windows(2).any(|pair| pair[0] == pair[1] && pair[0] >= 2)
}

/// A request that starts with one of these is done in minutes, whatever it is about.
const QUICK_VERBS: [&str; 16] = [
    "add",
    "alphabetize",
    "calculate",
    "compute",
    "count",
    "deduplicate",
    "extract",
    "list",
    "merge",
    "reformat",
    "rename",
    "reverse",
    "sort",
    "split",
    "sum",
    "tally",
];

const fn skill(label: &'static str, work: Work, cues: &'static str) -> Skill {
    Skill { label, work, cues }
}

static WRITE: Skill = skill("writing", Work::Writing, "write, draft, compose");

static SKILLS: [Skill; 42] = [
    skill(
        "spreadsheets and CSV",
        Work::Data,
        "csv, .csv, tsv, spreadsheet*, excel, xlsx, .xlsx, google sheets, pivot table, \
         invoices",
    ),
    skill("JSON", Work::Data, "json, .json, jsonl, json schema"),
    skill("XML", Work::Data, "xml, .xml, xslt, xpath"),
    skill("PDF documents", Work::Data, "pdf, .pdf, pdfs"),
    skill(
        "arithmetic",
        Work::Data,
        "sum, sums, add up, total, totals, average, averages, subtotal*, percent*, \
         calculate, compute, arithmetic",
    ),
    skill("careful counting", Work::Data, "count, counts, how many, number of, tally, frequency, frequencies"),
    skill(
        "sorting and cleaning data",
        Work::Data,
        "sort, sorted, dedup*, duplicates, clean up the data, clean the data, normalize, \
         normalise, alphabet*",
    ),
    skill("data extraction", Work::Data, "extract*, scrape, scraping, parse, parsing, data entry"),
    skill(
        "classification and labeling",
        Work::Data,
        "classif*, label each, labeling, annotat*, categoriz*, categoris*, sentiment",
    ),
    skill("dates and time zones", Work::Data, "date, dates, time zone*, timezone*, calendar, weekday*, iso 8601"),
    skill("transcription", Work::Editing, "transcri*, subtitle*, captions"),
    skill("translation", Work::Editing, "translat*, locali*, übersetz*, traduc*, tradui*"),
    skill("summarizing", Work::Editing, "summar*, tl;dr, key points, condense, abstract of"),
    skill(
        "proofreading and editing",
        Work::Editing,
        "proofread*, edit, editing, grammar, spelling, typos, rewrite, rephrase, paraphrase, \
         copyedit*",
    ),
    skill(
        "writing",
        Work::Writing,
        "essay*, article*, blog*, newsletter*, press release, cover letter, copywriting, \
         speech",
    ),
    skill(
        "creative writing",
        Work::Writing,
        "poem*, haiku*, story, stories, lyrics, limerick*, sonnet*, fiction, screenplay, \
         dialogue",
    ),
    skill(
        "marketing copy",
        Work::Writing,
        "marketing, slogan*, tagline*, product description*, landing page, ad copy, seo, \
         social media, tweet*, linkedin",
    ),
    skill(
        "technical writing",
        Work::Writing,
        "readme, user guide, user manual, release notes, changelog, api documentation, \
         documentation, tutorial*, white paper",
    ),
    skill("teaching and explaining", Work::Writing, "explain*, lesson*, quiz*, flashcard*, curriculum, teach*"),
    skill(
        "design",
        Work::Design,
        "logo*, design, designs, wireframe*, mockup*, figma, illustration*, ui, ux, ui/ux, \
         svg, icon, icons, poster, infographic*",
    ),
    skill("Python", Work::Code, "python, python3, .py, pandas, numpy, django, flask, fastapi, pytest"),
    skill(
        "JavaScript",
        Work::Code,
        "javascript, js, node.js, nodejs, react component*, react app*, in react, vue, vue.js, express.js, next.js",
    ),
    skill("TypeScript", Work::Code, "typescript, ts"),
    skill("Rust", Work::Code, "rust, rustc"),
    skill("Go", Work::Code, "golang, in go, go program, go code, go service"),
    skill("Java", Work::Code, "java, spring boot, maven"),
    skill("Kotlin or Swift", Work::Code, "kotlin, in swift, swift code, swiftui, android app, ios app"),
    skill("C or C++", Work::Code, "c++, cpp, in c, c code, c program"),
    skill("C# and .NET", Work::Code, "c#, .net, csharp, asp.net"),
    skill("Ruby", Work::Code, "ruby, rails"),
    skill("PHP", Work::Code, "php, laravel, wordpress"),
    skill("SQL", Work::Code, "sql, postgres, postgresql, mysql, sqlite, select statement, database*"),
    skill("shell scripts", Work::Code, "bash, shell, sh, shell script*, awk, sed, command line"),
    skill("HTML and CSS", Work::Code, "html, .html, css, tailwind, web page, webpage"),
    skill("regular expressions", Work::Code, "regex*, regular expression*, regexp"),
    skill(
        "programming",
        Work::Code,
        "script, function, program, algorithm, implement*, code, refactor*, \
         unit test*, endpoint*, api",
    ),
    skill(
        "debugging",
        Work::Code,
        "bug, bugs, debug*, stack trace, traceback, exception, segfault, crash, crashes, \
         panics",
    ),
    skill(
        "code review and testing",
        Work::Code,
        "code review, review this code, review the code, review my code, pull request, \
         unit test*, test cases, tests, test suite, security audit",
    ),
    skill("operations", Work::Code, "docker*, kubernetes, terraform, ci/cd, github actions, nginx, ansible"),
    skill(
        "statistics and data analysis",
        Work::Research,
        "statistic*, regression, data analysis, analyze, analyse, correlation, hypothesis, \
         forecast*, machine learning",
    ),
    skill(
        "research",
        Work::Research,
        "research, investigate, sources, cite, citations, literature review, compare, \
         comparison, competitor*, market analysis, fact-check*",
    ),
    skill(
        "law or finance",
        Work::Research,
        "contract, legal, gdpr, tax, taxes, accounting, balance sheet, due diligence, \
         privacy policy",
    ),
];

const LANGUAGES: [&str; 30] = [
    "Arabic",
    "Bengali",
    "Chinese",
    "Czech",
    "Danish",
    "Dutch",
    "English",
    "Finnish",
    "French",
    "German",
    "Greek",
    "Hebrew",
    "Hindi",
    "Hungarian",
    "Indonesian",
    "Italian",
    "Japanese",
    "Korean",
    "Mandarin",
    "Norwegian",
    "Polish",
    "Portuguese",
    "Romanian",
    "Russian",
    "Spanish",
    "Swedish",
    "Thai",
    "Turkish",
    "Ukrainian",
    "Vietnamese",
];
