//! The log of a verification under way: lines for people, without secrets and of bounded size.

use std::sync::{Arc, Mutex, MutexGuard};

use clawrk_domain::unseen::is_unseen;
use clawrk_domain::verification::{LogKind, LogLine};
use clawrk_store::Clock;

use super::scrub::Scrubber;

/// Lines of one look, at most.
const MOST_LINES: usize = 1_000;
/// Characters of a line, at most.
const MOST_CHARACTERS: usize = 2_000;

/// What is to be told; cheap to clone.
#[derive(Clone)]
pub(crate) struct Log(Arc<Mutex<Lines>>);

struct Lines {
    untold: Vec<LogLine>,
    count: usize,
    scrubber: Scrubber,
    clock: Clock,
}

impl Log {
    pub(crate) fn new(scrubber: Scrubber, clock: Clock) -> Self {
        Self(Arc::new(Mutex::new(Lines { untold: Vec::new(), count: 0, scrubber, clock })))
    }

    /// How far the verification has come.
    pub(crate) fn status(&self, text: &str) {
        self.lines().add(LogKind::Status, text);
    }

    /// What was done or said.
    pub(crate) fn say(&self, text: &str) {
        self.lines().add(LogKind::Log, text);
    }

    /// What has not been told yet.
    pub(crate) fn take(&self) -> Vec<LogLine> {
        std::mem::take(&mut self.lines().untold)
    }

    /// A text without the values of variables.
    pub(crate) fn clean(&self, text: &str) -> String {
        self.lines().scrubber.clean(text)
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().expect("nothing panics while it is held")
    }
}

impl Lines {
    fn add(&mut self, kind: LogKind, text: &str) {
        if kind == LogKind::Log {
            self.count += 1;
            if self.count > MOST_LINES {
                return;
            }
        }
        let last = kind == LogKind::Log && self.count == MOST_LINES;
        let text = if last { "There is more, which is left out." } else { text };
        let text = harmless(&self.scrubber.clean(text));
        self.untold.push(LogLine { at: self.clock.now(), kind, text });
    }
}

/// A line that steers nothing and is no longer than it may be.
pub(super) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (many, c) in text.trim_end().chars().enumerate() {
        if many == MOST_CHARACTERS {
            shown.push('…');
            break;
        }
        match c {
            '\t' => shown.push_str("    "),
            c if is_unseen(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_steers_nothing() {
        assert_eq!(harmless("a\u{1b}[31m\tb\u{202e}\u{7}\r\n"), "a\\u{1b}[31m    b\\u{202e}\\u{7}");
    }

    #[test]
    fn a_log_has_an_end_and_its_status_is_told_all_the_same() {
        let log = Log::new(Scrubber::default(), Clock::System);
        (0..2 * MOST_LINES).for_each(|n| log.say(&format!("line {n}")));
        log.status("over");
        let lines = log.take();
        assert_eq!(lines.len(), MOST_LINES + 1);
        assert_eq!(lines[MOST_LINES - 1].text, "There is more, which is left out.");
        assert_eq!(lines[MOST_LINES].text, "over");
        log.say(&"x".repeat(3_000));
        assert_eq!(log.take().len(), 0);
    }
}
