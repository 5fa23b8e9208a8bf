//! The id of the request in hand, for its answer and for the log; and how its caller stands with the limits.

use std::cell::Cell;

use crate::random;
use crate::rates::Standing;

tokio::task_local! {
    static CURRENT: InHand;
}

struct InHand {
    id: Id,
    standing: Cell<Option<Standing>>,
}

/// A request's id, in hexadecimal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Id([u8; 24]);

impl Id {
    fn fresh() -> Self {
        let mut text = [0; 24];
        hex::encode_to_slice(random::unique(), &mut text).expect("two letters a byte");
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal is ASCII")
    }
}

/// Runs the handling of one request under a fresh id; the id, the outcome, and how the caller stands after it.
pub(crate) async fn with<F: Future>(handle: F) -> (Id, (F::Output, Option<Standing>)) {
    let id = Id::fresh();
    let in_hand = InHand { id, standing: Cell::new(None) };
    let handled = async {
        let outcome = handle.await;
        (outcome, CURRENT.with(|in_hand| in_hand.standing.get()))
    };
    (id, CURRENT.scope(in_hand, handled).await)
}

/// The id of the request in hand; none outside of one.
pub(crate) fn current() -> Option<String> {
    CURRENT.try_with(|in_hand| in_hand.id.as_str().to_owned()).ok()
}

/// Notes how the caller stands, for the answer.
pub(crate) fn stand(standing: Option<Standing>) {
    if standing.is_some() {
        // Outside of a request there is no answer to tell it in.
        CURRENT.try_with(|in_hand| in_hand.standing.set(standing)).unwrap_or_default();
    }
}
