//! Logs and metrics. A log line names routes, statuses, ids and times: never a key, a variable's value or a prompt,
//! whatever the filter. It is one line, and nothing in it steers a terminal, whatever it tells of.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry};

/// How often measurements are summed up.
const SUM_UP_EVERY: Duration = Duration::from_secs(5);

static PROMETHEUS: OnceLock<PrometheusHandle> = OnceLock::new();

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error; `CLAWRK_LOG`'s filter (such as `debug`) comes in as text. Once a process.
///
/// Lines are written by a thread of their own, many at once when there are many: no request waits for whoever reads
/// the log, unless it is 100,000 lines behind. What is dropped last writes down what is left.
pub fn log(format: LogFormat, filter: &str) -> WorkerGuard {
    let lines = NonBlockingBuilder::default().lossy(false).buffered_lines_limit(100_000);
    let (writer, guard) = lines.finish(std::io::BufWriter::new(std::io::stderr()));
    // A second call, in a test, leaves the first one's logging in place.
    let _ = registry().with(lines_of(format, filter, writer)).try_init();
    guard
}

/// What writes the log's lines, as [`log`] does, to wherever they should go.
pub fn lines_of<S, W>(format: LogFormat, filter: &str, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    // Below this level PostgreSQL's client tells the values of every statement: prompts, work, whatever is stored.
    let telling = filter_fn(|line| !line.target().starts_with("tokio_postgres") || *line.level() <= LevelFilter::INFO);
    let filter = filter.and(telling.with_max_level_hint(LevelFilter::TRACE));
    let layer = fmt::layer().with_writer(OneLine { format, writer }).with_target(false);
    match format {
        LogFormat::Text => layer.with_ansi(false).with_filter(filter).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_filter(filter).boxed(),
    }
}

/// Lets lines through with what would break or steer them written out: line breaks within, control characters, and
/// what turns the direction of writing.
struct OneLine<W> {
    format: LogFormat,
    writer: W,
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for OneLine<W> {
    type Writer = OneLine<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLine { format: self.format, writer: self.writer.make_writer() }
    }
}

impl<W: Write> Write for OneLine<W> {
    /// Takes one whole line, as they come from the layer.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let (text, end) = text.strip_suffix('\n').map_or((&*text, ""), |text| (text, "\n"));
        if text.contains(breaks_a_line) {
            let mut written = String::with_capacity(line.len());
            for character in text.chars() {
                match self.format {
                    _ if !breaks_a_line(character) => written.push(character),
                    LogFormat::Text => written.extend(character.escape_unicode()),
                    LogFormat::Json => written.push_str(&format!("\\u{:04x}", u32::from(character))),
                }
            }
            self.writer.write_all((written + end).as_bytes())?;
        } else {
            self.writer.write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

fn breaks_a_line(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The metrics as Prometheus reads them.
pub(crate) fn rendered() -> String {
    recorder().run_upkeep();
    recorder().render()
}

fn recorder() -> &'static PrometheusHandle {
    PROMETHEUS.get_or_init(|| {
        let buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
        let builder = PrometheusBuilder::new().set_buckets(&buckets).expect("there are buckets");
        builder.install_recorder().expect("this is the only recorder of the process")
    })
}

/// Makes the recorder before the first figure is counted.
pub(crate) fn start_metrics() {
    recorder();
}

/// Sums up what was measured since: every measurement is kept until then, whether or not anybody reads the metrics.
pub(crate) async fn sum_up_regularly() {
    loop {
        tokio::time::sleep(SUM_UP_EVERY).await;
        recorder().run_upkeep();
        tell_of_too_many();
    }
}

/// Requests that were answered 429 and not told of yet.
static TOO_MANY: AtomicU64 = AtomicU64::new(0);

/// Counts a request that was answered 429. The log tells of all of them in one line: a line for each would let anybody
/// fill the disk.
pub(crate) fn one_too_many() {
    TOO_MANY.fetch_add(1, Ordering::Relaxed);
}

fn tell_of_too_many() {
    let count = TOO_MANY.swap(0, Ordering::Relaxed);
    if count > 0 {
        tracing::warn!(count, "too many requests came, and were answered 429");
    }
}

/// Counts a task that was run.
pub(crate) fn task(kind: &'static str) {
    metrics::counter!("clawrk_tasks_total", "kind" => kind).increment(1);
}

/// Counts a question to the language model, by what it was for and what came of it.
pub(crate) fn llm_asked(purpose: &str, outcome: &'static str) {
    metrics::counter!("clawrk_llm_questions_total", "purpose" => purpose.to_owned(), "outcome" => outcome).increment(1);
}

/// Counts texts that an embedding model has read, or failed to.
pub(crate) fn embedded(what: &'static str, count: usize) {
    metrics::counter!("clawrk_embeddings_total", "what" => what).increment(count as u64);
}

/// How many open jobs are matched by words alone, although there is an embedding model.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(crate) fn gauge_jobs_without_meaning(count: usize) {
    metrics::gauge!("clawrk_open_jobs_without_meaning").set(count as f64);
}

/// How many payments there are whose outcome nobody knows, and notices of Stripe's that say what cannot be.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(crate) fn gauge_parked(payments: usize, notices: usize) {
    metrics::gauge!("clawrk_payments_parked").set(payments as f64);
    metrics::gauge!("clawrk_notices_parked").set(notices as f64);
}

/// In how many things the ledger and Stripe differed when this node last compared them.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(crate) fn gauge_differences(count: usize) {
    metrics::gauge!("clawrk_payments_differences").set(count as f64);
}

/// How many jobs are open on this node.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(crate) fn gauge_open_jobs(count: usize) {
    metrics::gauge!("clawrk_open_jobs").set(count as f64);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn requests_that_are_too_many_are_one_line_with_their_number() {
        let lines = tempfile::NamedTempFile::new().unwrap();
        let writer = Arc::new(lines.reopen().unwrap());
        let subscriber = registry().with(lines_of(LogFormat::Text, "info", writer));
        tracing::subscriber::with_default(subscriber, || {
            tell_of_too_many();
            (0..1000).for_each(|_| one_too_many());
            tell_of_too_many();
            tell_of_too_many();
        });
        let told = std::fs::read_to_string(lines.path()).unwrap();
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.contains("WARN") && told.contains("count=1000"), "{told}");
    }
}
