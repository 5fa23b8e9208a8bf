//! `eval`: how good a part of the exchange is, measured on data that anybody can bring.

mod baselines;
mod judge;
mod meaning;
mod measure;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use clawrk_domain::matching::{Index, Reading, Text, Vector};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::failure::Failure;
use crate::format;
use crate::output::{Cell, Output, Table, left, right};
use baselines::Documents;
use meaning::{Meanings, ModelArgs};
use measure::{Figures, Relevant};

/// The `eval` commands.
#[derive(Debug, Subcommand)]
pub(crate) enum EvalCommand {
    /// Rank labelled jobs for each persona as `pull` would, beside plain BM25 and TF-IDF
    #[command(after_help = MATCHING_HELP)]
    Matching(MatchingArgs),
    /// Judge labelled submissions, many with attacks in them, and count the wrong verdicts
    #[command(after_help = judge::HELP)]
    Judge(judge::JudgeArgs),
}

const MATCHING_HELP: &str = "\
With an embedding model, \"ours\" is by words and meaning together, as pull ranks then; \"lexical\" is by words alone and
\"dense\" by meaning alone. A key for --embed-url is read from CLAWRK_EMBED_API_KEY (or the file CLAWRK_EMBED_API_KEY_FILE).

Each line of the files is a JSON object:
  PERSONAS  {\"id\": …, \"personality\": …}
  JOBS      {\"id\": …, \"text\": …, \"label\": the id of the persona that the job belongs to}

Example:
  clawrk eval matching --personas personas.jsonl --jobs jobs.jsonl
  clawrk eval matching --personas personas.jsonl --jobs jobs.jsonl --embed-dir ./potion-base-8M";

/// Arguments of `eval matching`.
#[derive(Debug, Args)]
pub(crate) struct MatchingArgs {
    /// The personas, one JSON object a line
    #[arg(long, value_name = "FILE")]
    personas: PathBuf,
    /// The jobs, one JSON object a line
    #[arg(long, value_name = "FILE")]
    jobs: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Deserialize)]
struct Persona {
    id: String,
    personality: String,
}

#[derive(Deserialize)]
struct LabelledJob {
    id: String,
    text: String,
    label: String,
}

/// Runs an `eval` command.
pub(crate) async fn run(command: &EvalCommand, out: &Output) -> Result<(), Failure> {
    match command {
        EvalCommand::Matching(args) => matching(args, out).await,
        EvalCommand::Judge(args) => judge::run(args, out).await,
    }
}

async fn matching(args: &MatchingArgs, out: &Output) -> Result<(), Failure> {
    let personas: Vec<Persona> = unnumbered(read(&args.personas, "matching")?);
    let mut jobs: Vec<LabelledJob> = unnumbered(read(&args.jobs, "matching")?);
    // Files tend to have the jobs of one persona together: ties must not go by that.
    jobs.sort_by_cached_key(|job| (hash(&job.id), job.id.clone()));
    let relevant = relevant(&personas, &jobs)?;
    let meanings = Meanings::read(&args.model, &personas, &jobs, out).await?;
    let documents = Documents::new(jobs.iter().map(|job| job.text.as_str()));
    let index = index(&jobs, meanings.as_ref());
    let ours = |place: usize, meaning: Option<&Vector>| {
        let ranked = index.best_by_meaning(Some(&personas[place].personality), meaning, 0, measure::DEPTH, |_| false);
        ranked.into_iter().map(|ranked| ranked.id).collect()
    };
    // Told the place of a persona.
    type Rank<'r> = Box<dyn Fn(usize) -> Vec<usize> + 'r>;
    let mut rankings: Vec<(&str, &str, Rank<'_>)> = Vec::new();
    if let Some(meanings) = &meanings {
        rankings.push(("clawrk", "ours", Box::new(|place| ours(place, meanings.persona(place)))));
        rankings.push(("by words alone", "lexical", Box::new(|place| ours(place, None))));
        rankings.push(("by meaning alone", "dense", Box::new(|place| meanings.ranked(place))));
    } else {
        rankings.push(("clawrk", "ours", Box::new(|place| ours(place, None))));
    }
    rankings.push(("BM25", "bm25", Box::new(|place| documents.bm25(&personas[place].personality))));
    rankings.push(("TF-IDF", "tfidf", Box::new(|place| documents.tfidf(&personas[place].personality))));
    let live = out.spinner();
    let mut measured = Vec::new();
    for (name, key, rank) in rankings {
        live.line(&format!("ranking: {name}"));
        let labelled = relevant.iter().enumerate().filter(|(_, relevant)| !relevant.is_empty());
        let figures: Figures = labelled.map(|(place, relevant)| Figures::of(&rank(place), relevant)).collect();
        measured.push((name, key, figures));
    }
    live.clear();
    if out.is_json() {
        let document = |figures: &Figures| json!({"p_at_1": figures.p_at_1, "r_at_10": figures.r_at_10, "mrr": figures.mrr, "ndcg_at_10": figures.ndcg_at_10});
        out.document(&measured.iter().map(|(_, key, figures)| ((*key).to_owned(), document(figures))).collect());
        return Ok(());
    }
    let mut table = Table::new(&[left("RANKED BY"), right("P@1"), right("R@10"), right("MRR"), right("nDCG@10")]);
    for (name, _, figures) in &measured {
        let cell = |figure: f64| Cell::new(format!("{figure:.3}"));
        table.row([
            Cell::new(name),
            cell(figures.p_at_1),
            cell(figures.r_at_10),
            cell(figures.mrr),
            cell(figures.ndcg_at_10),
        ]);
    }
    out.table(&table);
    let asked = relevant.iter().filter(|relevant| !relevant.is_empty()).count();
    out.note(&format!("{} ranked for each of {}.", format::count(jobs.len(), "job"), format::count(asked, "persona")));
    if asked < personas.len() {
        out.note(&format!("{} left out: no job is for them.", format::count(personas.len() - asked, "persona")));
    }
    if let Some(meanings) = &meanings {
        out.note(&meanings.pace());
    }
    Ok(())
}

/// Jobs that were all posted at the same moment, each with nothing but a description.
fn index(jobs: &[LabelledJob], meanings: Option<&Meanings>) -> Index<usize> {
    let mut index = Index::new();
    for (place, job) in jobs.iter().enumerate() {
        let reading = Reading::of(&Text { title: "", description: Some(&job.text), requirements: None });
        index.insert(place, reading, 0);
        if let Some(meaning) = meanings.and_then(|meanings| meanings.job(place)) {
            index.give(&place, meaning);
        }
    }
    index
}

/// For each persona, the places of its jobs.
fn relevant(personas: &[Persona], jobs: &[LabelledJob]) -> Result<Vec<Relevant>, Failure> {
    let bad = |problem: String| Err(Failure::failed("bad_data", problem));
    if personas.is_empty() || jobs.is_empty() {
        return bad("There must be a persona and a job at least.".to_owned());
    }
    // The jobs are in the order of their ids' hashes: those of one id stand together.
    if let Some(two) = jobs.windows(2).find(|two| two[0].id == two[1].id) {
        return bad(format!("Two jobs have the id {:?}.", two[0].id));
    }
    let mut relevant: HashMap<&str, Relevant> = HashMap::new();
    for persona in personas {
        if relevant.insert(&persona.id, Relevant::default()).is_some() {
            return bad(format!("Two personas have the id {:?}.", persona.id));
        }
    }
    for (place, job) in jobs.iter().enumerate() {
        let of_label = relevant.get_mut(job.label.as_str()).ok_or_else(|| {
            let problem = format!("The job {:?} belongs to the persona {:?}, which is not there.", job.id, job.label);
            Failure::failed("bad_data", problem)
        })?;
        of_label.insert(place);
    }
    let all: Vec<Relevant> =
        personas.iter().map(|persona| relevant.remove(persona.id.as_str()).unwrap_or_default()).collect();
    if all.iter().all(Relevant::is_empty) {
        return Err(Failure::failed("bad_data", "There is no job that belongs to a persona: nothing can be measured."));
    }
    Ok(all)
}

/// Reads a file of one JSON object a line, for one of the `eval` commands; each with the number of its line.
fn read<T: DeserializeOwned>(path: &Path, command: &str) -> Result<Vec<(usize, T)>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::failed("unreadable_file", format!("{}: {error}", path.display())))?;
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let read = lines.map(|(line, number)| {
        serde_json::from_str(line).map(|read| (number, read)).map_err(|error| {
            let problem = match error.is_data() {
                true => error.to_string(),
                false => format!("it is not JSON, as column {} shows", error.column()),
            };
            bad_line(path, number, &problem, command)
        })
    });
    read.collect()
}

fn bad_line(path: &Path, number: usize, problem: &str, command: &str) -> Failure {
    Failure::failed("bad_data", format!("{}, line {number}: {problem}", path.display()))
        .hint(format!("`clawrk eval {command} --help` shows what a line looks like"))
}

fn unnumbered<T>(lines: Vec<(usize, T)>) -> Vec<T> {
    lines.into_iter().map(|(_, line)| line).collect()
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}
