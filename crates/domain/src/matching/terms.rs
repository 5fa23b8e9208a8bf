//! From text to terms: the one place that decides which words of two texts are the same.
//!
//! Words are Unicode words in lower case. English words lose their endings (*sorting*, *sorted* and
//! *sorts* meet in *sort*), words that say nothing are left out, and names such as `c++` or
//! `node.js`, which a plain word splitter tears apart, stay whole.

use std::collections::HashMap;

use rust_stemmers::{Algorithm, Stemmer};
use unicode_segmentation::UnicodeSegmentation;

/// Words longer than this many bytes are hashes, keys or encoded files, not words.
const LONGEST_TERM_BYTES: usize = 64;
/// Longer runs that end like `node.js` are addresses and paths, not names.
const LONGEST_NAME_BYTES: usize = 24;

/// The terms of a text in the order of their appearance, repetitions included.
pub fn terms(text: &str) -> Vec<String> {
    clauses(text).into_iter().flat_map(|clause| clause.terms).collect()
}

/// Whether jobs can be searched for a text: it has words, and none that is too long to be read.
pub(super) fn can_be_looked_for(text: &str) -> bool {
    let mut lengths = text.unicode_words().map(str::len).peekable();
    lengths.peek().is_some() && lengths.all(|length| length <= LONGEST_TERM_BYTES)
}

/// What stands together in a text, between two marks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Clause {
    pub(super) terms: Vec<String>,
    /// Whether it belongs to the first sentence that says anything.
    pub(super) is_of_first_sentence: bool,
}

/// The text in clauses, those left out that say nothing.
pub(super) fn clauses(text: &str) -> Vec<Clause> {
    let stemmer = Stemmer::create(Algorithm::English);
    let mut clauses: Vec<Clause> = Vec::new();
    let mut is_of_first_sentence = true;
    let mut rest = text;
    while !rest.is_empty() {
        let (clause, ends_sentence, behind) = first_clause(rest);
        let terms = terms_of(clause, &stemmer);
        if !terms.is_empty() {
            clauses.push(Clause { terms, is_of_first_sentence });
        }
        is_of_first_sentence &= clauses.is_empty() || !ends_sentence;
        rest = behind;
    }
    clauses
}

/// The text up to the first mark, whether it ends the sentence, and what is behind it. A mark is punctuation before a
/// blank, or the end of a line.
fn first_clause(text: &str) -> (&str, bool, &str) {
    let is_mark = |c: char| matches!(c, '.' | ';' | ':' | ',' | '!' | '?' | '(' | ')');
    let mut from = 0;
    while let Some(at) = text[from..].find(|c| is_mark(c) || c == '\n').map(|at| from + at) {
        let behind = text[at..].trim_start_matches(is_mark);
        let end = text.len() - behind.len();
        if let Some(next_line) = text[at..].strip_prefix('\n') {
            return (&text[..at], true, next_line);
        }
        if behind.is_empty() || behind.starts_with(char::is_whitespace) {
            return (&text[..at], text[at..end].contains(['.', ';', '!', '?']), behind);
        }
        from = end;
    }
    (text, true, "")
}

fn terms_of(text: &str, stemmer: &Stemmer) -> Vec<String> {
    spoken(text, stemmer).map(|(_, term)| term).collect()
}

/// For each term of a text, the first word that was read as it, as it stands there.
pub fn spellings(text: &str) -> HashMap<String, &str> {
    let stemmer = Stemmer::create(Algorithm::English);
    let mut spellings = HashMap::new();
    for (word, term) in spoken(text, &stemmer) {
        spellings.entry(term).or_insert(word);
    }
    spellings
}

/// The words that say something, and the term of each.
fn spoken<'t>(text: &'t str, stemmer: &Stemmer) -> impl Iterator<Item = (&'t str, String)> {
    text.split_whitespace().flat_map(move |chunk| {
        if let Some(name) = technical_name(chunk, stemmer) {
            return vec![(named(chunk), name)];
        }
        // The letters in an address are no languages.
        let least = if chunk.contains("://") { 2 } else { 1 };
        let mut spoken = Vec::new();
        for piece in pieces(chunk) {
            if let Some(name) = technical_name(piece, stemmer) {
                spoken.push((named(piece), name));
            } else {
                let words = piece.unicode_words().flat_map(parts).filter(|word| word.len() >= least);
                spoken.extend(words.filter_map(|word| Some((word, term(word, stemmer)?))));
            }
        }
        spoken
    })
}

/// A run of characters without blanks, cut where a technical name may begin or end in it: at a slash, where the script
/// changes (`使用node.js开发`), and behind `++` and `#` (`C++17`).
fn pieces(chunk: &str) -> Vec<&str> {
    let is_address = chunk.contains("://");
    let (mut pieces, mut from, mut before) = (Vec::new(), 0, None);
    for (at, c) in chunk.char_indices() {
        let ends_name = before.is_some_and(|before| matches!(before, '+' | '#')) && !matches!(c, '+' | '#');
        let changes =
            before.is_some_and(|before: char| before.is_ascii() != c.is_ascii() && (is_cjk(before) || is_cjk(c)));
        if (c == '/' && !is_address) || ends_name || changes {
            pieces.push(&chunk[from..at]);
            from = at;
        }
        before = Some(c);
    }
    pieces.push(&chunk[from..]);
    pieces
}

/// Scripts that are written without blanks.
const fn is_cjk(c: char) -> bool {
    c as u32 >= 0x2E80
}

/// A dot without a blank behind it does not make one word of two; in a number it does.
fn parts(word: &str) -> impl Iterator<Item = &str> {
    let dotted = word.contains('.') && word.contains(char::is_alphabetic);
    // What is left of "e.g." are single letters, which are no words.
    word.split(move |c| dotted && c == '.').filter(move |part| !dotted || part.chars().nth(1).is_some())
}

/// The term of one word, or none where the word says nothing.
fn term(word: &str, stemmer: &Stemmer) -> Option<String> {
    if word.len() > LONGEST_TERM_BYTES {
        return None;
    }
    let word = word.to_lowercase().replace('\u{2019}', "'");
    if STOP_WORDS.binary_search(&word.as_str()).is_ok() {
        return None;
    }
    Some(stemmed(same(&word), stemmer))
}

/// The stemmer's rules are English: letters it does not know are another language's, and signs make a name.
fn stemmed(word: &str, stemmer: &Stemmer) -> String {
    let is_english = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'\'');
    if is_english { stemmer.stem(word).into_owned() } else { word.to_owned() }
}

/// The name in a run of characters without blanks, where a word splitter would tear it apart.
fn technical_name(chunk: &str, stemmer: &Stemmer) -> Option<String> {
    let chunk = named(chunk);
    if chunk.len() > LONGEST_NAME_BYTES {
        return None;
    }
    let name = chunk.to_ascii_lowercase();
    is_technical(&name).then(|| stemmed(same(&name), stemmer))
}

/// Without quotes, brackets and the sentence's punctuation around it; a leading dot is kept for `.net`.
fn named(chunk: &str) -> &str {
    let chunk = chunk.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '.');
    chunk.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '+' && c != '#')
}

fn is_technical(name: &str) -> bool {
    let letters = |text: &str| text.bytes().all(|b| b.is_ascii_alphabetic());
    let alphanumeric = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric());
    if WHOLE.contains(&name) {
        return true;
    }
    if let Some(language) = name.strip_suffix("++").or_else(|| name.strip_suffix('#')) {
        return language.len() <= 3 && letters(language);
    }
    if let Some(rest) = name.strip_prefix('.') {
        return rest.len() <= 5 && alphanumeric(rest) && rest.starts_with(|c: char| c.is_ascii_alphabetic());
    }
    name.rsplit_once('.').is_some_and(|(stem, end)| alphanumeric(stem) && matches!(end, "js" | "net" | "io"))
}

/// Names with a slash, a hyphen or an ampersand inside.
const WHOLE: [&str; 16] = [
    "a/b",
    "ci/cd",
    "client/server",
    "i/o",
    "objective-c",
    "os/2",
    "pl/sql",
    "q&a",
    "r&d",
    "s/4hana",
    "scikit-learn",
    "t-sql",
    "tcp/ip",
    "ui/ux",
    "ux/ui",
    "x86-64",
];

/// What people write for the name of a technique, and that name; sorted.
const SAME: [(&str, &str); 39] = [
    (".cpp", "c++"),
    (".cs", "c#"),
    (".go", "go"),
    (".ipynb", "jupyter"),
    (".js", "javascript"),
    (".jsx", "react"),
    (".kt", "kotlin"),
    (".py", "python"),
    (".rb", "ruby"),
    (".rs", "rust"),
    (".ts", "typescript"),
    (".tsx", "typescript"),
    ("cplusplus", "c++"),
    ("cpp", "c++"),
    ("csharp", "c#"),
    ("css3", "css"),
    ("dotnet", ".net"),
    ("es6", "javascript"),
    ("golang", "go"),
    ("html5", "html"),
    ("ipynb", "jupyter"),
    ("js", "javascript"),
    ("jsx", "react"),
    ("k8s", "kubernetes"),
    ("mongo", "mongodb"),
    ("nodejs", "node.js"),
    ("objc", "objective-c"),
    ("postgres", "postgresql"),
    ("psql", "postgresql"),
    ("py", "python"),
    ("python3", "python"),
    ("react.js", "react"),
    ("reactjs", "react"),
    ("sklearn", "scikit-learn"),
    ("tailwindcss", "tailwind"),
    ("ts", "typescript"),
    ("tsx", "typescript"),
    ("vue.js", "vue"),
    ("vuejs", "vue"),
];

/// The name that this one stands for, or itself.
fn same(name: &str) -> &str {
    SAME.binary_search_by_key(&name, |(written, _)| written).map_or(name, |at| SAME[at].1)
}

/// English words that tell no job from another, sorted. `go`, `c` and `r` are languages and stay.
const STOP_WORDS: [&str; 148] = [
    "a", "about", "above", "after", "again", "all", "also", "am", "an", "and", "any", "are", "aren't", "as", "at",
    "be", "because", "been", "before", "being", "below", "between", "both", "but", "by", "can", "can't", "cannot",
    "could", "couldn't", "did", "didn't", "do", "does", "doesn't", "doing", "don't", "down", "during", "each", "etc",
    "ever", "few", "for", "from", "further", "had", "has", "have", "having", "he", "her", "here", "hers", "him", "his",
    "how", "i", "i'd", "i'll", "i'm", "i've", "if", "in", "into", "is", "isn't", "it", "it's", "its", "itself", "just",
    "kindly", "let", "like", "me", "more", "most", "must", "my", "myself", "no", "nor", "not", "of", "off", "on",
    "once", "only", "or", "other", "our", "ours", "out", "over", "own", "please", "same", "shall", "she", "should",
    "so", "some", "such", "than", "thank", "thanks", "that", "that's", "the", "their", "theirs", "them", "then",
    "there", "these", "they", "this", "those", "through", "to", "too", "under", "until", "up", "us", "very", "was",
    "we", "we'll", "were", "what", "when", "where", "which", "while", "who", "whom", "why", "will", "with", "won't",
    "would", "you", "you'll", "you're", "your", "yours",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_words_are_sorted_so_that_they_can_be_searched() {
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn words_are_lower_cased_and_lose_their_endings() {
        assert_eq!(terms("Sorting, SORTED and sorts!"), ["sort", "sort", "sort"]);
        assert_eq!(terms("the translations of it"), ["translat"]);
        assert_eq!(terms("don't you’ll the"), [""; 0]);
    }

    #[test]
    fn technical_names_stay_whole() {
        let text = "(C++), C#; .NET, Node.js and CI/CD. Objective-C; I know scikit-learn.";
        assert_eq!(terms(text), ["c++", "c#", ".net", "node.js", "ci/cd", "objective-c", "know", "scikit-learn"]);
        assert_eq!(terms("C and R, Go"), ["c", "r", "go"]);
    }

    #[test]
    fn names_of_one_thing_are_one_term() {
        assert!(SAME.is_sorted_by_key(|(written, _)| written));
        for (written, name) in [
            ("ts", "TypeScript"),
            ("*.ts,", "typescript"),
            ("JS", "JavaScript"),
            ("(cpp)", "C++"),
            ("k8s", "Kubernetes"),
            ("Postgres", "PostgreSQL"),
            ("NodeJS", "Node.js"),
            ("React.js", "React"),
            ("golang", "Go"),
        ] {
            assert_eq!(terms(written), terms(name), "{written}");
        }
        for (written, name) in SAME {
            assert_eq!(terms(written), terms(name), "{written}");
        }
    }

    #[test]
    fn names_are_found_in_what_is_written_without_blanks() {
        for (text, expected) in [
            ("C++/Python", &["c++", "python"][..]),
            ("C/C++", &["c", "c++"]),
            ("C++17", &["c++", "17"]),
            ("C++-Entwickler", &["c++", "entwickl"]),
            ("精通C++和Python", &["精", "通", "c++", "和", "python"]),
            ("使用node.js开发", &["使", "用", "node.js", "开", "发"]),
            ("js/ts", &["javascript", "typescript"]),
            ("https://x.io/a?b=c", &["https", "io"]),
        ] {
            let found: Vec<String> = terms(text);
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_terms_spelling_is_the_first_in_the_text() {
        let spellings = spellings("Translations of (Node.js) Übersetzung docs, translated.");
        for (term, word) in [("translat", "Translations"), ("node.js", "Node.js"), ("übersetzung", "Übersetzung")] {
            assert_eq!(spellings.get(term), Some(&word));
        }
        assert_eq!(spellings.get("of"), None);
    }

    #[test]
    fn sentence_punctuation_is_no_technical_name() {
        assert_eq!(terms("end.Start a+b and/or x, e.g. 3.14"), ["end", "start", "b", "x", "3.14"]);
    }

    #[test]
    fn what_only_looks_like_a_technical_name_is_words() {
        let cases = [
            ("count++ 3# .++ ++ # .", &["count", "3"][..]),
            (".gitignore .a-b .5", &["gitignor", "b", "5"]),
            ("node.jsx 日本.js a/c.js", &["node", "react", "日", "本", "javascript", "c.js"]),
            ("abcdefghijklmnopqrst1.net", &["abcdefghijklmnopqrst1", "net"]),
        ];
        for (text, expected) in cases {
            assert_eq!(terms(text), expected, "{text}");
        }
        assert_eq!(terms("abcdefghijklmnopqrst.net"), ["abcdefghijklmnopqrst.net"], "one letter less is a name");
    }

    #[test]
    fn other_scripts_are_words_too() {
        assert_eq!(terms("Übersetzung ins Englische"), ["übersetzung", "in", "englisch"]);
        assert_eq!(terms("Привет МИР"), ["привет", "мир"]);
        assert_eq!(terms("数据 🎉 -- ***"), ["数", "据"]);
    }

    #[test]
    fn encoded_noise_is_left_out() {
        assert_eq!(terms(&format!("key {} end", "Ab1".repeat(100))), ["key", "end"]);
        let longest = "1".repeat(LONGEST_TERM_BYTES);
        assert_eq!(terms(&format!("{longest} {longest}1")), [longest]);
    }
}
