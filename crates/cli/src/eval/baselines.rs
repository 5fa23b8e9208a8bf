//! What the matching is compared with, by the book: words in lower case, neither stemmed nor left out.

use std::collections::HashMap;

use super::measure::DEPTH;

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// Texts, and the words in them.
pub(super) struct Documents {
    /// For each word, the documents that it stands in and how often.
    lists: HashMap<String, Vec<(usize, f64)>>,
    /// In words.
    lengths: Vec<f64>,
    /// Of the vectors of TF-IDF.
    norms: Vec<f64>,
}

impl Documents {
    pub(super) fn new<'t>(texts: impl Iterator<Item = &'t str>) -> Self {
        let (mut lists, mut lengths) = (HashMap::<String, Vec<(usize, f64)>>::new(), Vec::new());
        for (document, text) in texts.enumerate() {
            let counts = counts(text);
            lengths.push(counts.values().sum());
            counts.into_iter().for_each(|(word, count)| lists.entry(word).or_default().push((document, count)));
        }
        let mut documents = Self { lists, norms: vec![0.0; lengths.len()], lengths };
        for list in documents.lists.values() {
            let idf = documents.smooth_idf(list.len());
            list.iter().for_each(|(document, count)| documents.norms[*document] += (count * idf).powi(2));
        }
        documents.norms.iter_mut().for_each(|norm| *norm = norm.sqrt());
        documents
    }

    /// The first documents by Okapi's BM25.
    pub(super) fn bm25(&self, query: &str) -> Vec<usize> {
        let average = self.lengths.iter().sum::<f64>() / self.lengths.len() as f64;
        self.ranked(query, |asked, found, document, count| {
            let (jobs, found) = (self.lengths.len() as f64, found as f64);
            let idf = (1.0 + (jobs - found + 0.5) / (found + 0.5)).ln();
            asked * idf * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * self.lengths[document] / average))
        })
    }

    /// The first documents by the cosine of TF-IDF vectors.
    pub(super) fn tfidf(&self, query: &str) -> Vec<usize> {
        self.ranked(query, |asked, found, document, count| {
            asked * self.smooth_idf(found).powi(2) * count / self.norms[document]
        })
    }

    fn smooth_idf(&self, found: usize) -> f64 {
        ((1.0 + self.lengths.len() as f64) / (1.0 + found as f64)).ln() + 1.0
    }

    /// The first documents by the sum of what each word of the query is worth there: told how often it is asked for,
    /// in how many documents it stands, and one of them with how often it stands in that.
    fn ranked(&self, query: &str, worth: impl Fn(f64, usize, usize, f64) -> f64) -> Vec<usize> {
        let mut scores = vec![0.0; self.lengths.len()];
        let mut asked: Vec<_> = counts(query).into_iter().collect();
        // Sums of floats depend on the order.
        asked.sort_by(|one, other| one.0.cmp(&other.0));
        for (word, asked) in asked {
            let Some(list) = self.lists.get(&word) else { continue };
            list.iter().for_each(|(document, count)| scores[*document] += worth(asked, list.len(), *document, *count));
        }
        let mut ranked: Vec<usize> = (0..scores.len()).collect();
        ranked.sort_by(|one, other| scores[*other].total_cmp(&scores[*one]));
        ranked.truncate(DEPTH);
        ranked
    }
}

fn counts(text: &str) -> HashMap<String, f64> {
    let mut counts = HashMap::new();
    for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        *counts.entry(word.to_owned()).or_default() += 1.0;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 3] = ["the red fox", "the fox and the dog, the end of the fox", "a cat"];

    #[test]
    fn bm25_is_that_of_the_book() {
        let documents = Documents::new(TEXTS.into_iter());
        assert_eq!(documents.bm25("Fox!"), [0, 1, 2], "once in three words is more than twice in ten");
        assert_eq!(documents.bm25("dog"), [1, 0, 2]);
        assert_eq!(documents.bm25("cat the"), [2, 1, 0]);
    }

    #[test]
    fn tfidf_is_that_of_the_book() {
        let documents = Documents::new(TEXTS.into_iter());
        let red_fox =
            (0.5_f64.ln().mul_add(-1.0, 1.0).powi(2) + 2.0 * (4.0_f64 / 3.0).ln().mul_add(1.0, 1.0).powi(2)).sqrt();
        assert!((documents.norms[0] - red_fox).abs() < 1e-9, "{}", documents.norms[0]);
        assert_eq!(documents.tfidf("fox"), [0, 1, 2]);
        assert_eq!(documents.tfidf("cat"), [2, 0, 1]);
    }
}
