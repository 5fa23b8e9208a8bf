//! Static models, as model2vec makes them: a row of numbers for each piece of a word; a text is the mean of its rows.

use std::collections::HashMap;

use model2vec_rs::model::StaticModel;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use tokenizers::Tokenizer;

use super::folder::{Files, read};
use super::{EmbedError, Model};

/// The names that the table goes by.
const NAMES: [&str; 3] = ["embeddings", "0", "embedding.weight"];
const WEIGHTS: &str = "model.safetensors";

struct Table(StaticModel);

impl Model for Table {
    fn dimensions(&self) -> usize {
        self.0.dim()
    }

    fn embed(&self, text: &str) -> Result<Vec<f32>, String> {
        Ok(self.0.encode_single(text))
    }
}

/// The table of a static model; nothing if there is none.
pub(super) fn find<'t>(tensors: &SafeTensors<'t>) -> Option<TensorView<'t>> {
    NAMES.iter().find_map(|name| tensors.tensor(name).ok())
}

/// Opens a static model. Its reader trusts that each piece of a word has a row: that is looked at before.
pub(super) fn open(
    files: &Files,
    tensors: &SafeTensors<'_>,
    table: TensorView<'_>,
) -> Result<Box<dyn Model>, EmbedError> {
    let wrong = |problem: String| files.problem(WEIGHTS, problem);
    let [rows, columns] = table.shape() else {
        return Err(wrong(format!("a table of numbers has rows and columns, this one the shape {:?}", table.shape())));
    };
    if *rows == 0 || *columns == 0 {
        return Err(wrong("its table is empty".to_owned()));
    }
    let tokenizer = Tokenizer::from_bytes(&files.tokenizer).map_err(|error| files.problem("tokenizer.json", error))?;
    let pieces: HashMap<String, u32> = tokenizer.get_vocab(true);
    let mapping = tensors.tensor("mapping").ok().map(|mapping| numbers(&mapping)).transpose().map_err(wrong)?;
    let row_of = |piece: usize| mapping.as_ref().and_then(|mapping| mapping.get(piece)).copied().unwrap_or(piece);
    if let Some((piece, id)) = pieces.iter().filter(|(_, id)| row_of(**id as usize) >= *rows).min_by_key(|(_, id)| **id)
    {
        return Err(wrong(format!("it has {rows} rows, and none for {piece:?}, number {id} of tokenizer.json")));
    }
    // Folders of sentence-transformers have none; there is nothing in it that is needed.
    let config = match read(&files.folder, "config.json") {
        Err(EmbedError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => b"{}".to_vec(),
        config => config?,
    };
    let model = StaticModel::from_bytes(&files.tokenizer, &files.weights, config, Some(true));
    Ok(Box::new(Table(model.map_err(|error| wrong(format!("{error:#}")))?)))
}

/// Which row each piece of a word has, where they are told apart.
fn numbers(mapping: &TensorView<'_>) -> Result<Vec<usize>, String> {
    let row = |number: i64| usize::try_from(number).map_err(|_| format!("there is no row {number}"));
    let data = mapping.data();
    match mapping.dtype() {
        Dtype::I64 => data.as_chunks().0.iter().map(|bytes| row(i64::from_le_bytes(*bytes))).collect(),
        Dtype::I32 => data.as_chunks().0.iter().map(|bytes| row(i32::from_le_bytes(*bytes).into())).collect(),
        other => Err(format!("its mapping is of {other:?}, and rows are whole numbers")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{folder, tiny};

    #[test]
    fn a_text_is_the_mean_of_its_words() {
        let place = tempfile::tempdir().unwrap();
        tiny::write(place.path());
        let model = folder::open(place.path()).unwrap();
        assert_eq!(model.dimensions(), 4);
        // Water (2) and poem (7); what the model does not know counts for nothing.
        let read = model.embed("Water the POEM, please").unwrap();
        let mean: Vec<f32> = tiny::row(2).iter().zip(tiny::row(7)).map(|(one, other)| (one + other) / 2.0).collect();
        let length = mean.iter().map(|number| number * number).sum::<f32>().sqrt();
        assert!(read.iter().zip(&mean).all(|(read, mean)| (read - mean / length).abs() < 1e-6), "{read:?}");
        assert_eq!(model.embed("nothing of that").unwrap(), [0.0; 4]);
    }
}
