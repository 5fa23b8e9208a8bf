//! The id of the request in hand, for its answer and for the log.

tokio::task_local! {
    static CURRENT: String;
}

/// Runs the handling of one request under an id.
pub(crate) async fn with<F: Future>(id: String, handle: F) -> F::Output {
    CURRENT.scope(id, handle).await
}

/// The id of the request in hand; none outside of one.
pub(crate) fn current() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok()
}
