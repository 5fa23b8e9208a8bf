//! What the texts mean to an embedding model, if one is given.

use std::time::{Duration, Instant};

use clap::Args;
use clawrk_domain::matching::Vector;
use clawrk_server::outside::embed::{Embedder, Turn};

use super::{LabelledJob, Persona, measure};
use crate::failure::Failure;
use crate::output::{Live, Output};
use crate::server_settings;

/// An embedding model, as the server's settings name it.
#[derive(Debug, Args)]
pub(super) struct ModelArgs {
    /// Folder of an embedding model: rank by words and meaning
    #[arg(long, value_name = "DIR", conflicts_with = "embed_url")]
    embed_dir: Option<String>,
    /// Address of an embedding model instead, as OpenAI speaks it
    #[arg(long, value_name = "URL", requires = "embed_model")]
    embed_url: Option<String>,
    /// Name of the model at that address
    #[arg(long, value_name = "NAME", requires = "embed_url")]
    embed_model: Option<String>,
}

/// What each persona and each job means to the model; nothing where it makes nothing of the text.
pub(super) struct Meanings {
    personas: Vec<Option<Vector>>,
    jobs: Vec<Option<Vector>>,
    took: Duration,
}

impl Meanings {
    /// Has the model read all texts; nothing if there is none.
    pub(super) async fn read(
        args: &ModelArgs,
        personas: &[Persona],
        jobs: &[LabelledJob],
        out: &Output,
    ) -> Result<Option<Self>, Failure> {
        let given =
            [("embed_dir", &args.embed_dir), ("embed_url", &args.embed_url), ("embed_model", &args.embed_model)];
        let given = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
        let Some(settings) = server_settings::embedding(given.collect())? else { return Ok(None) };
        let live = out.spinner();
        live.line("opening the model");
        let embedder = Embedder::open(&settings).map_err(anyhow::Error::from)?;
        let begun = Instant::now();
        let personas: Vec<String> = personas.iter().map(|persona| persona.personality.clone()).collect();
        let personas = read_all(&embedder, &personas, "personas", &live).await?;
        let jobs: Vec<String> = jobs.iter().map(|job| job.text.clone()).collect();
        let jobs = read_all(&embedder, &jobs, "jobs", &live).await?;
        live.clear();
        Ok(Some(Self { personas, jobs, took: begun.elapsed() }))
    }

    pub(super) fn persona(&self, place: usize) -> Option<&Vector> {
        self.personas[place].as_ref()
    }

    pub(super) fn job(&self, place: usize) -> Option<&Vector> {
        self.jobs[place].as_ref()
    }

    /// The first jobs for a persona by what they mean and nothing else.
    pub(super) fn ranked(&self, place: usize) -> Vec<usize> {
        let near = |job: &Option<Vector>| job.as_ref()?.nearness(self.persona(place)?);
        let near: Vec<f64> = self.jobs.iter().map(|job| near(job).unwrap_or(0.0)).collect();
        let mut ranked: Vec<usize> = (0..near.len()).collect();
        ranked.sort_by(|one, other| near[*other].total_cmp(&near[*one]));
        ranked.truncate(measure::DEPTH);
        ranked
    }

    /// How fast the model was.
    pub(super) fn pace(&self) -> String {
        let (count, seconds) = (self.personas.len() + self.jobs.len(), self.took.as_secs_f64());
        format!("{count} texts read by the model in {seconds:.1} s: {:.2} ms each.", seconds * 1e3 / count as f64)
    }
}

async fn read_all(
    embedder: &Embedder,
    texts: &[String],
    what: &str,
    live: &Live,
) -> Result<Vec<Option<Vector>>, Failure> {
    let mut read = Vec::with_capacity(texts.len());
    for batch in texts.chunks(embedder.batch()) {
        live.line(&format!("the model reads {what}: {} of {}", read.len(), texts.len()));
        let meanings = embedder.embed(batch, Turn::Later).await;
        read.extend(meanings.map_err(|failure| {
            Failure::failed("embedding_failed", format!("The embedding model does not read the {what}: {failure}"))
        })?);
    }
    Ok(read)
}
