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
use tokenizers::{PostProcessor, Tokenizer, TruncationParams};

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
    if config.num_attention_heads == 0 || !config.hidden_size.is_multiple_of(config.num_attention_heads) {
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
    let around = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(false));
    if max_length <= around {
        return Err(files.problem("sentence_bert_config.json", "max_seq_length leaves no place for a text"));
    }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::super::{folder, tiny};

    const PIECES: usize = 18;
    const WIDTH: usize = 8;
    const HEADS: usize = 2;
    const INNER: usize = 12;
    const LAYERS: usize = 2;
    const PLACES: usize = 6;

    /// Weights that are the same each time, by name and shape.
    struct Weights(Vec<(String, Vec<usize>, Vec<f32>)>);

    impl Weights {
        fn new() -> Self {
            let mut weights = Self(Vec::new());
            let (mut state, norm) = (7_u32, ["LayerNorm.weight", "LayerNorm.bias"]);
            let mut put = |name: String, shape: &[usize]| {
                let numbers = (0..shape.iter().product()).map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 8) as f32 / 8_388_608.0 - 1.0
                });
                weights.0.push((name, shape.to_vec(), numbers.collect()));
            };
            for (name, rows) in [("word", PIECES), ("position", PLACES), ("token_type", 2)] {
                put(format!("embeddings.{name}_embeddings.weight"), &[rows, WIDTH]);
            }
            norm.iter().for_each(|name| put(format!("embeddings.{name}"), &[WIDTH]));
            for layer in 0..LAYERS {
                for (name, from, to) in [
                    ("attention.self.query", WIDTH, WIDTH),
                    ("attention.self.key", WIDTH, WIDTH),
                    ("attention.self.value", WIDTH, WIDTH),
                    ("attention.output.dense", WIDTH, WIDTH),
                    ("intermediate.dense", WIDTH, INNER),
                    ("output.dense", INNER, WIDTH),
                ] {
                    put(format!("encoder.layer.{layer}.{name}.weight"), &[to, from]);
                    put(format!("encoder.layer.{layer}.{name}.bias"), &[to]);
                }
                for place in ["attention.output", "output"] {
                    norm.iter().for_each(|name| put(format!("encoder.layer.{layer}.{place}.{name}"), &[WIDTH]));
                }
            }
            weights
        }

        fn get(&self, name: &str) -> &[f32] {
            &self.0.iter().find(|(other, ..)| other == name).unwrap().2
        }

        fn row(&self, name: &str, row: usize) -> &[f32] {
            &self.get(name)[row * WIDTH..][..WIDTH]
        }

        fn linear(&self, name: &str, from: &[f32]) -> Vec<f32> {
            let (weight, bias) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
            weight.chunks(from.len()).zip(bias).map(|(row, bias)| dot(row, from) + bias).collect()
        }

        fn norm(&self, name: &str, from: &[f32]) -> Vec<f32> {
            let (weight, bias) = (self.get(&format!("{name}.weight")), self.get(&format!("{name}.bias")));
            let mean = from.iter().sum::<f32>() / from.len() as f32;
            let spread = from.iter().map(|number| (number - mean).powi(2)).sum::<f32>() / from.len() as f32;
            let normal = from.iter().map(|number| (number - mean) / (spread + 1e-12).sqrt());
            normal.zip(weight).zip(bias).map(|((number, weight), bias)| number * weight + bias).collect()
        }

        /// A BERT by the book, a number at a time; what it makes of each piece.
        fn read(&self, pieces: &[usize]) -> Vec<Vec<f32>> {
            let begin = |(place, piece): (usize, &usize)| {
                let parts = [("word", *piece), ("position", place), ("token_type", 0)];
                let parts = parts.map(|(name, row)| self.row(&format!("embeddings.{name}_embeddings.weight"), row));
                self.norm("embeddings.LayerNorm", &add(&add(parts[0], parts[1]), parts[2]))
            };
            let mut states: Vec<Vec<f32>> = pieces.iter().enumerate().map(begin).collect();
            for layer in 0..LAYERS {
                let name = |part: &str| format!("encoder.layer.{layer}.{part}");
                let of = |part: &str, states: &[Vec<f32>]| -> Vec<Vec<f32>> {
                    states.iter().map(|state| self.linear(&name(part), state)).collect()
                };
                let asked = of("attention.self.query", &states);
                let keys = of("attention.self.key", &states);
                let values = of("attention.self.value", &states);
                let next = states.iter().zip(&asked).map(|(state, asked)| {
                    let seen: Vec<f32> = (0..HEADS).flat_map(|head| attend(head, asked, &keys, &values)).collect();
                    let seen = self.linear(&name("attention.output.dense"), &seen);
                    let state = self.norm(&name("attention.output.LayerNorm"), &add(&seen, state));
                    let inner: Vec<f32> =
                        self.linear(&name("intermediate.dense"), &state).into_iter().map(gelu).collect();
                    self.norm(&name("output.LayerNorm"), &add(&self.linear(&name("output.dense"), &inner), &state))
                });
                states = next.collect();
            }
            states
        }
    }

    fn attend(head: usize, asked: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>]) -> Vec<f32> {
        let size = WIDTH / HEADS;
        let part = |numbers: &[f32]| numbers[head * size..][..size].to_vec();
        let weights = keys.iter().map(|key| (dot(&part(asked), &part(key)) / (size as f32).sqrt()).exp());
        let weights: Vec<f32> = weights.collect();
        let all: f32 = weights.iter().sum();
        let seen = weights
            .iter()
            .zip(values)
            .map(|(weight, value)| part(value).into_iter().map(|number| number * weight / all).collect::<Vec<f32>>());
        seen.fold(vec![0.0; size], |sum, more| add(&sum, &more))
    }

    fn dot(one: &[f32], other: &[f32]) -> f32 {
        one.iter().zip(other).map(|(one, other)| one * other).sum()
    }

    fn add(one: &[f32], other: &[f32]) -> Vec<f32> {
        one.iter().zip(other).map(|(one, other)| one + other).collect()
    }

    /// By the integral: the area under the bell curve up to here, of one.
    fn gelu(number: f32) -> f32 {
        let (number, steps) = (f64::from(number), 4000);
        let width = (number + 10.0) / f64::from(steps);
        let bell = |at: f64| (-at * at / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let area: f64 = (0..steps).map(|step| bell(-10.0 + (f64::from(step) + 0.5) * width) * width).sum();
        (number * area) as f32
    }

    /// Writes the model into a folder.
    fn write(folder: &Path, weights: &Weights) {
        let tensors =
            weights.0.iter().map(|(name, shape, numbers)| (name.as_str(), shape.as_slice(), numbers.as_slice()));
        let tensors: Vec<_> = tensors.collect();
        std::fs::write(folder.join("model.safetensors"), tiny::safetensors(&tensors)).unwrap();
        let mut tokenizer = tiny::tokenizer(&["[UNK]", "[CLS]", "[SEP]"]);
        let special = |piece: &str| json!({"SpecialToken": {"id": piece, "type_id": 0}});
        tokenizer["post_processor"] = json!({"type": "TemplateProcessing",
            "single": [special("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, special("[SEP]")],
            "pair": [special("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [2], "tokens": ["[SEP]"]}}});
        // What files of such models ask for, and must not have its way: each text is read by itself.
        tokenizer["padding"] = json!({"strategy": {"Fixed": 128}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "[UNK]"});
        std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
        set(folder, "config.json", &config());
    }

    fn config() -> serde_json::Value {
        json!({"model_type": "bert", "vocab_size": PIECES, "hidden_size": WIDTH, "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS, "intermediate_size": INNER, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
            "max_position_embeddings": PLACES, "type_vocab_size": 2, "initializer_range": 0.02,
            "layer_norm_eps": 1e-12, "pad_token_id": 0})
    }

    fn set(folder: &Path, name: &str, value: &serde_json::Value) {
        std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        std::fs::write(folder.join(name), value.to_string()).unwrap();
    }

    #[track_caller]
    fn close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        let close = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-4);
        assert!(close, "{found:?} is not {expected:?}");
    }

    #[test]
    fn a_text_is_read_as_a_bert_reads_it_by_the_book() {
        let (place, weights) = (tempfile::tempdir().unwrap(), Weights::new());
        write(place.path(), &weights);
        let mean = |pieces: &[usize]| {
            let states = weights.read(pieces);
            let sum = states.iter().fold(vec![0.0; WIDTH], |sum, state| add(&sum, state));
            sum.iter().map(|number| number / states.len() as f32).collect::<Vec<f32>>()
        };
        let model = folder::open(place.path()).unwrap();
        assert_eq!(model.dimensions(), WIDTH);
        close(&model.embed("Water the poem").unwrap(), &mean(&[1, 5, 0, 10, 2]));
        close(&model.embed("").unwrap(), &mean(&[1, 2]));
        // Six places, of which two are taken.
        let long = "water rain sum poem verses poet";
        close(&model.embed(long).unwrap(), &mean(&[1, 5, 9, 15, 10, 2]));
        set(place.path(), "sentence_bert_config.json", &json!({"max_seq_length": 3, "do_lower_case": false}));
        close(&folder::open(place.path()).unwrap().embed(long).unwrap(), &mean(&[1, 5, 2]));
        set(place.path(), "1_Pooling/config.json", &json!({"pooling_mode_cls_token": true}));
        close(&folder::open(place.path()).unwrap().embed(long).unwrap(), &weights.read(&[1, 5, 2])[0]);
    }

    #[test]
    fn a_folder_that_asks_for_what_is_not_done_is_refused_with_the_reason() {
        let refused = |name: &str, value: &serde_json::Value| {
            let place = tempfile::tempdir().unwrap();
            write(place.path(), &Weights::new());
            set(place.path(), name, value);
            folder::open(place.path()).err().map(|error| error.to_string()).unwrap_or_default()
        };
        let config = |name: &str, value: serde_json::Value| {
            let mut config = config();
            config[name] = value;
            refused("config.json", &config)
        };
        for (error, reason) in [
            (config("model_type", json!("mpnet")), "models of the type \"mpnet\" are not read"),
            (config("num_attention_heads", json!(0)), "no multiple"),
            (config("num_attention_heads", json!(3)), "no multiple"),
            (config("hidden_size", json!(4)), "shape mismatch"),
            (config("num_hidden_layers", json!(3)), "layer.2"),
            (config("vocab_size", json!(17)), "the model knows 17 pieces"),
            (config("hidden_act", json!("swish")), "config.json"),
            (config("position_embedding_type", json!("relative_key")), "config.json"),
            (refused("modules.json", &json!([{"type": "sentence_transformers.models.Dense"}])), "no reader for"),
            (refused("1_Pooling/config.json", &json!({"pooling_mode_max_tokens": true})), "pooled by the mean"),
            (refused("sentence_bert_config.json", &json!({"max_seq_length": 2})), "leaves no place"),
        ] {
            assert!(
                error.starts_with("the embedding model cannot be used: ") && error.contains(reason),
                "{error:?} should say {reason:?}"
            );
        }
        let known = json!([{"type": "sentence_transformers.models.Transformer"},
            {"type": "sentence_transformers.models.Pooling"}, {"type": "sentence_transformers.models.Normalize"}]);
        assert_eq!(refused("modules.json", &known), "");
    }
}
