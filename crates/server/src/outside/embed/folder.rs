//! A model's folder: which kind of model is in it, and its files.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use super::{EmbedError, Model, table};

/// A folder of sentence-transformers keeps a static model's files in here.
const STATIC_FOLDER: &str = "0_StaticEmbedding";
const WEIGHTS: &str = "model.safetensors";

/// The files that every model has.
pub(super) struct Files {
    pub(super) folder: PathBuf,
    /// `model.safetensors`
    pub(super) weights: Vec<u8>,
    /// `tokenizer.json`
    pub(super) tokenizer: Vec<u8>,
}

impl Files {
    /// What is wrong with one of the files.
    pub(super) fn problem(&self, file: &str, problem: impl ToString) -> EmbedError {
        EmbedError::Model { path: self.folder.join(file), problem: problem.to_string() }
    }
}

/// Opens the model in a folder.
pub(super) fn open(folder: &Path) -> Result<Box<dyn Model>, EmbedError> {
    std::fs::read_dir(folder).map_err(|source| EmbedError::File { path: folder.to_owned(), source })?;
    let within = folder.join(STATIC_FOLDER);
    let folder = if within.join(WEIGHTS).is_file() { &within } else { folder };
    let files = Files {
        folder: folder.to_owned(),
        weights: read(folder, WEIGHTS)?,
        tokenizer: read(folder, "tokenizer.json")?,
    };
    let tensors = SafeTensors::deserialize(&files.weights);
    let tensors = tensors.map_err(|error| files.problem(WEIGHTS, format!("it is no safetensors file: {error}")))?;
    if let Some(rows) = table::find(&tensors) {
        return table::open(&files, &tensors, rows);
    }
    if tensors.names().iter().any(|name| name.ends_with("embeddings.word_embeddings.weight")) {
        return sentence(files);
    }
    let problem = "it is neither a static model (model2vec) nor a sentence model (BERT): only those are read";
    Err(files.problem(WEIGHTS, problem))
}

#[cfg(feature = "sentence-models")]
fn sentence(files: Files) -> Result<Box<dyn Model>, EmbedError> {
    super::sentence::open(files)
}

#[cfg(not(feature = "sentence-models"))]
fn sentence(files: Files) -> Result<Box<dyn Model>, EmbedError> {
    Err(EmbedError::NotBuiltIn { path: files.folder })
}

/// Reads one of the files.
pub(super) fn read(folder: &Path, name: &str) -> Result<Vec<u8>, EmbedError> {
    let path = folder.join(name);
    std::fs::read(&path).map_err(|source| EmbedError::File { path, source })
}
