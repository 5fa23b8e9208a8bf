//! From texts to what they mean: an embedding model, in a folder or behind an address.
//!
//! | Model           | Where                                                                               |
//! |-----------------|-------------------------------------------------------------------------------------|
//! | a static one    | `embed_dir`, see `table.rs`: a row of numbers for each word; a text is their mean      |
//! | a sentence model| `embed_dir`, see `sentence.rs`: a BERT, with the feature `sentence-models`           |
//! | any other       | `embed_url`, see `endpoint.rs`: whatever answers as OpenAI's `/v1/embeddings` does   |
//!
//! Nothing is ever downloaded. Models in a folder work on a thread of their own, see `thread.rs`: a request never
//! computes one, and what somebody waits for goes before what can wait.

mod endpoint;
mod folder;
#[cfg(feature = "sentence-models")]
mod sentence;
mod table;
mod thread;
#[cfg(test)]
mod tiny;

use std::path::PathBuf;
use std::sync::OnceLock;

use clawrk_domain::matching::Vector;

use crate::config::Embedding;
use endpoint::Endpoint;
use thread::Thread;

pub use endpoint::Patience;

/// Characters of a text that are read, at most: models read less, and addresses refuse what is much longer.
const MOST_READ: usize = 4_000;

/// Why a model cannot be used; told at the start.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// A file of the folder.
    #[error("the embedding model cannot be used: {path} cannot be read")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is in the folder.
    #[error("the embedding model cannot be used: {path}: {problem}")]
    Model {
        /// The folder, or a file of it.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A model that needs what is not built in.
    #[error(
        "the embedding model cannot be used: {path} holds a sentence model, and this clawrk was built without what \
         computes one: build it with `cargo build --release --features sentence-models`, or give the folder of a static model (model2vec)"
    )]
    NotBuiltIn {
        /// The folder.
        path: PathBuf,
    },
    /// The client that asks an address.
    #[error("the embedding model cannot be used: secure connections cannot be set up")]
    Client(#[from] reqwest::Error),
}

/// Why texts were not read this time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It may be read later: the model is away, busy, or does not know us.
    #[error("{0}")]
    Unavailable(String),
    /// These texts are not taken, or nothing sensible is made of them.
    #[error("{0}")]
    Refused(String),
}

/// How soon an answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Somebody waits for it.
    Next,
    /// When nobody waits for anything else.
    Later,
}

/// An embedding model.
#[derive(Debug)]
pub struct Embedder {
    source: Source,
    /// How many numbers it makes of a text; known from the first answer on.
    dimensions: OnceLock<usize>,
}

#[derive(Debug)]
enum Source {
    Folder(Thread),
    Endpoint(Endpoint),
}

impl Embedder {
    /// Opens the model that the settings name; one behind an address is not asked yet.
    pub fn open(settings: &Embedding) -> Result<Self, EmbedError> {
        match settings {
            Embedding::Folder(folder) => {
                let model = folder::open(folder)?;
                let dimensions = OnceLock::from(model.dimensions());
                Ok(Self { source: Source::Folder(Thread::start(model)), dimensions })
            }
            Embedding::Endpoint { url, model, api_key } => {
                Self::at(url.clone(), model.clone(), api_key.as_deref(), Patience::default())
            }
        }
    }

    /// Asks an address, with so much patience.
    pub fn at(url: url::Url, model: String, api_key: Option<&str>, patience: Patience) -> Result<Self, EmbedError> {
        let endpoint = Endpoint::new(url, model, api_key, patience)?;
        Ok(Self { source: Source::Endpoint(endpoint), dimensions: OnceLock::new() })
    }

    /// How many texts are best read together.
    pub const fn batch(&self) -> usize {
        match self.source {
            Source::Folder(_) => 16,
            Source::Endpoint(_) => 64,
        }
    }

    /// What each text means; nothing for one that means nothing to the model.
    pub async fn embed(&self, texts: &[String], turn: Turn) -> Result<Vec<Option<Vector>>, Failure> {
        let texts: Vec<&str> = texts.iter().map(|text| beginning(text)).collect();
        let read = match &self.source {
            Source::Folder(thread) => thread.embed(&texts, turn).await?,
            Source::Endpoint(endpoint) => endpoint.embed(&texts).await?,
        };
        read.iter().map(|numbers| self.vector(numbers)).collect()
    }

    fn vector(&self, numbers: &[f32]) -> Result<Option<Vector>, Failure> {
        if !numbers.iter().all(|number| number.is_finite()) {
            return Err(Failure::Refused("the model's answer has something in it that is no number".to_owned()));
        }
        let expected = *self.dimensions.get_or_init(|| numbers.len());
        if numbers.len() != expected {
            let found = numbers.len();
            return Err(Failure::Refused(format!(
                "the model makes {found} numbers of a text, and made {expected} before"
            )));
        }
        Ok(Vector::new(numbers))
    }
}

/// The beginning of a text, as far as it is read.
fn beginning(text: &str) -> &str {
    text.char_indices().nth(MOST_READ).map_or(text, |(end, _)| &text[..end])
}

/// A model that computes here.
trait Model: Send {
    /// How many numbers it makes of a text.
    fn dimensions(&self) -> usize;

    /// What a text means; why not, if that cannot be computed.
    fn embed(&self, text: &str) -> Result<Vec<f32>, String>;
}
