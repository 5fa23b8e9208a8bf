//! One thing, shown whole: a title, its fields in a column, then longer texts, indented.

use super::{Shape, Tone, clean};

/// A card; what is put into it is made harmless when it is rendered.
pub(crate) struct Card {
    title: String,
    tag: Option<(String, Tone)>,
    fields: Vec<(&'static str, String, Tone)>,
    texts: Vec<(&'static str, String)>,
}

impl Card {
    /// A card with a title.
    pub(crate) fn new(title: &str) -> Self {
        Self { title: title.to_owned(), tag: None, fields: Vec::new(), texts: Vec::new() }
    }

    /// With a word beside the title.
    pub(crate) fn tag(mut self, tag: &str, tone: Tone) -> Self {
        self.tag = Some((tag.to_owned(), tone));
        self
    }

    /// One more field.
    pub(crate) fn field(&mut self, name: &'static str, value: impl AsRef<str>) {
        self.toned(name, value, Tone::Plain);
    }

    /// One more field, in a tone.
    pub(crate) fn toned(&mut self, name: &'static str, value: impl AsRef<str>, tone: Tone) {
        self.fields.push((name, value.as_ref().to_owned(), tone));
    }

    /// One more field if there is something in it.
    pub(crate) fn maybe(&mut self, name: &'static str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value {
            self.field(name, value);
        }
    }

    /// A longer text under a heading, if there is one.
    pub(crate) fn text(&mut self, heading: &'static str, text: Option<&str>) {
        if let Some(text) = text.filter(|text| !text.trim().is_empty()) {
            self.texts.push((heading, text.to_owned()));
        }
    }

    /// A list under a heading, unless it is empty.
    pub(crate) fn list(&mut self, heading: &'static str, items: &[String]) {
        let lines: Vec<String> = items.iter().map(|item| format!("- {}", clean(item, Shape::Line))).collect();
        self.text(heading, Some(&lines.join("\n")));
    }

    /// The card as text, ending with a line break.
    pub(super) fn render(&self) -> String {
        let mut text = Tone::Strong.of(&clean(&self.title, Shape::Line));
        if let Some((tag, tone)) = &self.tag {
            text.push_str("  ");
            text.push_str(&tone.of(&clean(tag, Shape::Line)));
        }
        text.push('\n');
        let width = self.fields.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
        for (name, value, tone) in &self.fields {
            let name = Tone::Quiet.of(&format!("{name:width$}"));
            text.push_str(&format!("  {name}  {}\n", tone.of(&clean(value, Shape::Line))));
        }
        for (heading, body) in &self.texts {
            text.push_str(&format!("\n{}\n", Tone::Strong.of(heading)));
            // Indented, so that no text can pass for a heading or a field.
            for line in clean(body, Shape::Lines).trim_end().lines() {
                text.push_str(&format!("  {line}\n"));
            }
        }
        text
    }
}
