//! What the log says in a test: everything, in both formats, written as the server writes it.

use std::io;
use std::sync::{Arc, LazyLock, Mutex};

use clawrk_server::telemetry::{LogFormat, lines_of};
use serde_json::Value;
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt;

/// What was logged.
#[derive(Clone, Default)]
pub struct Captured {
    text: Lines,
    json: Lines,
}

/// All that this process logs from now on, at the finest level, whoever logs it.
pub fn captured() -> Captured {
    static ALL: LazyLock<Captured> = LazyLock::new(|| {
        let all = Captured::default();
        let layers = [LogFormat::Text, LogFormat::Json].map(|format| all.layer(format));
        registry().with(Vec::from(layers)).init();
        all
    });
    ALL.clone()
}

impl Captured {
    /// Logs in this format to here.
    pub fn subscriber(&self, format: LogFormat) -> impl Subscriber + Send + Sync + use<> {
        registry().with(self.layer(format))
    }

    fn layer(&self, format: LogFormat) -> Box<dyn Layer<registry::Registry> + Send + Sync> {
        lines_of(format, "trace", self.of(format).clone())
    }

    const fn of(&self, format: LogFormat) -> &Lines {
        match format {
            LogFormat::Text => &self.text,
            LogFormat::Json => &self.json,
        }
    }

    pub fn text(&self, format: LogFormat) -> String {
        String::from_utf8(self.of(format).0.lock().unwrap().clone()).unwrap()
    }

    /// Every line begins as an event does and is whole, and no character steers a terminal.
    #[track_caller]
    pub fn is_made_of_lines(&self) {
        for format in [LogFormat::Text, LogFormat::Json] {
            let lines = self.text(format);
            let steers = |character: char| {
                (character.is_control() && character != '\n')
                    || ('\u{202a}'..='\u{202e}').contains(&character)
                    || ('\u{2066}'..='\u{2069}').contains(&character)
            };
            assert!(!lines.contains(steers), "{:?}", lines.lines().find(|line| line.contains(steers)));
            for line in lines.lines() {
                let begins = match format {
                    LogFormat::Text => line.len() > 28 && line.as_bytes()[26] == b'Z',
                    LogFormat::Json => serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()),
                };
                assert!(begins, "{line:?}");
            }
        }
    }
}

/// Lines as they were written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
