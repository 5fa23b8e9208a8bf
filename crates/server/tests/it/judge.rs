//! The judge over the real wire: what reaches a model of the words of others, and what a model can make of its office.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clawrk_domain::CriterionResult;
use clawrk_domain::verification::judge::{Case, CaseFile, SYSTEM};
use clawrk_server::config::Provider;
use clawrk_server::verify::{Judge, JudgeFailure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fake_llm::{Asked, FakeLlm, KEY, Reply};

const ALL: [Provider; 3] = [Provider::OpenAi, Provider::Anthropic, Provider::Ollama];
const HONEST: &str = "The rain falls down upon the town.";

/// What a judge makes of a question.
type Answering = fn(&Asked) -> Reply;

/// A case of the set that `clawrk eval judge` measures a model with.
#[derive(Deserialize)]
struct Labelled {
    title: String,
    prompt: String,
    criteria: Vec<String>,
    output_text: String,
    #[serde(default)]
    files: Vec<LabelledFile>,
    expect: String,
    attack: Option<String>,
}

#[derive(Deserialize)]
struct LabelledFile {
    name: String,
    text: String,
}

fn labelled() -> Vec<Labelled> {
    let lines = include_str!("../../../../evals/judge.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Labelled {
    /// What is judged; where something is hidden in it, a file has it too, in its content and in its name.
    fn case(&self) -> Case {
        let file = |name: &str, text: &str| CaseFile {
            name: name.chars().take(90).collect(),
            text: Some(text.to_owned()),
            ..CaseFile::default()
        };
        let mut files: Vec<CaseFile> = self.files.iter().map(|one| file(&one.name, &one.text)).collect();
        files.extend(self.attack.iter().map(|_| file(&self.output_text, &self.output_text)));
        Case {
            title: self.title.clone(),
            prompt: self.prompt.clone(),
            criteria: self.criteria.clone(),
            output_text: Some(self.output_text.clone()),
            files,
            ..Case::default()
        }
    }
}

fn case(output: &str) -> Case {
    Case {
        title: "A poem".to_owned(),
        prompt: "Write a poem about rain.".to_owned(),
        criteria: vec!["It is about rain".to_owned(), "It rhymes".to_owned()],
        output_text: Some(output.to_owned()),
        ..Case::default()
    }
}

/// The document that was asked about, which must stand once between two markers and nowhere else.
pub fn document(asked: &Asked) -> Value {
    let (opener, rest) = asked.user.split_once("DATA BEGINS ").unwrap();
    let (marker, rest) = rest.split_once('\n').unwrap();
    assert!(marker.len() == 32 && marker.bytes().all(|byte| byte.is_ascii_hexdigit()), "{marker}");
    assert_eq!(asked.user.matches(marker).count(), 2);
    let (data, closer) = rest.split_once(&format!("\nDATA ENDS {marker}\n")).unwrap();
    assert_eq!(opener, "The document to be judged is between the next line and the line that ends it.\n");
    assert!(closer.starts_with("Judge the submission by each of the ") && closer.lines().count() == 1, "{closer}");
    serde_json::from_str(data).unwrap()
}

/// An answer to a question, in which each criterion passes with this quote, or fails where there is none.
pub fn verdict(asked: &Asked, quote: impl Fn(&str) -> Option<&'static str>) -> Value {
    let document = document(asked);
    let entries = document["criteria"].as_array().unwrap().iter().map(|criterion| {
        let quote = quote(criterion["criterion"].as_str().unwrap());
        json!({"id": criterion["id"], "evidence": quote.unwrap_or(""), "reason": "I have read it.", "pass": quote.is_some()})
    });
    json!({"criteria": entries.collect::<Vec<_>>()})
}

async fn judged(judge: &Judge, case: &Case, price: i64) -> Result<(Vec<bool>, Vec<String>), JudgeFailure> {
    let lines = Mutex::new(Vec::new());
    let found = judge.judge(case, price, &|line| lines.lock().unwrap().push(line.to_owned())).await?;
    let texts: Vec<&str> = found.iter().map(|found: &CriterionResult| found.text.as_str()).collect();
    assert_eq!(texts, case.criteria);
    Ok((found.iter().map(|found| found.pass).collect(), lines.into_inner().unwrap()))
}

#[tokio::test]
async fn two_readings_that_agree_are_the_verdict_over_every_wire() {
    for provider in ALL {
        let fake = FakeLlm::start(provider).await;
        let judge = Judge::new(fake.llm(), None);
        fake.thinks(|asked| {
            Reply::Json(verdict(asked, |text| (text == "It is about rain").then_some("The rain falls")))
        });
        let (passes, lines) = judged(&judge, &case(HONEST), 100).await.unwrap();
        assert_eq!(passes, [true, false]);
        assert_eq!((judge.name().as_str(), judge.tokens()), ("judge:fake-1", (22, 14)));
        assert!(lines[0].contains("34 characters") && lines.len() == 5, "{lines:?}");
        let asked = fake.asked();
        let [one, other] = &asked[..] else { panic!("{asked:?}") };
        let (one, other) = (document(one), document(other));
        let texts = |document: &Value| {
            let criteria = document["criteria"].as_array().unwrap();
            criteria.iter().map(|criterion| criterion["criterion"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(texts(&one), texts(&other).into_iter().rev().collect::<Vec<_>>());
        assert_ne!(one["criteria"][0]["id"], other["criteria"][1]["id"], "ids are drawn for each reading");
        assert_ne!(asked[0].user, asked[1].user);
    }
}

#[tokio::test]
async fn readings_that_disagree_are_settled_by_a_third() {
    let fake = FakeLlm::start(Provider::OpenAi).await;
    let judge = Judge::new(fake.llm(), None);
    for (third_passes, passes) in [(true, [true, true]), (false, [true, false])] {
        let count = AtomicUsize::new(0);
        fake.thinks(move |asked| {
            let passes = [true, false, third_passes][count.fetch_add(1, Ordering::SeqCst)];
            Reply::Json(verdict(asked, |text| (passes || text == "It is about rain").then_some("The rain falls")))
        });
        assert_eq!(judged(&judge, &case(HONEST), 100).await.unwrap().0, passes);
        assert_eq!(fake.asked().len(), 3);
    }
}

#[tokio::test]
async fn a_dear_job_is_read_by_the_second_model_too() {
    let fake = FakeLlm::start(Provider::OpenAi).await;
    let judge = Judge::new(fake.llm(), Some((fake.llm().with_model("fake-2"), 5_000)));
    fake.thinks(|asked| Reply::Json(verdict(asked, |_| None)));
    for (price, models) in [(4_999, ["fake-1", "fake-1"]), (5_000, ["fake-1", "fake-2"])] {
        judged(&judge, &case(HONEST), price).await.unwrap();
        let mut asked: Vec<String> = fake.asked().into_iter().map(|asked| asked.model).collect();
        asked.sort();
        assert_eq!(asked, models);
    }
}

#[tokio::test]
async fn every_attack_reaches_the_judge_as_data_and_nothing_else() {
    let attacks: Vec<Labelled> = labelled().into_iter().filter(|case| case.attack.is_some()).collect();
    let mut families = BTreeMap::new();
    attacks.iter().for_each(|attack| *families.entry(attack.attack.as_deref()).or_insert(0) += 1);
    assert!(families.len() == 12 && families.values().all(|many| *many == 10), "{families:?}");
    let fake = FakeLlm::start(Provider::Anthropic).await;
    let judge = Judge::new(fake.llm(), None);
    fake.thinks(|asked| Reply::Json(verdict(asked, |_| None)));
    for attack in attacks {
        let (case, text) = (attack.case(), &attack.output_text);
        let about = format!("{:?}: {}", attack.attack, text.chars().take(200).collect::<String>());
        assert_eq!(attack.expect, "fail", "{about}");
        assert_eq!(judged(&judge, &case, 100).await.unwrap().0, vec![false; case.criteria.len()], "{about}");
        let asked = fake.asked();
        assert_eq!(asked.len(), 2);
        for asked in asked {
            let document = document(&asked);
            assert_eq!(asked.system, SYSTEM);
            let shown = document["submission"]["output_text"]["text"].as_str().unwrap();
            assert!(text.starts_with(shown) && (shown == text || shown.len() > 10_000), "{about}");
            for (place, file) in case.files.iter().enumerate() {
                assert_eq!(document["submission"]["files"][place]["name"], file.name.as_str());
            }
            let acts = |c: char| {
                c == '<'
                    || c.is_control() && c != '\n'
                    || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
            };
            assert!(!asked.user.contains(acts) && !asked.user.contains("[INST]"), "{about}");
            assert!(!asked.user.contains(|c: char| ('\u{e0000}'..='\u{e007f}').contains(&c)), "{about}");
        }
    }
}

#[tokio::test]
async fn of_every_honest_case_the_judge_sees_all_and_can_give_the_right_verdict() {
    let cases: Vec<Labelled> = labelled().into_iter().filter(|case| case.attack.is_none()).collect();
    let many = |expect: &str| cases.iter().filter(|case| case.expect == expect).count();
    assert_eq!((many("pass"), many("fail"), cases.len()), (60, 60, 120));
    let fake = FakeLlm::start(Provider::Ollama).await;
    let judge = Judge::new(fake.llm(), None);
    for labelled in cases {
        let passes = labelled.expect == "pass";
        fake.thinks(move |asked| {
            let document = document(asked);
            let shown = document["submission"]["output_text"]["text"].as_str().unwrap();
            // The longest line proves what it proves.
            let line = shown.lines().max_by_key(|line| line.len()).unwrap().trim();
            let mut answer = verdict(asked, |_| None);
            for entry in answer["criteria"].as_array_mut().unwrap().iter_mut().filter(|_| passes) {
                (entry["pass"], entry["evidence"]) = (json!(true), json!(line));
            }
            Reply::Json(answer)
        });
        let found = judged(&judge, &labelled.case(), 100).await;
        let (found, _) = found.unwrap_or_else(|failure| panic!("{}: {failure}", labelled.output_text));
        assert_eq!(found, vec![passes; labelled.criteria.len()], "{}", labelled.output_text);
        for asked in fake.asked() {
            let submission = &document(&asked)["submission"]["output_text"];
            assert_eq!(
                (submission["text"].as_str(), &submission["not_shown_characters"]),
                (Some(labelled.output_text.as_str()), &json!(0))
            );
        }
    }
}

#[tokio::test]
async fn a_hostile_judge_gives_no_verdict_whatever_it_says() {
    let fake = FakeLlm::start(Provider::OpenAi).await;
    let judge = Judge::new(fake.llm(), None).within(Duration::from_millis(700));
    let answers: [(&str, Answering); 13] = [
        ("prose", |_| Reply::Text("PASS".to_owned())),
        ("prose before", |asked| Reply::Text(format!("PASS {}", verdict(asked, |_| Some("The rain falls"))))),
        ("no evidence", |asked| Reply::Json(verdict(asked, |_| Some("")))),
        ("invented", |asked| Reply::Json(verdict(asked, |_| Some("the moon is made of cheese")))),
        ("trivial", |asked| Reply::Json(verdict(asked, |_| Some("rain")))),
        ("from the job", |asked| Reply::Json(verdict(asked, |_| Some("Write a poem about rain.")))),
        ("extra", |asked| {
            let mut answer = verdict(asked, |_| Some("The rain falls"));
            answer["pay_cents"] = json!(100_000);
            Reply::Json(answer)
        }),
        ("tools", |_| {
            let call = json!({"id": "1", "type": "function", "function": {"name": "pay", "arguments": "{}"}});
            let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
            Reply::Body(json!({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).to_string())
        }),
        ("echo", |asked| Reply::Text(asked.user.clone())),
        ("declines", |_| Reply::Declines),
        ("no JSON", |_| Reply::Body("{\"criteria\":[".to_owned())),
        ("huge", |_| Reply::Huge(50 << 20)),
        ("endless", |_| Reply::Endless),
    ];
    for (name, answer) in answers {
        fake.thinks(answer);
        let begun = Instant::now();
        let failure = judged(&judge, &case(HONEST), 100).await.expect_err(name);
        assert!(begun.elapsed() < Duration::from_secs(10), "{name}");
        assert!(!failure.problem.contains("PASS") && failure.problem.len() < 300, "{name}: {failure}");
    }
}

#[tokio::test]
async fn an_answer_that_is_none_is_asked_for_once_more() {
    let fake = FakeLlm::start(Provider::OpenAi).await;
    let judge = Judge::new(fake.llm(), None);
    fake.will([Reply::Text("PASS".to_owned())]);
    fake.thinks(|asked| Reply::Json(verdict(asked, |_| Some("The rain falls"))));
    assert_eq!(judged(&judge, &case(HONEST), 100).await.unwrap().0, [true, true]);
    assert_eq!(fake.asked().len(), 3);
    fake.thinks(|_| Reply::Later(429, "7"));
    let busy = judged(&judge, &case(HONEST), 100).await.unwrap_err();
    assert_eq!(busy.pause_seconds, Some(7));
}

#[tokio::test]
async fn the_judge_is_told_neither_price_nor_key_and_says_what_it_was_not_shown() {
    let fake = FakeLlm::start(Provider::OpenAi).await;
    let judge = Judge::new(fake.llm(), None);
    fake.thinks(|asked| Reply::Json(verdict(asked, |_| Some("the very last words"))));
    let long = format!("{}the very last words", "word ".repeat(40_000));
    judged(&judge, &case(&long), 76_543).await.expect_err("what was not shown cannot be quoted");
    fake.thinks(|asked| Reply::Json(verdict(asked, |_| Some("word word word"))));
    let (passes, lines) = judged(&judge, &case(&long), 76_543).await.unwrap();
    assert_eq!(passes, [true, true]);
    assert!(lines[1].contains("is not shown 80019 characters"), "{lines:?}");
    for asked in fake.asked() {
        assert_eq!(document(&asked)["submission"]["output_text"]["not_shown_characters"], 80_019);
        let wire = format!("{}{}{}", asked.system, asked.user, asked.schema);
        assert!(!wire.contains("76543") && !wire.contains(KEY));
    }
}
