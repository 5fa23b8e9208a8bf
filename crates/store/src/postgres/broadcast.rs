//! What nodes tell one another in passing, such as how much of a limit was used: it is kept nowhere.
//!
//! It goes by `NOTIFY`, on a channel of its own and outside of every transaction, to all nodes that listen at that
//! moment, to the one that tells it too, in the order in which it was told. Whoever does not listen never hears of it.
//! Anything that may connect to the database can tell something: who hears it has to judge it.

use tokio_postgres::Notification;

use super::Node;
use crate::StoreError;

pub(super) const CHANNEL: &str = "clawrk_nodes";
const TELL: &str = "SELECT pg_notify($1, told) FROM unnest($2::text[]) AS told";

/// Tells all nodes.
pub(super) async fn tell(node: &Node, texts: &[String]) -> Result<(), StoreError> {
    let told = async |client: &deadpool_postgres::Object| {
        let statement = client.prepare_cached(TELL).await?;
        client.execute(&statement, &[&CHANNEL, &texts]).await?;
        Ok(())
    };
    node.reading(told).await
}

/// Hands on what was told; whether it was on this channel.
pub(super) fn hear(node: &Node, said: &Notification) -> bool {
    let is_ours = said.channel() == CHANNEL;
    if let (true, Some(listener)) = (is_ours, node.listener.get()) {
        listener(said.payload());
    }
    is_ours
}
