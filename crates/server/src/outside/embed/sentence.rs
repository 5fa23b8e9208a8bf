//! Sentence models: a BERT reads the text, and the mean of what it makes of each piece (or of the first) is its meaning.
//!
//! The folder is one of sentence-transformers: `config.json`, `tokenizer.json`, `model.safetensors`, and, where they
//! are there, `modules.json`, `sentence_bert_config.json` and `1_Pooling/config.json`. What they ask for is done, or
//! refused at the start. Texts are read one by one, without padding, on one core.

use std::io::ErrorKind;

use candle_core::{DType, Device, IndexOp, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokenizers::{Tokenizer, TruncationParams};

use super::folder::{Files, read};
use super::{EmbedError, Model};

struct Sentence {
    tokenizer: Tokenizer,
    bert: BertModel,
    pooling: Pooling,
    dimensions: usize,
    /// Matrices are multiplied on every core of the machine unless they are given a place of one.
    core: ThreadPool,
}

#[derive(Clone, Copy)]
enum Pooling {
    Mean,
    First,
}

/// What is read of `config.json` beside what the model reads.
#[derive(Deserialize)]
struct Kind {
    model_type: Option<String>,
}

#[derive(Deserialize)]
struct Module {
    r#type: String,
}

#[derive(Deserialize)]
struct Reading {
    max_seq_length: Option<usize>,
}

#[derive(Deserialize)]
struct Pooled {
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(default)]
    pooling_mode_max_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_sqrt_len_tokens: bool,
}

/// Opens a sentence model, and lets it read a word.
pub(super) fn open(files: Files) -> Result<Box<dyn Model>, EmbedError> {
    let needed = |name: &str| EmbedError::File { path: files.folder.join(name), source: ErrorKind::NotFound.into() };
    let kind: Kind = json(&files, "config.json")?.ok_or_else(|| needed("config.json"))?;
    if let Some(other) = kind.model_type.filter(|kind| kind != "bert") {
        return Err(files.problem("config.json", format!("models of the type {other:?} are not read, only \"bert\"")));
    }
    let config: Config = json(&files, "config.json")?.ok_or_else(|| needed("config.json"))?;
    if config.num_attention_heads == 0 || config.hidden_size % config.num_attention_heads != 0 {
        return Err(files.problem("config.json", "hidden_size is no multiple of num_attention_heads"));
    }
    let modules: Vec<Module> = json(&files, "modules.json")?.unwrap_or_default();
    let known =
        |module: &Module| ["Transformer", "Pooling", "Normalize"].iter().any(|name| module.r#type.ends_with(name));
    if let Some(module) = modules.iter().find(|module| !known(module)) {
        return Err(files.problem("modules.json", format!("there is no reader for {:?}", module.r#type)));
    }
    let pooling = pooling(&files)?;
    let tokenizer = tokenizer(&files, &config)?;
    let core = ThreadPoolBuilder::new().num_threads(1).thread_name(|_| "clawrk-core".to_owned()).build();
    let core = core.map_err(|error| files.problem("", error))?;
    let Files { folder, weights, .. } = files;
    let wrong = |problem: String| EmbedError::Model { path: folder.join("model.safetensors"), problem };
    let bert = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu);
    let bert = bert.and_then(|weights| BertModel::load(weights, &config)).map_err(|error| wrong(error.to_string()))?;
    let model = Sentence { tokenizer, bert, pooling, dimensions: config.hidden_size, core };
    model.embed("word").map_err(wrong)?;
    Ok(Box::new(model))
}

impl Model for Sentence {
    fn dimensions(&self) -> usize {
        self.dimensions
    }

    fn embed(&self, text: &str) -> Result<Vec<f32>, String> {
        let pieces = self.tokenizer.encode(text, true).map_err(|error| error.to_string())?;
        if pieces.is_empty() {
            return Ok(vec![0.0; self.dimensions]);
        }
        self.core.install(|| self.read(pieces.get_ids())).map_err(|error| error.to_string())
    }
}

impl Sentence {
    fn read(&self, pieces: &[u32]) -> candle_core::Result<Vec<f32>> {
        let pieces = Tensor::new(pieces, &Device::Cpu)?.unsqueeze(0)?;
        let read = self.bert.forward(&pieces, &pieces.zeros_like()?, None)?.i(0)?;
        match self.pooling {
            Pooling::Mean => read.mean(0)?,
            Pooling::First => read.i(0)?,
        }
        .to_vec1()
    }
}

fn pooling(files: &Files) -> Result<Pooling, EmbedError> {
    const FILE: &str = "1_Pooling/config.json";
    let Some(pooled) = json::<Pooled>(files, FILE)? else { return Ok(Pooling::Mean) };
    let other = pooled.pooling_mode_max_tokens || pooled.pooling_mode_mean_sqrt_len_tokens;
    match (pooled.pooling_mode_mean_tokens, pooled.pooling_mode_cls_token, other) {
        (true, false, false) => Ok(Pooling::Mean),
        (false, true, false) => Ok(Pooling::First),
        _ => Err(files.problem(FILE, "texts are pooled by the mean or by the first token, and by nothing else")),
    }
}

fn tokenizer(files: &Files, config: &Config) -> Result<Tokenizer, EmbedError> {
    const FILE: &str = "tokenizer.json";
    let mut tokenizer = Tokenizer::from_bytes(&files.tokenizer).map_err(|error| files.problem(FILE, error))?;
    if let Some((piece, id)) = tokenizer.get_vocab(true).iter().find(|(_, id)| **id as usize >= config.vocab_size) {
        let problem = format!("{piece:?} is number {id}, and the model knows {} pieces", config.vocab_size);
        return Err(files.problem(FILE, problem));
    }
    let reading: Option<Reading> = json(files, "sentence_bert_config.json")?;
    let most = reading.and_then(|reading| reading.max_seq_length).unwrap_or(config.max_position_embeddings);
    let max_length = most.min(config.max_position_embeddings);
    let truncation = TruncationParams { max_length, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(truncation)).map_err(|error| files.problem(FILE, error))?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

/// A file of the folder, where it is there.
fn json<T: DeserializeOwned>(files: &Files, name: &str) -> Result<Option<T>, EmbedError> {
    match read(&files.folder, name) {
        Err(EmbedError::File { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        text => serde_json::from_slice(&text?).map(Some).map_err(|error| files.problem(name, error)),
    }
}
