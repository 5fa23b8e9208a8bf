//! Logs and metrics. A log line names routes, statuses, ids and times: never a key, a variable's value or a prompt.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

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
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = NonBlockingBuilder::default().lossy(false).buffered_lines_limit(100_000);
    let (writer, guard) = lines.finish(std::io::BufWriter::new(std::io::stderr()));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false);
    // A second call, in a test, leaves the first one's logging in place.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    guard
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
    }
}

/// Counts a task that was run.
pub(crate) fn task(kind: &'static str) {
    metrics::counter!("clawrk_tasks_total", "kind" => kind).increment(1);
}

/// How many jobs are open on this node.
#[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
pub(crate) fn gauge_open_jobs(count: usize) {
    metrics::gauge!("clawrk_open_jobs").set(count as f64);
}
