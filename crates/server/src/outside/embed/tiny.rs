//! A tiny static model for tests: three fields of work, and five words in each.

use std::path::Path;

use serde_json::{Map, Value, json};

/// Words that are near to each other, and to none of the other fields. A text's meaning is how much of each it has.
pub(crate) const FIELDS: [[&str; 5]; 3] = [
    ["garden", "plants", "water", "flowers", "horticulture"],
    ["haiku", "rain", "poem", "verses", "poet"],
    ["invoices", "customer", "sum", "bookkeeper", "accounting"],
];

/// Writes the model into a folder.
pub(crate) fn write(folder: &Path) {
    let rows: Vec<f32> = std::iter::once([0.0; 4]).chain((0..15).map(row)).flatten().collect();
    std::fs::write(folder.join("model.safetensors"), safetensors(&[("embeddings", &[16, 4], &rows)])).unwrap();
    std::fs::write(folder.join("tokenizer.json"), tokenizer(&["[UNK]"]).to_string()).unwrap();
    std::fs::write(folder.join("config.json"), json!({"model_type": "model2vec", "normalize": true}).to_string())
        .unwrap();
}

/// The numbers of a word: its field, and a little of its own.
pub(crate) fn row(word: usize) -> [f32; 4] {
    let mut row = [0.0, 0.0, 0.0, word as f32 / 100.0];
    row[word / 5] = 1.0;
    row
}

/// A tokenizer of these special pieces and of the words behind them, in their order.
pub(crate) fn tokenizer(special: &[&str]) -> Value {
    let pieces = special.iter().chain(FIELDS.iter().flatten());
    let vocab: Map<String, Value> = pieces.zip(0..).map(|(piece, id)| ((*piece).to_owned(), json!(id))).collect();
    let added = special.iter().zip(0..).map(|(piece, id)| {
        json!({"id": id, "content": piece, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab},
    })
}

/// Tensors of 32-bit numbers in a safetensors file.
pub(crate) fn safetensors(tensors: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, shape, numbers) in tensors {
        let from = data.len();
        data.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        let place = json!({"dtype": "F32", "shape": shape, "data_offsets": [from, data.len()]});
        header.insert((*name).to_owned(), place);
    }
    let header = Value::Object(header).to_string();
    let length = u64::try_from(header.len()).unwrap();
    [length.to_le_bytes().to_vec(), header.into_bytes(), data].concat()
}
