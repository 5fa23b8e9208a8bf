//! The only file that prints, with the layouts below it that make the text.
//!
//! Data goes to stdout, everything else to stderr. Every function here takes plain text, makes it
//! harmless with [`clean`], and only then adds its own styles: text from others never reaches the
//! terminal any other way. [`Output::own`] is for texts that were compiled into the program.

mod card;
mod table;

use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

pub(crate) use card::Card;
pub(crate) use table::{Cell, Table, left, right, wide};

use crate::failure::Failure;

/// How a piece of text is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// Bold.
    Strong,
    /// Dim.
    Quiet,
    /// Green: it went well.
    Good,
    /// Red: it did not.
    Bad,
    /// Yellow: it is under way.
    Busy,
}

impl Tone {
    /// The text in this tone; it must be clean already.
    fn of(self, text: &str) -> String {
        let style = match self {
            Self::Plain => Style::new(),
            Self::Strong => Style::new().bold(),
            Self::Quiet => Style::new().dimmed(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
            Self::Busy => AnsiColor::Yellow.on_default(),
        };
        format!("{style}{text}{style:#}")
    }
}

/// How much of a text's shape is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Line breaks and tabs stay.
    Lines,
    /// Line breaks and tabs become spaces.
    Line,
}

/// Text from others, made harmless: characters that steer a terminal, turn the direction of writing or
/// cannot be seen are shown as `\u{…}`.
pub(crate) fn clean(text: &str, shape: Shape) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, shape) {
            // A Windows line end is one line end.
            ('\r', _) if characters.peek() == Some(&'\n') => {}
            ('\n' | '\t', Shape::Lines) => cleaned.push(character),
            ('\n' | '\t', Shape::Line) => cleaned.push(' '),
            _ if is_harmful(character) => cleaned.extend(character.escape_unicode()),
            _ => cleaned.push(character),
        }
    }
    cleaned
}

/// Control characters, line and paragraph separators, and what Unicode calls default ignorable, but for
/// the two selectors that choose how an emoji looks.
const fn is_harmful(character: char) -> bool {
    matches!(character,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0d}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// JSON in which the same characters are escaped; the serializer leaves many of them as they are.
fn json_text(document: &Value, pretty: bool) -> String {
    let text = if pretty { serde_json::to_string_pretty(document) } else { serde_json::to_string(document) };
    let text = text.expect("a JSON value is JSON");
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        // Line breaks stand between tokens only: within texts the serializer has escaped them.
        if is_harmful(character) && character != '\n' {
            for unit in character.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Where a command says what it has to say.
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// Output for people, or with `json` for programs.
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether the output is for programs.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// A JSON document on stdout, spread over lines on a terminal.
    pub(crate) fn document(&self, document: &Value) {
        say(&format!("{}\n", json_text(document, std::io::stdout().is_terminal())));
    }

    /// A JSON document in one line on stdout.
    pub(crate) fn json_line(&self, document: &Value) {
        say(&format!("{}\n", json_text(document, false)));
    }

    /// A line on stdout, its pieces each in their tone.
    pub(crate) fn line(&self, pieces: &[(&str, Tone)]) {
        let line: String = pieces.iter().map(|(text, tone)| tone.of(&clean(text, Shape::Line))).collect();
        say(&format!("{line}\n"));
    }

    /// A paragraph on stdout, broken at the terminal's width: a mark before its first line, another before the rest.
    pub(crate) fn paragraph(&self, mark: (&str, Tone), rest: &str, text: &str) {
        let indent = mark.0.chars().count();
        let width = comfy_table::Table::new().width().map_or(usize::MAX, usize::from);
        for (at, line) in broken(&clean(text, Shape::Line), width.saturating_sub(indent).max(20)).iter().enumerate() {
            let before = mark.1.of(if at == 0 { mark.0 } else { rest });
            say(&format!("{before}{line}\n"));
        }
    }

    /// Several lines on stdout.
    pub(crate) fn text(&self, text: &str) {
        say(&format!("{}\n", clean(text, Shape::Lines)));
    }

    /// Our own text on stdout, styles and all.
    pub(crate) fn own(&self, text: &str) {
        say(text);
    }

    /// Bytes on stdout, as they are, when it is no terminal.
    pub(crate) fn bytes(&self, bytes: &[u8]) {
        written(|| {
            let mut stream = std::io::stdout().lock();
            stream.write_all(bytes).and_then(|()| stream.flush())
        });
    }

    /// Whether what stands on stdout is read on a terminal.
    pub(crate) fn is_on_terminal(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    /// A table on stdout.
    pub(crate) fn table(&self, table: &Table) {
        say(&format!("{}\n", table.render()));
    }

    /// A card on stdout.
    pub(crate) fn card(&self, card: &Card) {
        say(&card.render());
    }

    /// A card beside the data, on stderr; nothing for programs.
    pub(crate) fn card_aside(&self, card: &Card) {
        if !self.json {
            aside(&card.render());
        }
    }

    /// A remark on stderr; nothing for programs.
    pub(crate) fn note(&self, text: &str) {
        if !self.json {
            aside(&format!("{}\n", clean(text, Shape::Lines)));
        }
    }

    /// What went wrong, on stderr: for people with a hint, for programs as a JSON document.
    pub(crate) fn failure(&self, failure: &Failure) {
        if self.json {
            return aside(&format!("{}\n", json_text(&failure.document(), false)));
        }
        let mut text = format!("{} {}", Tone::Bad.of("error:"), clean(&failure.message, Shape::Lines));
        if let Some(request) = &failure.request_id {
            let origin = format!(" ({}, request {request})", failure.code);
            text.push_str(&Tone::Quiet.of(&clean(&origin, Shape::Line)));
        }
        if let Some(hint) = &failure.hint {
            text.push_str(&format!("\n{} {}", Tone::Strong.of("hint:"), clean(hint, Shape::Lines)));
        }
        aside(&format!("{text}\n"));
    }

    /// What was wrong with the command line, on stderr, in the parser's own words; they repeat what was typed.
    pub(crate) fn wrong_use(&self, text: &str) {
        aside(&format!("{} {}", Tone::Bad.of("error:"), clean(text, Shape::Lines)));
    }

    /// Whether somebody is there to be asked.
    pub(crate) fn can_ask(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Asks a yes-or-no question on the terminal; anything but yes is a no.
    pub(crate) fn ask(&self, question: &str) -> bool {
        aside(&format!("{} [y/N] ", Tone::Strong.of(&clean(question, Shape::Line))));
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
    }

    /// Whether a live view can be shown: both streams are a terminal, and people read them.
    pub(crate) fn can_redraw(&self) -> bool {
        !self.json && std::io::stdout().is_terminal() && std::io::stderr().is_terminal()
    }

    /// A sign that something is waited for, on stderr; nothing where no terminal is.
    pub(crate) fn spinner(&self) -> Live {
        let bar = if self.json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        bar.enable_steady_tick(Duration::from_millis(120));
        Live { bar }
    }

    /// A place on the terminal whose text is replaced again and again.
    pub(crate) fn screen(&self) -> Live {
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is well formed"));
        Live { bar }
    }
}

/// Text on the terminal that is replaced in place.
pub(crate) struct Live {
    bar: ProgressBar,
}

impl Live {
    /// Shows one line instead of what was there.
    pub(crate) fn line(&self, text: &str) {
        self.bar.set_message(clean(text, Shape::Line));
    }

    /// Shows headed tables and a remark instead of what was there.
    pub(crate) fn tables(&self, parts: &[(&str, Option<&Table>)], remark: &str) {
        let mut text = String::new();
        for (heading, table) in parts {
            let body = table.map_or_else(|| Tone::Quiet.of("none"), Table::render);
            text.push_str(&format!("{}\n{body}\n\n", Tone::Strong.of(&clean(heading, Shape::Line))));
        }
        text.push_str(&Tone::Quiet.of(&clean(remark, Shape::Line)));
        let plain = AutoStream::choice(&std::io::stderr()) == ColorChoice::Never;
        self.bar.set_message(if plain { anstream::adapter::strip_str(&text).to_string() } else { text });
        self.bar.tick();
    }

    /// Takes it away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Leaves it as it is.
    pub(crate) fn leave(&self) {
        self.bar.abandon();
    }
}

/// A text in lines of at most so many characters, broken between words where it can be.
fn broken(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always one");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Writes to stdout.
fn say(text: &str) {
    written(|| {
        let mut stream = anstream::stdout().lock();
        stream.write_all(text.as_bytes()).and_then(|()| stream.flush())
    });
}

/// When nobody reads on (`clawrk jobs | head`), there is nothing left to do.
fn written(write: impl FnOnce() -> std::io::Result<()>) {
    if let Err(error) = write() {
        crate::scratch::remove();
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        aside(&format!("{} The output cannot be written: {error}\n", Tone::Bad.of("error:")));
        std::process::exit(1);
    }
}

/// Writes to stderr; that nobody can read it changes nothing.
fn aside(text: &str) {
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests;
