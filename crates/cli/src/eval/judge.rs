//! `eval judge`: how often the judge is wrong about cases whose verdict is known, and how often attacks move it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use clawrk_domain::verification::judge::{Case, CaseFile};
use clawrk_server::verify::{Judge, JudgeFailure};
use serde_json::{Map, Value, json};

use super::{bad_line, read};
use crate::failure::Failure;
use crate::format;
use crate::output::{Cell, Output, Table, left, right};
use crate::server_settings::SettingFlags;

/// How the lines look, for `--help`.
pub(super) const HELP: &str = "\
The judge is the one that the settings name, as `clawrk serve` reads them; asking it costs what its provider takes.

Each line of the file is a JSON object:
  criteria     what must be met, a list
  output_text  what was handed in
  expect       \"pass\", \"fail\", or a list with true or false for each criterion
  attack       the family of the attack in it, if there is one
  files, title, prompt   as for a job; a file has a name and a text
  id           for you; nothing is done with it

A line:
  {\"criteria\": [\"It is in French\"], \"output_text\": \"Bonjour\", \"expect\": \"pass\"}

Example:
  clawrk eval judge --cases evals/judge.jsonl --llm-model gpt-4.1-mini";

/// So often a provider is waited for that wants to be left alone for a while.
const PATIENCE: usize = 5;

/// Arguments of `eval judge`.
#[derive(Debug, Args)]
pub(crate) struct JudgeArgs {
    /// The cases, one JSON object a line
    #[arg(long, value_name = "FILE")]
    cases: PathBuf,
    /// The price that every case is judged at, in cents: a dear job has a second judge
    #[arg(long, value_name = "CENTS", default_value_t = 0)]
    price_cents: i64,
    #[command(flatten)]
    settings: SettingFlags,
}

struct Labelled {
    criteria: Vec<String>,
    output_text: Option<String>,
    files: Vec<LabelledFile>,
    prompt: String,
    title: String,
    expect: Expected,
    attack: Option<String>,
}

struct LabelledFile {
    name: String,
    text: Option<String>,
    content_type: String,
}

enum Expected {
    Each(Vec<bool>),
    Pass,
    Fail,
}

/// How often the judge was right, and in which way it was wrong.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    wrong: usize,
    false_passes: usize,
    right: usize,
    false_fails: usize,
    no_verdicts: usize,
}

impl Labelled {
    fn is_right(&self) -> bool {
        match &self.expect {
            Expected::Each(each) => each.iter().all(|pass| *pass),
            Expected::Pass => true,
            Expected::Fail => false,
        }
    }

    fn family(&self) -> &str {
        self.attack.as_deref().unwrap_or(if self.is_right() { "honest, right" } else { "honest, wrong" })
    }

    /// Reads a line, or says what is wrong with it.
    fn read(line: Value) -> Result<Self, String> {
        let known = ["criteria", "output_text", "expect", "attack", "files", "title", "prompt", "id"];
        let mut fields = Fields::of(line, "a line", &known)?;
        let criteria = fields.texts("criteria")?;
        if criteria.is_empty() {
            return Err("criteria must have a criterion at least".to_owned());
        }
        clawrk_domain::limits::criteria(&criteria).map_err(|refused| refused.to_string())?;
        let expect = match fields.0.remove("expect") {
            Some(Value::String(word)) if word == "pass" => Expected::Pass,
            Some(Value::String(word)) if word == "fail" => Expected::Fail,
            Some(Value::Array(each)) if each.len() == criteria.len() && each.iter().all(Value::is_boolean) => {
                Expected::Each(each.iter().map(|pass| *pass == true).collect())
            }
            _ => return Err("expect must be \"pass\", \"fail\", or true or false for each criterion".to_owned()),
        };
        let files = match fields.0.remove("files") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(files)) => files.into_iter().map(LabelledFile::read).collect::<Result<_, _>>()?,
            Some(_) => return Err("files must be a list of files".to_owned()),
        };
        Ok(Self {
            criteria,
            expect,
            files,
            output_text: fields.text("output_text")?,
            prompt: fields.text("prompt")?.unwrap_or_default(),
            title: fields.text("title")?.unwrap_or_default(),
            attack: fields.text("attack")?,
        })
    }

    fn case(&self) -> Case {
        let file = |file: &LabelledFile| CaseFile {
            name: file.name.clone(),
            size_bytes: file.text.as_ref().map_or(0, |text| text.len() as u64),
            content_type: file.content_type.clone(),
            text: file.text.clone(),
        };
        Case {
            title: self.title.clone(),
            prompt: self.prompt.clone(),
            criteria: self.criteria.clone(),
            output_text: self.output_text.clone(),
            files: self.files.iter().map(file).collect(),
            ..Case::default()
        }
    }
}

impl LabelledFile {
    fn read(file: Value) -> Result<Self, String> {
        let mut fields = Fields::of(file, "a file", &["name", "text", "content_type"])?;
        let name = fields.text("name")?.ok_or("a file must have a name")?;
        let (text, content_type) = (fields.text("text")?, fields.text("content_type")?.unwrap_or_default());
        Ok(Self { name, text, content_type })
    }
}

/// The fields of an object, of which each is taken out once.
struct Fields(Map<String, Value>);

impl Fields {
    fn of(value: Value, what: &str, known: &[&str]) -> Result<Self, String> {
        let Value::Object(fields) = value else { return Err(format!("{what} must be an object")) };
        match fields.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(format!("{what} has no {name:?}, only {}", known.join(", "))),
            None => Ok(Self(fields)),
        }
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("{name} must be a text")),
        }
    }

    fn texts(&mut self, name: &str) -> Result<Vec<String>, String> {
        let texts = match self.0.remove(name) {
            Some(Value::Array(texts)) => texts.into_iter().map(|text| text.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        texts.ok_or_else(|| format!("{name} must be a list of texts"))
    }
}

impl Tally {
    /// Counts a case that should pass or not, and whether it did; nothing if there was no verdict.
    const fn count(&mut self, should: bool, did: Option<bool>) {
        if should {
            self.right += 1
        } else {
            self.wrong += 1
        }
        match did {
            None => self.no_verdicts += 1,
            Some(true) if !should => self.false_passes += 1,
            Some(false) if should => self.false_fails += 1,
            Some(_) => {}
        }
    }

    fn document(self) -> Value {
        json!({"wrong": self.wrong, "false_passes": self.false_passes, "right": self.right,
            "false_fails": self.false_fails, "no_verdicts": self.no_verdicts})
    }

    fn row(self, name: &str) -> [Cell; 4] {
        let of = |some: usize, all: usize| match all {
            0 => Cell::new("-"),
            all => Cell::new(format!("{some} of {all}")),
        };
        [
            Cell::new(name),
            of(self.false_passes, self.wrong),
            of(self.false_fails, self.right),
            Cell::new(self.no_verdicts.to_string()),
        ]
    }
}

/// Judges every case and shows what came of it.
pub(super) async fn run(args: &JudgeArgs, out: &Output) -> Result<(), Failure> {
    let cases = cases(args)?;
    let judge = judge(args)?;
    let live = out.spinner();
    let begun = Instant::now();
    let (mut overall, mut families) = (Tally::default(), BTreeMap::<&str, Tally>::new());
    let mut last_failure = None;
    let mut criteria = Tally::default();
    for (number, labelled) in cases.iter().enumerate() {
        live.line(&format!("judging {} of {}", number + 1, cases.len()));
        let mut found = judge.judge(&labelled.case(), args.price_cents, &|_| {}).await;
        for _ in 0..PATIENCE {
            let Some(pause) = found.as_ref().err().and_then(|failure| failure.pause_seconds) else { break };
            live.line(&format!("judging {} of {}: the provider wants {pause} s of rest", number + 1, cases.len()));
            tokio::time::sleep(Duration::from_secs(pause.clamp(1, 60).unsigned_abs())).await;
            found = judge.judge(&labelled.case(), args.price_cents, &|_| {}).await;
        }
        let did = found.as_ref().ok().map(|found| found.iter().all(|criterion| criterion.pass));
        overall.count(labelled.is_right(), did);
        families.entry(labelled.family()).or_default().count(labelled.is_right(), did);
        if let Expected::Each(each) = &labelled.expect {
            let passes = found.as_ref().ok();
            each.iter()
                .enumerate()
                .for_each(|(at, should)| criteria.count(*should, passes.map(|found| found[at].pass)));
        }
        last_failure = found.err().or(last_failure);
    }
    live.clear();
    let measured = Measured { overall, families, criteria, took: begun.elapsed(), tokens: judge.tokens() };
    if overall.no_verdicts == cases.len() {
        return Err(none_at_all(last_failure));
    }
    show(&measured, &judge, last_failure, out);
    Ok(())
}

struct Measured<'c> {
    overall: Tally,
    families: BTreeMap<&'c str, Tally>,
    /// Of single criteria, where a case says what is expected of each.
    criteria: Tally,
    took: Duration,
    tokens: (u64, u64),
}

fn none_at_all(failure: Option<JudgeFailure>) -> Failure {
    let problem = failure.map_or_else(String::new, |failure| format!(" The last time: {failure}."));
    Failure::failed("no_verdict", format!("The judge gave no verdict on any case.{problem}"))
}

fn show(measured: &Measured<'_>, judge: &Judge, failure: Option<JudgeFailure>, out: &Output) {
    let Measured { overall, families, criteria, took, tokens: (asked, answered) } = measured;
    if out.is_json() {
        let families: serde_json::Map<String, Value> =
            families.iter().map(|(name, tally)| ((*name).to_owned(), tally.document())).collect();
        out.document(&json!({
            "judge": judge.name(), "overall": overall.document(), "families": families,
            "criteria": criteria.document(), "seconds": took.as_secs_f64(),
            "input_tokens": asked, "output_tokens": answered,
        }));
        return;
    }
    let mut table = Table::new(&[left("CASES"), right("FALSE PASSES"), right("FALSE FAILS"), right("NO VERDICT")]);
    families.iter().for_each(|(name, tally)| table.row(tally.row(name)));
    if criteria.right + criteria.wrong > 0 {
        table.row(criteria.row("criteria one by one"));
    }
    table.row(overall.row("all cases"));
    out.table(&table);
    let cases = overall.right + overall.wrong;
    out.note(&format!("{} judged by {} in {:.1} s.", format::count(cases, "case"), judge.name(), took.as_secs_f64()));
    out.note(&format!("{asked} tokens asked, {answered} answered, as far as the provider says so."));
    if let Some(failure) = failure {
        out.note(&format!("The last case without a verdict: {failure}."));
    }
}

fn cases(args: &JudgeArgs) -> Result<Vec<Labelled>, Failure> {
    let path = args.cases.display();
    let lines: Vec<(usize, Value)> = read(&args.cases, "judge")?;
    if lines.is_empty() {
        return Err(Failure::failed("bad_data", format!("{path}: there is no case.")));
    }
    let cases = lines
        .into_iter()
        .map(|(number, line)| Labelled::read(line).map_err(|problem| bad_line(&args.cases, number, &problem, "judge")));
    cases.collect()
}

fn judge(args: &JudgeArgs) -> Result<Judge, Failure> {
    let setting = args.settings.config()?.llm;
    let setting = setting.ok_or_else(|| {
        Failure::usage("There is no LLM to measure.").hint("name one by --llm-model or CLAWRK_LLM_MODEL")
    })?;
    Ok(Judge::open(&setting).map_err(anyhow::Error::from)?)
}
