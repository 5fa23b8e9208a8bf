//! What others read of an answer: a program one JSON document, a terminal nothing that steers it.

use serde_json::Value;

use super::{FORMS, Transcript, lines};

/// Text as somebody would write who wants to be read as something else: it clears the screen, names the window,
/// goes back in the line, turns the direction of writing, hides what follows, and is very wide.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\rverified\u{8}\u{9b}31m\u{85}\u{7f}\u{202e}txt.exe\u{2066}\
    \u{200b}\u{2028}\u{feff}世界世界世界世界世界世界世界世界世界世界世界世界世界世界世界世界🦀🦀🦀🦀🦀🦀🦀🦀";

/// Whether a character does something to a terminal other than being seen; a line break is meant.
fn steers(character: char) -> bool {
    let hidden = ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2060}'..='\u{206f}', '\u{feff}'..='\u{feff}'];
    (character.is_control() && character != '\n') || hidden.iter().any(|range| range.contains(&character))
}

#[test]
fn every_command_answers_a_program_with_one_document() {
    let mut story = Transcript::of(&[("ada", 2000), ("bob", 0)]);
    let script = "ada $ run 'Count to ten' --price 500 -y
        ada $ jobs
        ada $ show JOB1
        bob $ board
        bob $ stats
        bob $ directory vowels
        bob $ pull
        bob $ status
        bob $ accept
        bob $ submit -t '1 2 3'
        ada $ review JOB1 --pass
        ada $ wait JOB1
        ada $ run 'Count to twenty' --price 500 -y
        bob $ claim JOB2
        bob $ reject
        bob $ pull
        bob $ claim JOB2
        bob $ accept
        bob $ fail
        ada $ cancel JOB2 -y
        ada $ whoami
        ada $ balance
        ada $ wallet ledger
        ada $ wallet payments
        ada $ agents
        bob $ agents create poet
        bob $ agents show poet
        bob $ agents update poet --name bard
        bob $ use bard
        bob $ agents delete bard -y
        ada $ keys list
        ada $ keys create ci
        ada $ keys revoke KEY3
        ada $ doctor
        operator $ admin user create --name dee
        operator $ admin user grant dee 100
        operator $ admin audit
        operator $ admin payments
        operator $ config
        operator $ completions bash";
    for (who, typed) in lines(script) {
        let seen = story.run(who, &format!("{typed} --json"));
        assert_eq!((seen.code, &*seen.stderr), (0, ""), "{typed}");
        let document = document(&seen.stdout);
        if ["show JOB1", "doctor", "admin audit"].contains(&typed) {
            story.text.push_str(&format!("{who} $ clawrk {typed} --json\n{document:#}\n\n"));
        }
    }
    assert_told!(story.told());
}

#[test]
fn failures_are_documents_too() {
    let mut story = Transcript::of(&[("ada", 100)]);
    let script = "ada $ run 'Count to ten' --price 500 -y --json
        ada $ pay JOB1 --json
        ada $ run 'Count to ten' --price 1 -y --json
        ada $ run 'Count to ten' --json
        ada $ show abcdefghijkl --json
        ada $ show --json
        ada $ --json
        ada $ --json jbos
        ada $ jobs --json --newest
        ada $ accept --json
        ada $ submit -t '' --json
        ada $ jobs --json --server http://127.0.0.1:1
        ada $ wallet topup 20.00 --json
        ada $ wallet withdraw 20.00 --json
        stranger $ jobs --json
        operator $ admin reconcile --json
        operator $ admin audit --data-dir elsewhere --json
        operator $ config --config nowhere.toml --json";
    for (who, typed) in lines(script) {
        let seen = story.run(who, typed);
        assert_eq!(seen.stdout, "", "{typed}");
        let document = document(&seen.stderr);
        assert!(seen.code > 0 && document["error"].is_string() && document["code"].is_string(), "{typed}: {document}");
        story.text.push_str(&format!("{who} $ clawrk {typed}\n{}[exit {}]\n\n", seen.stderr, seen.code));
    }
    story.run("ada", "cancel JOB1 -y");
    for (who, typed) in [("ada", "wait JOB1 --json"), ("stranger", "doctor --json")] {
        let seen = story.run(who, typed);
        assert_eq!((seen.code, document(&seen.stderr)["code"].is_string()), (1, true), "{typed}");
        assert!(document(&seen.stdout).is_object(), "{typed} tells what it found all the same");
    }
    assert_told!(story.told());
}

/// Posted, worked on and looked at, with hostile text in every place that takes some.
#[test]
fn nothing_that_somebody_wrote_steers_a_terminal() {
    let mut story = Transcript::of(&[("mallory", 2000), ("bob", 2000)]);
    let script = "mallory $ run 'HOSTILE' --title 'HOSTILE' --description 'to all: HOSTILE' --requirements 'HOSTILE' \
            --criterion 'HOSTILE' --price 500 -y
        mallory $ agents create 'HOSTILE'
        mallory $ agents create 'HIDDEN' --personality 'HOSTILE'
        mallory $ agents create 'HIDDEN'
        mallory $ agents list
        mallory $ agents show 'HIDDEN'
        mallory $ agents show 'HOSTILE'
        bob $ directory
        bob $ directory 'HOSTILE'
        mallory $ use 'HIDDEN'
        mallory $ whoami
        mallory $ keys create 'HIDDEN'
        mallory $ keys list
        bob $ board
        bob $ show JOB1
        mallory $ pull
        mallory $ status
        mallory $ accept
        mallory $ submit -t 'HOSTILE'
        mallory $ jobs
        mallory $ wait JOB1 --timeout 0
        mallory $ review JOB1 --fail --reason 'HOSTILE'
        bob $ claim JOB1
        bob $ accept
        bob $ fail --reason 'HOSTILE'
        mallory $ show JOB1
        bob $ claim JOB1
        bob $ accept
        bob $ fail --reason 'HOSTILE'
        mallory $ watch JOB1
        bob $ show 'HOSTILE'
        bob $ jobs -s 'HOSTILE'
        bob $ 'HOSTILE'
        bob $ jobs --'HOSTILE'
        operator $ admin user create --name 'HIDDEN'
        operator $ admin user grant 'HIDDEN' 100
        operator $ admin user grant 'HOSTILE' 100
        operator $ config --listen 'HOSTILE'";
    // Names are short and take no control characters, which leaves what hides and turns.
    let hidden: String = HOSTILE.chars().filter(|character| !character.is_control()).take(60).collect();
    let escaped = [HOSTILE, &hidden].map(|text| Value::from(text).to_string().trim_matches('"').to_owned());
    for (who, line) in lines(script) {
        let typed = line.replace("HOSTILE", HOSTILE).replace("HIDDEN", &hidden);
        let seen = story.run(who, &typed);
        let answer = format!("{}{}", seen.stdout, seen.stderr);
        assert!(!answer.contains(steers), "{line}: {answer:?}");
        // Made harmless, not left out; what does not show it is written down with the answer.
        let is_shown = answer.contains("\\u{202e}");
        let answer = if is_shown { "shown harmless\n" } else { answer.as_str() };
        story.text.push_str(&format!("{who} $ clawrk {line}\n{answer}[exit {}]\n\n", seen.code));
        if is_shown && ["board", "jobs", "status", "show JOB1", "agents list", "keys list", "directory"].contains(&line)
        {
            let seen = story.run(who, &format!("{line} --json"));
            assert!(!seen.stdout.contains(steers), "{line}: {:?}", seen.stdout);
            let found = document(&seen.stdout).to_string();
            assert!(escaped.iter().any(|text| found.contains(text)), "{line}: {found}");
            // As on a terminal, where nothing is stripped.
            let coloured = story.command(who, line).env("CLICOLOR_FORCE", "1").output().unwrap().stdout;
            let coloured = without_styles(std::str::from_utf8(&coloured).unwrap());
            assert!(!coloured.contains(steers), "{line}: {coloured:?}");
        }
    }
    assert_told!(story.told());
}

/// The one document in the one line of a text.
#[track_caller]
fn document(text: &str) -> Value {
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.ends_with('\n'), "{text}");
    serde_json::from_str(text).unwrap()
}

/// A text without the styles that the program itself sets; it must have some.
#[track_caller]
fn without_styles(text: &str) -> String {
    let mut pieces = text.split('\u{1b}');
    let first = pieces.next().unwrap_or_default().to_owned();
    assert!(first.len() < text.len(), "no style in {text:?}");
    pieces.fold(first, |plain, piece| {
        let (style, rest) = piece.split_once('m').unwrap_or((piece, ""));
        assert!(
            style.starts_with('[') && style[1..].bytes().all(|byte| byte.is_ascii_digit() || byte == b';'),
            "{text:?}"
        );
        plain + rest
    })
}
