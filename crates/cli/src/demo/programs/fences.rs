//! How the programs read a prompt: the prose, which says what is asked, apart from the fenced blocks, which are the data.

/// A fenced block of a prompt.
#[derive(Debug)]
pub(super) struct Fence {
    /// The last line with text before the block, in lower case: what the sender says it is.
    pub(super) intro: String,
    /// The lines between the fences.
    pub(super) body: String,
}

/// All closed fenced blocks, in order.
pub(super) fn fences(prompt: &str) -> Vec<Fence> {
    let mut found = Vec::new();
    let mut intro = String::new();
    let mut open: Option<Vec<&str>> = None;
    for line in prompt.lines() {
        let is_fence = line.trim_start().starts_with("```");
        open = match open.take() {
            None if is_fence => Some(Vec::new()),
            None => {
                if !line.trim().is_empty() {
                    intro = line.trim().to_lowercase();
                }
                None
            }
            Some(lines) if is_fence => {
                found.push(Fence { intro: std::mem::take(&mut intro), body: lines.join("\n") });
                None
            }
            Some(mut lines) => {
                lines.push(line);
                Some(lines)
            }
        };
    }
    found
}

/// The prompt without its fenced blocks, in one line and lower case, for recognizing what is asked.
pub(super) fn prose(prompt: &str) -> String {
    prose_as_typed(prompt).to_lowercase()
}

/// The prompt without its fenced blocks, in one line.
pub(super) fn prose_as_typed(prompt: &str) -> String {
    let mut inside = false;
    let mut words: Vec<&str> = Vec::new();
    for line in prompt.lines() {
        if line.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            words.extend(line.split_whitespace());
        }
    }
    words.join(" ")
}

/// Whether the text holds every one of these phrases.
pub(super) fn says_all(text: &str, phrases: &[&str]) -> bool {
    phrases.iter().all(|phrase| text.contains(phrase))
}

/// The text between the first `start` and the next `end` after it.
pub(super) fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inside, _)| inside)
}
