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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tiny;
    use super::*;

    /// What is said of a folder with the tiny model, after this was done to it.
    fn refused(spoil: impl FnOnce(&Path)) -> String {
        let folder = tempfile::tempdir().unwrap();
        tiny::write(folder.path());
        spoil(folder.path());
        open(folder.path()).err().map(|error| error.to_string()).unwrap_or_default()
    }

    fn tensors(folder: &Path, tensors: &[(&str, &[usize], &[f32])]) {
        std::fs::write(folder.join(WEIGHTS), tiny::safetensors(tensors)).unwrap();
    }

    #[test]
    fn a_folder_that_holds_no_model_is_refused_with_the_reason() {
        let remove = |name: &'static str| refused(|folder| std::fs::remove_file(folder.join(name)).unwrap());
        let write = |name: &'static str, text: &str| refused(|folder| std::fs::write(folder.join(name), text).unwrap());
        let with = |all: &[(&str, &[usize], &[f32])]| refused(|folder| tensors(folder, all));
        for (error, reason) in [
            (refused(|folder| std::fs::remove_dir_all(folder).unwrap()), " cannot be read"),
            (remove(WEIGHTS), "model.safetensors cannot be read"),
            (remove("tokenizer.json"), "tokenizer.json cannot be read"),
            (write(WEIGHTS, "version https://git-lfs.github.com/spec/v1"), "it is no safetensors file"),
            (write("tokenizer.json", "{}"), "tokenizer.json: "),
            (write("config.json", "{"), "config.json"),
            (with(&[("embeddings", &[16], &[0.0; 16])]), "the shape [16]"),
            (with(&[("embeddings", &[16, 0], &[])]), "its table is empty"),
            (with(&[("embeddings", &[15, 1], &[0.0; 15])]), "15 rows, and none for \"accounting\", number 15"),
            (with(&[("embeddings", &[16, 1], &[0.0; 16]), ("mapping", &[1], &[0.0])]), "its mapping is of F32"),
            (with(&[("other", &[1], &[0.0])]), "neither a static model (model2vec) nor a sentence model (BERT)"),
        ] {
            assert!(
                error.starts_with("the embedding model cannot be used: ") && error.contains(reason),
                "{error:?} should say {reason:?}"
            );
        }
        assert_eq!(refused(|_| {}), "", "the tiny model is one");
        assert_eq!(remove("config.json"), "", "and needs no config.json");
    }

    #[test]
    fn the_folder_that_a_static_model_has_within_another_is_found() {
        let error = refused(|folder| {
            std::fs::create_dir(folder.join(STATIC_FOLDER)).unwrap();
            for file in [WEIGHTS, "tokenizer.json"] {
                std::fs::rename(folder.join(file), folder.join(STATIC_FOLDER).join(file)).unwrap();
            }
            std::fs::write(folder.join("modules.json"), json!([]).to_string()).unwrap();
        });
        assert_eq!(error, "");
    }

    #[cfg(not(feature = "sentence-models"))]
    #[test]
    fn a_sentence_model_that_cannot_be_computed_says_how_to_build_what_can() {
        let name = "bert.embeddings.word_embeddings.weight";
        let error = refused(|folder| tensors(folder, &[(name, &[16, 1], &[0.0; 16])]));
        assert!(error.contains("cargo build --release --features sentence-models"), "{error}");
    }
}
