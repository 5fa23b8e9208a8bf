//! The title: what is asked, in one short line, without the manners around it.

use super::manners::{ENDINGS, GREETINGS, MANNERS, bare};
use super::reading::{Kind, Reading};
use super::text::{clean, searchable, sentences, shortened};

/// Characters of a title, the ellipsis included.
const LONGEST: usize = 80;

/// How many sentences are looked at for one that asks for something.
const SENTENCES: usize = 12;

/// The title of a prompt without a single visible character.
const UNTITLED: &str = "Untitled job";

/// The first sentence that asks for something, else the first that says something, else anything visible.
pub(super) fn title(reading: &Reading) -> String {
    let headed =
        reading.blocks.iter().find(|block| block.kind != Kind::Material).filter(|block| block.kind == Kind::Heading);
    if let Some(heading) = headed.map(|block| bare(&block.text)).filter(|text| says_something(text) && !is_label(text))
    {
        return shortened(&heading, LONGEST);
    }
    let candidates: Vec<&str> = reading
        .instructions()
        .flat_map(|block| sentences(&block.text))
        .filter(|text| says_something(&bare(text)) && !is_label(text))
        .take(SENTENCES)
        .collect();
    let asking = candidates.iter().find(|text| asks(text) && !is_about_the_form(text));
    let chosen = asking.or_else(|| candidates.iter().find(|text| !is_introduction(text))).or(candidates.first());
    let anything = || {
        reading.blocks.iter().map(|block| clean(&block.text)).find(|text| text.contains(|c: char| !c.is_whitespace()))
    };
    let title = chosen.map(|text| bare(text)).or_else(anything).map(|text| shortened(&text, LONGEST));
    title.filter(|title| !title.is_empty()).unwrap_or_else(|| UNTITLED.to_owned())
}

fn says_something(text: &str) -> bool {
    let letters = text.chars().filter(|c| c.is_alphanumeric()).count();
    let words = text.split_whitespace().count();
    let wide = text.chars().any(|c| c.is_alphabetic() && u32::from(c) >= 0x2E80);
    let manners = GREETINGS.iter().chain(&MANNERS).chain(&ENDINGS).any(|phrase| phrase.eq_ignore_ascii_case(text));
    !manners && (words >= 2 && letters >= 4 || wide && letters >= 2)
}

/// A word over a section, or a sentence that only leads to a list.
fn is_label(text: &str) -> bool {
    let words = searchable(text);
    let label = words.trim().trim_start_matches("the ").trim_start_matches("your ");
    LABELS.contains(&label)
}

fn is_introduction(text: &str) -> bool {
    let words = searchable(text);
    INTRODUCTIONS.iter().any(|start| words.strip_prefix(' ').is_some_and(|words| words.starts_with(start)))
}

fn asks(text: &str) -> bool {
    let words = searchable(&bare(text));
    let first = words.split(' ').nth(1).unwrap_or_default();
    let politely = searchable(text);
    VERBS.contains(&first) || CUES.iter().any(|cue| politely.contains(cue))
}

/// A sentence that says how the answer should look, and not what is asked.
fn is_about_the_form(text: &str) -> bool {
    let words = searchable(&bare(text));
    FORMS.iter().any(|start| words.strip_prefix(' ').is_some_and(|words| words.starts_with(start)))
}

const CUES: [&str; 9] = [
    " please ",
    " could you ",
    " can you ",
    " would you ",
    " need you to ",
    " want you to ",
    " like you to ",
    " like to know ",
    " want to know ",
];

const FORMS: [&str; 13] = [
    "format ",
    "output ",
    "answer with ",
    "answer as ",
    "answer in ",
    "reply with ",
    "reply in ",
    "respond with ",
    "respond in ",
    "return only ",
    "output only ",
    "no other text",
    "no explanation",
];

const LABELS: [&str; 36] = [
    "task",
    "tasks",
    "job",
    "request",
    "prompt",
    "instructions",
    "instruction",
    "description",
    "goal",
    "goals",
    "objective",
    "objectives",
    "overview",
    "context",
    "background",
    "summary",
    "question",
    "input",
    "input data",
    "data",
    "requirements",
    "criteria",
    "acceptance criteria",
    "rules",
    "output",
    "output format",
    "expected output",
    "format",
    "notes",
    "example",
    "examples",
    "details",
    "constraints",
    "deliverables",
    "task description",
    "job description",
];

const INTRODUCTIONS: [&str; 23] = [
    "i am ",
    "i'm ",
    "i have ",
    "i've ",
    "i hope ",
    "hope ",
    "my name ",
    "we are ",
    "we're ",
    "we have ",
    "we've ",
    "you are ",
    "you're ",
    "act as ",
    "thanks ",
    "thank you ",
    "here is ",
    "here are ",
    "here's ",
    "this is ",
    "attached ",
    "below ",
    "many thanks ",
];

/// What a request starts with.
const VERBS: [&str; 90] = [
    "add",
    "analyze",
    "analyse",
    "answer",
    "build",
    "calculate",
    "check",
    "choose",
    "classify",
    "clean",
    "collect",
    "compare",
    "compile",
    "compose",
    "compute",
    "convert",
    "correct",
    "count",
    "create",
    "debug",
    "deduplicate",
    "describe",
    "design",
    "develop",
    "document",
    "draft",
    "draw",
    "edit",
    "estimate",
    "evaluate",
    "explain",
    "extract",
    "fill",
    "find",
    "fix",
    "format",
    "gather",
    "generate",
    "give",
    "go",
    "identify",
    "implement",
    "improve",
    "investigate",
    "label",
    "list",
    "look",
    "make",
    "merge",
    "migrate",
    "optimize",
    "organize",
    "outline",
    "parse",
    "plan",
    "port",
    "prepare",
    "produce",
    "proofread",
    "propose",
    "provide",
    "pull",
    "rank",
    "read",
    "refactor",
    "remove",
    "rename",
    "replace",
    "research",
    "review",
    "rewrite",
    "search",
    "set",
    "shorten",
    "show",
    "solve",
    "sort",
    "split",
    "sum",
    "summarize",
    "summarise",
    "tell",
    "test",
    "transcribe",
    "transform",
    "translate",
    "turn",
    "update",
    "verify",
    "write",
];
