//! Bounds: each is met exactly, and by the action that it is for, whatever the facts are.

use std::collections::BTreeMap;

use clawrk_domain::action::{AgentFields, Posting, Review};
use clawrk_domain::{Action, Actor, Cents, Command, Facts, Ids, JobId, Policy, Rejection, Timestamp, Verdict};
use clawrk_domain::{decide, limits};

use crate::world::posting;

fn letters(count: usize) -> String {
    "ü".repeat(count)
}

/// The field that is wrong with the action; none when something else refuses it or nothing.
fn wrong(action: Action) -> Option<&'static str> {
    let now = Timestamp::from_micros(0);
    let actor = Actor::User(Ids::new(1, now).user());
    let facts = Facts { now: Some(now), ..Facts::default() };
    match decide(&Command { seed: 1, actor, action }, &Policy::default(), facts) {
        Err(Rejection::Invalid { field, .. }) => Some(field),
        _ => None,
    }
}

fn job() -> JobId {
    Ids::new(1, Timestamp::from_micros(0)).job()
}

#[test]
fn each_field_of_a_posting_has_its_bound() {
    let post = |change: &dyn Fn(&mut Posting)| {
        let mut posting = posting(500);
        change(&mut posting);
        wrong(Action::Post(posting))
    };
    assert_eq!(post(&|_| ()), None);
    let bound = |field: &'static str, most: usize, set: fn(&mut Posting, String)| {
        assert_eq!(post(&|posting| set(posting, letters(most))), None, "{field}");
        assert_eq!(post(&|posting| set(posting, letters(most + 1))), Some(field));
        assert_eq!(post(&|posting| set(posting, "a\0".to_owned())), Some(field));
    };
    bound("prompt", 32_000, |posting, text| posting.prompt = text);
    bound("title", 200, |posting, text| posting.title = text);
    bound("description", 32_000, |posting, text| posting.description = Some(text));
    bound("requirements", 8_000, |posting, text| posting.requirements = Some(text));
    bound("criteria", 2_000, |posting, text| posting.criteria = vec![text]);
    assert_eq!(post(&|posting| posting.prompt = " \n".to_owned()), Some("prompt"));
    assert_eq!(post(&|posting| posting.title = " ".to_owned()), Some("title"));
    assert_eq!(post(&|posting| posting.criteria = vec![String::new()]), Some("criteria"));
    for (count, expected) in [(50, None), (51, Some("criteria")), (52, Some("criteria"))] {
        assert_eq!(post(&|posting| posting.criteria = vec!["a".to_owned(); count]), expected, "{count}");
    }
    for (cents, expected) in [(99, Some("price_cents")), (100, None), (100_000, None), (100_001, Some("price_cents"))] {
        assert_eq!(post(&|posting| posting.price = Cents(cents)), expected, "{cents}");
    }
    let field = Some("time_limit_seconds");
    for (seconds, expected) in [(59, field), (60, None), (86_400, None), (86_401, field)] {
        assert_eq!(post(&|posting| posting.time_limit_seconds = seconds), expected, "{seconds}");
    }
}

#[test]
fn a_submission_says_something_within_a_mebibyte() {
    let submit = |text: Option<&str>| {
        wrong(Action::Submit { job: job(), output_text: text.map(str::to_owned), files: Vec::new() })
    };
    let refused = Some("output_text");
    assert_eq!((submit(None), submit(Some(" \n")), submit(Some("a\0"))), (refused, refused, refused));
    assert_eq!(submit(Some(&"x".repeat(1 << 20))), None);
    assert_eq!(submit(Some(&"x".repeat((1 << 20) + 1))), refused);
    assert_eq!(submit(Some(&"x".repeat((1 << 20) + 2))), refused);
}

#[test]
fn reasons_are_given_where_they_are_needed_and_are_not_too_long() {
    let fail = |reason: Option<String>| wrong(Action::Fail { job: job(), reason });
    assert_eq!((fail(None), fail(Some(letters(8_000))), fail(Some(letters(8_001)))), (None, None, Some("reason")));
    let review = |verdict, reason: Option<String>| {
        wrong(Action::Review { job: job(), review: Review { verdict, reason, attempt: None } })
    };
    assert_eq!((review(Verdict::Pass, None), review(Verdict::Fail, None)), (None, Some("reason")));
    for verdict in [Verdict::Pass, Verdict::Fail] {
        assert_eq!(review(verdict, Some(letters(8_000))), None);
        assert_eq!(review(verdict, Some(letters(8_001))), Some("reason"));
        assert_eq!(review(verdict, Some(" ".to_owned())), Some("reason"));
    }
}

#[test]
fn an_agents_fields_are_bounded_when_it_comes_and_when_it_changes() {
    let agent = Ids::new(1, Timestamp::from_micros(0)).agent();
    let fields = |name: &str, personality: Option<String>, avatar_url: Option<&str>| {
        let (name, avatar_url) = (name.to_owned(), avatar_url.map(str::to_owned));
        let change = Action::UpdateAgent {
            agent,
            name: Some(name.clone()),
            personality: Some(personality.clone()),
            avatar_url: Some(avatar_url.clone()),
        };
        let made = wrong(Action::CreateAgent(AgentFields { name, personality, avatar_url }));
        assert_eq!(wrong(change), made);
        made
    };
    assert_eq!(fields("ada", None, None), None);
    assert_eq!(fields("", None, None), Some("name"));
    assert_eq!(fields("ada", Some(letters(8_000)), None), None);
    assert_eq!(fields("ada", Some(letters(8_001)), None), Some("personality"));
    assert_eq!(fields("ada", None, Some("ftp://a.example")), Some("avatar_url"));
    let url = |length: usize| format!("https://a.example/{}", "x".repeat(length - 18));
    assert_eq!(fields("ada", None, Some(&url(2_048))), None);
    assert_eq!(fields("ada", None, Some(&url(2_049))), Some("avatar_url"));
    let nothing = Action::UpdateAgent { agent, name: None, personality: None, avatar_url: None };
    assert_eq!(wrong(nothing), None);
}

#[test]
fn variables_are_counted_and_measured() {
    let many = |count: usize| (0..count).map(|n| (format!("V{n}"), String::new())).collect();
    assert!(limits::env_vars(&many(50)).is_ok() && limits::env_vars(&many(51)).is_err());
    let sized =
        |bytes: usize| BTreeMap::from([("A".to_owned(), "x".repeat(bytes - 3)), ("BC".to_owned(), String::new())]);
    assert!(limits::env_vars(&sized(32_768)).is_ok() && limits::env_vars(&sized(32_769)).is_err());
}

#[test]
fn an_email_address_has_one_at_sign_something_around_it_and_no_blanks() {
    let email = |text: &str| limits::email("email", text).ok();
    assert_eq!(email(" Ada@Example.ORG "), Some("ada@example.org".to_owned()));
    assert_eq!(email("ü@ä"), Some("ü@ä".to_owned()));
    for bad in ["", "a", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\tc", "a@b\u{7}", "a\0@b", "a@b\u{2003}c", "a@@"] {
        assert_eq!(email(bad), None, "{bad:?}");
    }
    let long = |bytes: usize| format!("{}@b", "a".repeat(bytes - 2));
    assert!(email(&long(254)).is_some() && email(&long(255)).is_none());
    // It is measured as it is kept: this letter is longer when it is small.
    let growing = |count: usize| format!("{}@b", "İ".repeat(count));
    assert!(email(&growing(84)).is_some() && email(&growing(85)).is_none());
}

#[test]
fn the_address_of_a_picture_has_no_blanks_or_control_characters_anywhere() {
    let url = |text: &str| limits::web_url("avatar_url", Some(text)).is_ok();
    assert!(limits::web_url("avatar_url", None).is_ok() && url("https://a.example/ü?b=%20#c"));
    for bad in ["https://a.example/a b", "https://a.example/\u{2003}", "https://a.example/\u{7}", " https://a.example"]
    {
        assert!(!url(bad), "{bad:?}");
    }
}
