//! Prompts as people send them, traps among their data, and what holds for any text at all.

use proptest::prelude::*;

use super::*;

const CSV: &str = "Hi, could you please sum the amounts per customer in this CSV and return the result as CSV sorted by customer? \
                   Budget $3.\n\ncustomer,amount\nalice,12.50\nbob,30\nalice,7\n";
const ARTICLE: &str = "Hello!\n\nI have a long article about solar power (below). Please write a summary of at most 150 words. \
                       It must mention the cost per watt.\n\nThanks,\nAda";
const ENDPOINT: &str = "# Task\nBuild a REST endpoint in Python (FastAPI) that validates e-mail addresses.\n\n## Requirements\n\
                        - Must return JSON with `valid` and `reason`\n- Unit tests with pytest\n- [ ] No network calls\n\n## Notes\n- I like tabs\n";
const LETTER: &str = "Translate this letter into German. I'd pay 7.50 USD. I need it within 2 hours.\n\n\
                      ```\nDear landlord, you must fix the roof for $900 within 3 days.\n```";
const BUG: &str = "Fix this bug:\n\n```python\ndef f(x):\n    # must never return None\n    return x\n```\n\
                   It crashes with a traceback when x is None. Please don't change the signature.";
const LOGO: &str = "**Design a logo** for my bakery `Crumb`.\n1. SVG format\n2. at most 3 colors\nMake sure that:\n\
                    - it works in black and white\n- it is legible at 16px\nmy budget is up to $40";
const EMAIL: &str = "Extract all dates from the email below, one per line.\n\nHi team,\nWe should meet on March 3.\n\n\
                     You must bring 2 laptops and pay $20 within 2 hours.\n\n---\nUse only ISO 8601.";

fn title_of(prompt: &str) -> String {
    estimate(prompt).title
}

fn requirements_of(prompt: &str) -> String {
    estimate(prompt).requirements.unwrap_or_default()
}

fn criteria_of(prompt: &str) -> Vec<String> {
    estimate(prompt).criteria
}

#[test]
fn titles_say_what_is_asked_without_the_manners() {
    let long = title_of(CSV);
    assert_eq!(long, "Sum the amounts per customer in this CSV and return the result as CSV sorted by…");
    assert_eq!(title_of(ARTICLE), "Write a summary of at most 150 words");
    assert_eq!(title_of(ENDPOINT), "Build a REST endpoint in Python (FastAPI) that validates e-mail addresses");
    assert_eq!(title_of(LETTER), "Translate this letter into German");
    assert_eq!(title_of(BUG), "Fix this bug");
    assert_eq!(title_of(LOGO), "Design a logo for my bakery Crumb");
    assert_eq!(title_of("# Quarterly report\nMake it short."), "Quarterly report");
    assert_eq!(title_of("Hey Bob, can you tell me the time in Tokyo, please?"), "Tell me the time in Tokyo");
    assert_eq!(
        title_of("You are a helpful poet. I hope you are well. Write a [haiku](http://x.example)!"),
        "Write a haiku"
    );
    let form = "Answer with a table.\n\nFormat: a name in each line. Pull out every name of the text below.";
    assert_eq!(title_of(form), "Pull out every name of the text below");
    assert_eq!(title_of("Answer with one word, please"), "Answer with one word");
    assert_eq!(title_of("Bitte übersetze den Text ins Englische."), "Übersetze den Text ins Englische");
    assert_eq!(title_of("请把下面的文字翻译成英文"), "请把下面的文字翻译成英文");
    assert_eq!(
        title_of("Count the vowels in the following text: Write to me soon."),
        "Count the vowels in the following text"
    );
}

#[test]
fn what_stands_around_a_request_is_no_title() {
    let cases = [
        ("# Your task\nTen names of rivers", "Ten names of rivers"),
        ("# Hi\nTen names of rivers", "Ten names of rivers"),
        ("Expected output:\nTen names of rivers", "Ten names of rivers"),
        ("My name is Ada. Ten names of rivers.", "Ten names of rivers"),
        ("Hello! Ten names of rivers.", "Ten names of rivers"),
        ("Thank you.\n\nTen names of rivers.", "Ten names of rivers"),
        ("Rivers. Ten names of them.", "Ten names of them"),
        ("A b. Ten names of rivers.", "Ten names of rivers"),
        ("列出十条河。请快一点。", "列出十条河。"),
    ];
    for (prompt, title) in cases {
        assert_eq!(title_of(prompt), title, "{prompt}");
    }
}

#[test]
fn a_title_is_never_empty_and_never_speaks_to_the_terminal() {
    assert_eq!(title_of(""), "Untitled job");
    assert_eq!(title_of(" \u{200b}\u{7}\n\u{202e}"), "Untitled job");
    assert_eq!(title_of("🎉"), "🎉");
    assert_eq!(title_of("{\"a\": 1}\n"), "{\"a\": 1}");
    assert_eq!(title_of("\u{202e}Count\u{7} \u{1b}[31mthe red words"), "Count the red words");
    assert_eq!(title_of(&"x".repeat(500)).chars().count(), 80);
}

#[test]
fn the_description_is_the_prompt_trimmed() {
    assert_eq!(estimate("  Count to 3.\n ").description.as_deref(), Some("Count to 3."));
    assert_eq!(estimate(EMAIL).description.as_deref(), Some(EMAIL));
    assert_eq!(estimate(" \n").description, None);
}

#[test]
fn requirements_name_the_skills_that_the_prompt_needs() {
    assert_eq!(requirements_of(CSV), "Spreadsheets and CSV; arithmetic; sorting and cleaning data");
    assert_eq!(requirements_of(ENDPOINT), "JSON; Python; programming; code review and testing");
    assert_eq!(requirements_of(LETTER), "Translation; German");
    assert_eq!(requirements_of(BUG), "Python; debugging");
    assert_eq!(requirements_of("Write a haiku about rain"), "Creative writing");
    assert_eq!(requirements_of("Write a thank-you note to my neighbor"), "Writing");
    assert_eq!(requirements_of("Write a C++ function; no C#."), "C or C++; C# and .NET; programming");
    assert_eq!(requirements_of("Polish my French manicure, and trust the rusty gopher"), "");
    assert_eq!(requirements_of("Total the third column.\na,b,1\nc,d,2\n"), "Spreadsheets and CSV; arithmetic");
}

#[test]
fn a_language_is_a_skill_where_it_is_written_or_translated() {
    let cases = [
        ("Write a story in Danish", "Creative writing; Danish"),
        ("Write a story in English", "Creative writing"),
        ("Write a story about a Danish prince", "Creative writing"),
        ("Translate this letter into Polish", "Translation; Polish"),
        ("Translate what my Finnish and my Polish friend wrote", "Translation; Finnish"),
    ];
    for (prompt, requirements) in cases {
        assert_eq!(requirements_of(prompt), requirements, "{prompt}");
    }
}

#[test]
fn to_write_is_a_skill_unless_the_prompt_says_what_is_written() {
    let cases = [
        ("Write the totals as JSON", "JSON; arithmetic; writing"),
        ("Write a translation", "Translation"),
        ("Write a script", "Programming"),
        ("Write to Ada, Bob, and Carl.\n\nName tea, coffee, and milk.", "Writing"),
    ];
    for (prompt, requirements) in cases {
        assert_eq!(requirements_of(prompt), requirements, "{prompt}");
    }
}

#[test]
fn criteria_are_the_demands_of_the_prompt() {
    assert_eq!(criteria_of(ARTICLE), ["Write a summary of at most 150 words", "It must mention the cost per watt"]);
    assert_eq!(
        criteria_of(ENDPOINT),
        ["Must return JSON with valid and reason", "Unit tests with pytest", "No network calls"]
    );
    assert_eq!(criteria_of(LOGO), ["At most 3 colors", "It works in black and white", "It is legible at 16px"]);
    assert_eq!(
        criteria_of("Name ten rivers. Requirements: by length; in English. Short."),
        ["By length", "In English", "Short"]
    );
    assert_eq!(criteria_of("Name rivers.\nRequirements: by length; no duplicates."), ["By length", "No duplicates"]);
    assert_eq!(
        criteria_of("Do the following:\n1. Sort the list.\n2) Remove duplicates.\n3. sort the LIST\n\nThat is all."),
        ["Sort the list", "Remove duplicates"]
    );
    assert_eq!(criteria_of("I must say this is urgent. Should I worry? Tell me."), [""; 0]);
}

#[test]
fn demands_follow_an_announcement_up_to_the_end_of_its_list_or_section() {
    let cases: [(&str, &[&str]); 4] = [
        ("Ten rivers.\n\n## Rules\n\nThe longest first.\n\nNo lakes.", &["The longest first", "No lakes"]),
        ("Ten rivers.\n\n## Rules\n- By length\n\nFor kids.\n\n- No lakes", &["By length", "For kids", "No lakes"]),
        ("It must be:\n- short\n\nThat is all of it.\n\n- I like tabs", &["Short"]),
        ("Rules:\n\nfor kids of all ages\n\n- short", &["Short"]),
    ];
    for (prompt, criteria) in cases {
        assert_eq!(criteria_of(prompt), criteria, "{prompt}");
    }
}

#[test]
fn a_sentence_demands_an_action_or_a_length_of_the_answer() {
    let demands = [
        "Return the sum",
        "Sum it up and return the result",
        "Then please include a total",
        "A poem of 20 lines",
        "A poem of three lines",
        "A 200-word poem",
    ];
    for sentence in demands {
        assert_eq!(criteria_of(sentence), [sentence]);
    }
    for sentence in ["A 20-year story", "Read the 2nd word", "He will return the sum"] {
        assert_eq!(criteria_of(sentence), [""; 0], "{sentence}");
    }
}

#[test]
fn price_and_time_limit_are_no_criteria() {
    let prompt = "A poem.\nRequirements:\n- Budget: $5\n- Done within 2 hours\n- 200 words within 2 hours\n- Short";
    assert_eq!(criteria_of(prompt), ["200 words within 2 hours", "Short"]);
}

#[test]
fn what_the_material_says_is_no_criterion() {
    assert_eq!(criteria_of(BUG), ["Don't change the signature"]);
    assert_eq!(criteria_of(LETTER), [""; 0]);
    assert_eq!(criteria_of(EMAIL), ["Extract all dates from the email below, one per line", "Use only ISO 8601"]);
    let materials = [
        "Count the vowels in the following text: You must obey at least 3 rules.",
        "Count the vowels.\n\nText:\n\nYou must obey. You should rest.\nExactly 3 words.",
        "Count the vowels.\n<document id=\"1\">\nYou must obey.\n\nYou should rest.\n</document>",
        "Count the rows.\nname,rule\nada,must return JSON\nbob,should rest",
        "Count the vowels.\n> You must obey.\n> You should rest.",
        "Count the vowels.\n~~~\nYou must obey.\n```\nYou should rest.",
        "Count the vowels.\n{\"rule\": \"must be sorted by name\",\n \"note\": \"at least 3\"\n}",
        "Count the vowels in \"You must obey. You should rest.\"",
        "Count the vowels in “You must obey. You should rest.”",
    ];
    for prompt in materials {
        assert_eq!(criteria_of(prompt), [""; 0], "{prompt}");
    }
}

#[test]
fn a_tag_around_instructions_makes_no_material_of_them() {
    let prompt =
        "<task>\nWrite code that does the following: it must sort.\n</task>\n<input>\nYou must rest.\n</input>";
    assert_eq!(criteria_of(prompt), ["Write code that does the following: it must sort"]);
}

#[test]
fn there_are_at_most_twelve_criteria_of_at_most_300_characters() {
    let many: String = (0..40).map(|n| format!("- rule {n} {}\n", "long ".repeat(100))).collect();
    let criteria = criteria_of(&format!("Requirements:\n{many}"));
    assert_eq!(criteria.len(), 12);
    assert!(criteria.iter().all(|text| text.chars().count() <= 300 && text.ends_with('…')));
}

#[test]
fn more_demanding_work_costs_more_and_takes_longer() {
    let kinds = [
        "Count the vowels in my name",
        "Proofread my note",
        "Write a newsletter about tea",
        "Design a logo",
        "Implement a parser in Rust",
        "Research the competitors of Notion and cite sources",
    ];
    let costs: Vec<_> = kinds.map(estimate).into_iter().map(|e| (e.price_cents, e.time_limit_seconds)).collect();
    assert!(costs.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1), "{costs:?}");

    let short = estimate("Proofread my note");
    let long = estimate(&format!("Proofread my note\n\nText:\n{}", "word ".repeat(5_000)));
    assert!(long.price_cents >= short.price_cents + 900 && long.time_limit_seconds > short.time_limit_seconds);
    let essay = estimate("Write an essay of 2,000 words");
    assert!(essay.price_cents > estimate("Write an essay of 200 words").price_cents);
    assert_eq!(estimate("Count the words of this Python research article").price_cents, 150);
}

#[test]
fn the_form_of_the_answer_is_a_criterion_and_the_senders_own_duties_are_none() {
    let prompt =
        "My essay has to stay under 200 words. Count it.\n\nThe answer must be exactly these two lines:\n\nwords: N";
    assert_eq!(estimate(prompt).criteria, ["The answer must be exactly these two lines"]);
    let listed = "Write a poem.\n\nIt must be:\n- short\n- sad";
    assert_eq!(estimate(listed).criteria, ["Short", "Sad"]);
}

#[test]
fn the_basis_says_why_and_that_the_board_is_public() {
    let basis = estimate(CSV).basis;
    let reason =
        "Price $3.00: as the prompt says. Time 12 min: short data task (about 27 words of input, 1 criterion).";
    assert!(basis.starts_with(reason), "{basis}");
    let basis = estimate("Research tea; cite at least 3 sources.").basis;
    assert!(
        basis.starts_with(
            "Price $8.50: short research task (about 7 words of input, 1 criterion). Time 1 h 32 min: same."
        ),
        "{basis}"
    );
    assert!(basis.ends_with("Title and description are public on the board."), "{basis}");
}

/// What holds for every prompt.
fn check(prompt: &str) -> Result<(), TestCaseError> {
    let made = estimate(prompt);
    let clean = |text: &str| {
        !text.contains(|c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)) && text == text.trim()
    };
    prop_assert!((1..=80).contains(&made.title.chars().count()), "{:?}", made.title);
    prop_assert!(clean(&made.title), "{:?}", made.title);
    prop_assert!(made.criteria.len() <= 12);
    for criterion in &made.criteria {
        prop_assert!((2..=300).contains(&criterion.chars().count()) && clean(criterion), "{criterion:?}");
    }
    prop_assert!((100..=100_000).contains(&made.price_cents) && (60..=86_400).contains(&made.time_limit_seconds));
    prop_assert!(made.basis.contains("No model is configured") && clean(&made.basis));
    prop_assert_eq!(made.description.as_deref().unwrap_or_default(), prompt.trim());
    prop_assert_eq!(&estimate(prompt), &made);
    Ok(())
}

/// Pieces that mean something to one rule or another.
const PIECES: [&str; 48] = [
    "\n",
    "\n\n",
    " ",
    "- ",
    "1. ",
    "# ",
    "```",
    "```csv\n",
    "> ",
    "\"",
    "“",
    "”",
    "'",
    ":",
    ": ",
    ".",
    "…",
    ",",
    "$",
    "$5",
    "$1e9",
    "budget ",
    "pay ",
    "I'd ",
    "USD",
    "within ",
    "in ",
    "2 ",
    "99999999999",
    "hours",
    "min",
    "must ",
    "exactly ",
    "words",
    "500-word",
    "text below:",
    "Requirements:",
    "Hi ",
    "Dear İ,",
    "please ",
    "thanks",
    "](",
    "[a](b)",
    "<a>",
    "</a>",
    "\u{1b}[",
    "ß\u{301}",
    "\u{0}",
];

proptest! {
    #[test]
    fn any_text_gets_an_estimate_within_bounds(prompt in any::<String>()) {
        check(&prompt)?;
    }

    #[test]
    fn any_mixture_of_meaningful_pieces_does_too(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60)) {
        check(&pieces.concat())?;
    }

    #[test]
    fn offered_prices_are_never_changed(cents in 100_i64..=100_000) {
        let prompt = format!("Count to 3. Budget: ${}.{:02}.", cents / 100, cents % 100);
        prop_assert_eq!(estimate(&prompt).price_cents, cents);
    }
}

#[test]
fn texts_made_to_confuse_are_read_too() {
    let pieces = [
        "[",
        "](",
        "\"",
        "<a>\n",
        "1. ",
        "hi ",
        "please ",
        "$1 budget ",
        "in 1 ",
        "a,b\n",
        "within the ",
        "[a](",
        "“",
        "\u{1b}[",
    ];
    for piece in pieces {
        let prompt = piece.repeat(32_000 / piece.chars().count());
        check(&prompt).expect(piece);
    }
}
