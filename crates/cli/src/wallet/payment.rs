//! One payment in or out: shown, and waited for.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use super::page;
use crate::client::Client;
use crate::environment::now;
use crate::failure::Failure;
use crate::format;
use crate::job::read;
use crate::output::{Card, Cell, Output, Table, Tone, left, right, wide};

/// How long a withdrawal is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A payment as the server tells it.
#[derive(Deserialize)]
pub(super) struct Payment {
    pub(super) id: String,
    kind: String,
    pub(super) amount_cents: i64,
    status: String,
    problem: Option<String>,
    returned_cents: i64,
    created_at: String,
    updated_at: String,
}

/// How a payment has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    Paid,
    Failed,
    NotYet,
}

impl Payment {
    pub(super) fn ends(&self) -> Ends {
        match self.status.as_str() {
            "paid" => Ends::Paid,
            "failed" => Ends::Failed,
            _ => Ends::NotYet,
        }
    }

    pub(super) fn is_out(&self) -> bool {
        self.kind == "withdrawal"
    }

    /// It did not happen.
    pub(super) fn failure(&self) -> Failure {
        let why = self.problem.as_deref().unwrap_or("no reason was given");
        let failure = Failure::failed("payment_failed", format!("The payment failed: {why}."));
        if self.is_out() { failure.hint("the money is back in your balance") } else { failure }
    }

    fn tone(&self) -> Tone {
        match self.ends() {
            Ends::Paid => Tone::Good,
            Ends::Failed => Tone::Bad,
            Ends::NotYet => Tone::Busy,
        }
    }

    /// What else there is to say of it.
    fn remark(&self) -> String {
        let returned = self.returned_cents > 0;
        let returned = returned.then(|| format!("{} taken back", format::money(self.returned_cents)));
        [self.problem.clone(), returned].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

/// Asks for a payment until it is over, or for so long.
pub(super) async fn wait(
    id: &str,
    within: Option<Duration>,
    client: &Client,
    out: &Output,
) -> Result<(Value, Payment), Failure> {
    let start = Instant::now();
    page::until("waiting for the payment", out, || async {
        let answer = client.get(&["api", "wallet", "payments", id]).await?;
        let payment: Payment = read(client, &answer)?;
        let is_enough = within.is_some_and(|within| start.elapsed() >= within);
        Ok((payment.ends() != Ends::NotYet || is_enough).then_some((answer, payment)))
    })
    .await
}

/// `payments`: one, or the newest.
pub(super) async fn show(id: Option<&str>, limit: u32, client: &Client, out: &Output) -> Result<(), Failure> {
    let path = ["api", "wallet", "payments"];
    if let Some(id) = id {
        let answer = client.get(&[path[0], path[1], path[2], id]).await?;
        if out.is_json() {
            out.document(&answer);
        } else {
            out.card(&card(&read(client, &answer)?));
        }
        return Ok(());
    }
    let answer = Value::Array(client.list(&path, None, Some(limit as usize)).await?);
    if out.is_json() {
        out.document(&answer);
        return Ok(());
    }
    let payments: Vec<Payment> = read(client, &answer)?;
    if payments.is_empty() {
        out.note("You have made no payments.");
        return Ok(());
    }
    let columns = [left("ID"), left("WHEN"), left("KIND"), right("AMOUNT"), left("STATUS"), wide("REMARK")];
    let mut table = Table::new(&columns);
    for payment in &payments {
        table.row([
            Cell::new(&payment.id),
            Cell::toned(format::relative(now(), &payment.created_at), Tone::Quiet),
            Cell::new(&payment.kind),
            Cell::new(format::money(payment.amount_cents)),
            Cell::toned(&payment.status, payment.tone()),
            Cell::new(payment.remark()),
        ]);
    }
    out.table(&table);
    Ok(())
}

fn card(payment: &Payment) -> Card {
    let title = format!("{} {}", format::money(payment.amount_cents), payment.kind.replace('_', " "));
    let mut card = Card::new(&title).tag(&payment.status, payment.tone());
    card.field("id", &payment.id);
    card.field("begun", format::exact(&payment.created_at));
    card.field("changed", format::exact(&payment.updated_at));
    card.maybe("remark", Some(payment.remark()).filter(|remark| !remark.is_empty()));
    card
}
