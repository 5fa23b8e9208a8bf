//! The proof that the books balance and that every job in hand goes on, taken from one moment of the database.

use clawrk_domain::Cents;

use crate::value::Row;
use crate::{Store, StoreError};

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// How many transfers there are.
    pub transfers: i64,
    /// How many wallets, and what they hold in all.
    pub wallets: (i64, Cents),
    /// How many jobs, and what their escrows hold in all.
    pub escrows: (i64, Cents),
    /// Fees earned.
    pub platform: Cents,
    /// What came in from outside and did not go back; never above zero.
    pub outside: Cents,
    /// Payouts that are not known to have arrived; never below zero.
    pub in_transit: Cents,
    /// What was taken back and wallets could not cover; never above zero.
    pub losses: Cents,
    /// The first thing that is wrong, if any is.
    pub offence: Option<Offence>,
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offence {
    /// The rule that is broken.
    pub rule: &'static str,
    /// Where, and by how much.
    pub detail: String,
}

impl Audit {
    /// The sum over all accounts: stored balances and house accounts. Always zero.
    pub fn sum(&self) -> Cents {
        self.wallets.1 + self.escrows.1 + self.platform + self.outside + self.in_transit + self.losses
    }
}

const TOTALS: &str = "SELECT
    (SELECT COUNT(*) FROM transfers),
    (SELECT COUNT(*) FROM wallets),
    (SELECT CAST(COALESCE(SUM(balance_cents), 0) AS BIGINT) FROM wallets),
    (SELECT COUNT(*) FROM jobs),
    (SELECT CAST(COALESCE(SUM(escrow_cents), 0) AS BIGINT) FROM jobs),
    (SELECT CAST(COALESCE(SUM(CASE WHEN to_kind = 'platform' THEN cents ELSE -cents END), 0) AS BIGINT)
       FROM transfers WHERE 'platform' IN (from_kind, to_kind)),
    (SELECT CAST(COALESCE(SUM(CASE WHEN to_kind = 'outside' THEN cents ELSE -cents END), 0) AS BIGINT)
       FROM transfers WHERE 'outside' IN (from_kind, to_kind)),
    (SELECT CAST(COALESCE(SUM(CASE WHEN to_kind = 'in_transit' THEN cents ELSE -cents END), 0) AS BIGINT)
       FROM transfers WHERE 'in_transit' IN (from_kind, to_kind)),
    (SELECT CAST(COALESCE(SUM(CASE WHEN to_kind = 'losses' THEN cents ELSE -cents END), 0) AS BIGINT)
       FROM transfers WHERE 'losses' IN (from_kind, to_kind))";

/// What must hold, and how the first row that breaks it is found.
struct Rule {
    says: &'static str,
    offender: &'static str,
    /// What the row says, for people.
    tells: fn(&Row) -> Result<String, StoreError>,
}

/// The row says whose, how many cents are there, and how many should be.
const fn cents(says: &'static str, offender: &'static str) -> Rule {
    Rule {
        says,
        offender,
        tells: |row| Ok(format!("{} has {}, should have {}", row.named(0)?, row.cents(1)?, row.cents(2)?)),
    }
}

/// The row says whose, how many rows are there, and how many should be.
const fn count(says: &'static str, offender: &'static str) -> Rule {
    Rule {
        says,
        offender,
        tells: |row| Ok(format!("{} has {}, should have {}", row.named(0)?, row.int(1)?, row.int(2)?)),
    }
}

/// The timer that each job's state implies, as `Job::timer` has it; what follows asks for those that are amiss.
macro_rules! timers {
    ($rest:literal) => {
        concat!(
            "WITH implied (job_id, kind, due_at) AS (
                 SELECT j.id,
                        CASE j.status WHEN 'held' THEN 'expire_hold' WHEN 'accepted' THEN 'expire_deadline'
                                      ELSE COALESCE(a.verify_kind, 'close_review') END,
                        CASE j.status WHEN 'held' THEN j.hold_expires_at WHEN 'accepted' THEN a.deadline_at
                                      ELSE COALESCE(a.verify_at, a.review_until) END
                   FROM jobs j LEFT JOIN attempts a ON a.job_id = j.id AND a.number = j.attempt_count
                  WHERE j.status IN ('held', 'accepted', 'submitted')) ",
            $rest
        )
    };
}

/// The row has a job's id and status, its timer's kind and time, and the time that the state implies if it is one of
/// that kind.
fn wrong_timer(row: &Row) -> Result<String, StoreError> {
    let (job, kind, due_at) = (row.named(0)?, row.str(2)?, row.time(3)?);
    Ok(match (row.str_or_null(1)?, row.time_or_null(4)?) {
        (None, _) => format!("job {job} is not there and has the timer {kind}"),
        (Some(status), None) => format!("job {job} is {status} and has the timer {kind}"),
        (Some(status), Some(implied)) => {
            format!("job {job} is {status} and has the timer {kind} at {due_at}, should have it at {implied}")
        }
    })
}

/// The row has a job's id and status.
fn no_timer(row: &Row) -> Result<String, StoreError> {
    Ok(format!("job {} is {} and has no timer", row.named(0)?, row.str(1)?))
}

/// For each payment, what the ledger has moved for it and what its state says that it should have.
macro_rules! payments {
    ($moved:literal, $should:literal) => {
        concat!(
            "SELECT id, moved, should FROM (
                 SELECT p.id, ",
            $should,
            " AS should, (SELECT CAST(COALESCE(SUM(CASE ",
            $moved,
            " ELSE 0 END), 0) AS BIGINT) FROM transfers t WHERE t.payment_id = p.id) AS moved FROM payments p) payments
              WHERE moved <> should ORDER BY id LIMIT 1"
        )
    };
}

const RULES: [Rule; 29] = [
    cents(
        "each wallet's balance equals its transfers",
        "SELECT w.user_id, w.balance_cents, COALESCE(t.cents, 0) FROM wallets w
           LEFT JOIN (SELECT user_id, CAST(SUM(CASE WHEN to_kind = 'wallet' THEN cents ELSE -cents END) AS BIGINT) AS cents
                        FROM transfers WHERE user_id IS NOT NULL GROUP BY user_id) t ON t.user_id = w.user_id
          WHERE w.balance_cents <> COALESCE(t.cents, 0) ORDER BY w.user_id LIMIT 1",
    ),
    cents(
        "each transfer to or from a wallet has its wallet",
        "SELECT t.user_id, t.cents, 0 FROM transfers t LEFT JOIN wallets w ON w.user_id = t.user_id
          WHERE t.user_id IS NOT NULL AND w.user_id IS NULL ORDER BY t.id LIMIT 1",
    ),
    cents(
        "each job's escrow equals its transfers",
        "SELECT j.id, j.escrow_cents, COALESCE(t.cents, 0) FROM jobs j
           LEFT JOIN (SELECT job_id, CAST(SUM(CASE WHEN to_kind = 'escrow' THEN cents ELSE -cents END) AS BIGINT) AS cents
                        FROM transfers WHERE job_id IS NOT NULL GROUP BY job_id) t ON t.job_id = j.id
          WHERE j.escrow_cents <> COALESCE(t.cents, 0) ORDER BY j.id LIMIT 1",
    ),
    cents(
        "each transfer to or from an escrow has its job",
        "SELECT t.job_id, t.cents, 0 FROM transfers t LEFT JOIN jobs j ON j.id = t.job_id
          WHERE t.job_id IS NOT NULL AND j.id IS NULL ORDER BY t.id LIMIT 1",
    ),
    cents(
        "an open job's escrow is its price, a closed or unpaid one's is zero",
        "SELECT id, escrow_cents, CASE WHEN status IN ('queued', 'held', 'accepted', 'submitted') THEN price_cents ELSE 0 END
           FROM jobs
          WHERE escrow_cents <> CASE WHEN status IN ('queued', 'held', 'accepted', 'submitted') THEN price_cents ELSE 0 END
          ORDER BY id LIMIT 1",
    ),
    cents(
        "a verified job paid its worker the price less the fee",
        "SELECT j.id, COALESCE(t.cents, 0), j.price_cents - j.fee_cents FROM jobs j
           LEFT JOIN transfers t ON t.job_id = j.id AND t.from_kind = 'escrow' AND t.to_kind = 'wallet'
                AND t.user_id = j.worker_user_id AND t.reason = 'earning'
          WHERE j.status = 'verified' AND COALESCE(t.cents, 0) <> j.price_cents - j.fee_cents ORDER BY j.id LIMIT 1",
    ),
    cents(
        "no wallet is below zero",
        "SELECT user_id, balance_cents, 0 FROM wallets WHERE balance_cents < 0 ORDER BY user_id LIMIT 1",
    ),
    cents(
        "each user has a wallet",
        "SELECT u.id, 0, 0 FROM users u LEFT JOIN wallets w ON w.user_id = u.id WHERE w.user_id IS NULL
          ORDER BY u.id LIMIT 1",
    ),
    cents(
        "each wallet has its user",
        "SELECT w.user_id, w.balance_cents, 0 FROM wallets w LEFT JOIN users u ON u.id = w.user_id WHERE u.id IS NULL
          ORDER BY w.user_id LIMIT 1",
    ),
    cents(
        "money moves in at a grant or a payment, into escrow, to the worker or back, to the platform, and out, and no other way",
        "SELECT id, cents, 0 FROM transfers
          WHERE NOT (from_kind = 'outside' AND to_kind = 'wallet' AND reason IN ('grant', 'topup', 'auto_topup', 'reversal')
                  OR from_kind = 'wallet' AND to_kind = 'in_transit' AND reason = 'withdrawal'
                  OR from_kind = 'in_transit' AND to_kind = 'outside' AND reason = 'withdrawal'
                  OR from_kind = 'in_transit' AND to_kind = 'wallet' AND reason = 'reversal'
                  OR from_kind IN ('wallet', 'losses') AND to_kind = 'outside' AND reason = 'reversal'
                  OR from_kind = 'wallet' AND to_kind = 'losses' AND reason = 'settlement'
                  OR from_kind = 'wallet' AND to_kind = 'escrow' AND reason = 'job'
                  OR from_kind = 'escrow' AND to_kind = 'wallet' AND reason IN ('earning', 'refund')
                  OR from_kind = 'escrow' AND to_kind = 'platform' AND reason = 'earning')
          ORDER BY id LIMIT 1",
    ),
    cents(
        "a job is paid for by its sender, at its price",
        "SELECT j.id, t.cents, j.price_cents FROM transfers t JOIN jobs j ON j.id = t.job_id
          WHERE t.to_kind = 'escrow' AND (t.user_id <> j.sender_id OR t.cents <> j.price_cents) ORDER BY j.id LIMIT 1",
    ),
    cents(
        "only a verified job pays a worker and a fee",
        "SELECT j.id, t.cents, 0 FROM transfers t JOIN jobs j ON j.id = t.job_id
          WHERE j.status <> 'verified' AND (t.reason = 'earning' OR t.to_kind = 'platform')
          ORDER BY j.id LIMIT 1",
    ),
    cents(
        "a job that failed or was cancelled gave its sender the price back, and no other job did",
        "SELECT j.id, COALESCE(t.cents, 0), CASE WHEN j.status IN ('failed', 'cancelled') THEN j.price_cents ELSE 0 END
           FROM jobs j
           JOIN transfers f ON f.job_id = j.id AND f.to_kind = 'escrow'
           LEFT JOIN transfers t ON t.job_id = j.id AND t.from_kind = 'escrow' AND t.to_kind = 'wallet'
                AND t.user_id = j.sender_id AND t.reason = 'refund'
          WHERE COALESCE(t.cents, 0) <> CASE WHEN j.status IN ('failed', 'cancelled') THEN j.price_cents ELSE 0 END
          ORDER BY j.id LIMIT 1",
    ),
    cents(
        "a payment that was paid moved its amount in or out once, and no other did",
        payments!(
            "WHEN t.reason IN ('topup', 'auto_topup') OR t.reason = 'withdrawal' AND t.to_kind = 'outside' THEN t.cents",
            "CASE WHEN p.state = 'paid' THEN p.cents ELSE 0 END"
        ),
    ),
    cents(
        "a withdrawal is in transit while nobody knows how it ends, and then no more",
        payments!(
            "WHEN t.to_kind = 'in_transit' THEN t.cents WHEN t.from_kind = 'in_transit' THEN -t.cents",
            "CASE WHEN p.kind = 'withdrawal' AND p.state IN ('sending', 'parked') THEN p.cents ELSE 0 END"
        ),
    ),
    cents(
        "what moved back of a payment is what it says",
        payments!(
            "WHEN t.reason <> 'reversal' OR t.from_kind = 'in_transit' THEN 0
             WHEN (t.to_kind = 'outside') = (p.kind <> 'withdrawal') THEN t.cents WHEN t.reason = 'reversal' THEN -t.cents",
            "p.moved_back_cents"
        ),
    ),
    cents(
        "each transfer of a payment has its payment, and moves money of its user",
        "SELECT t.id, t.cents, 0 FROM transfers t LEFT JOIN payments p ON p.id = t.payment_id
          WHERE t.payment_id IS NOT NULL AND (p.id IS NULL OR t.user_id IS NOT NULL AND t.user_id <> p.user_id)
          ORDER BY t.id LIMIT 1",
    ),
    cents(
        "what wallets owe is what was lost",
        "SELECT 'losses', owed, lost FROM (SELECT
            (SELECT CAST(COALESCE(SUM(owed_cents), 0) AS BIGINT) FROM wallets) AS owed,
            (SELECT CAST(COALESCE(SUM(CASE WHEN from_kind = 'losses' THEN cents ELSE -cents END), 0) AS BIGINT)
               FROM transfers WHERE 'losses' IN (from_kind, to_kind)) AS lost) sums WHERE owed <> lost",
    ),
    count(
        "each payment that is under way has its task",
        "SELECT p.id, 0, 1 FROM payments p
          WHERE p.due_at IS NOT NULL
            AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.kind = 'stripe_pay' AND t.due_at = p.due_at)
          ORDER BY p.id LIMIT 1",
    ),
    count(
        "as many notices are to be worked off as there are tasks for it",
        "SELECT 'notices', tasks, notices FROM (SELECT
            (SELECT COUNT(*) FROM tasks WHERE kind = 'stripe_heed') AS tasks,
            (SELECT COUNT(*) FROM notices WHERE outcome IS NULL) AS notices) counts WHERE tasks < notices",
    ),
    count(
        "each wallet's transfers are one chain that ends in its last one",
        "SELECT w.user_id, COALESCE(c.reached, 0), COALESCE(c.many, 0) FROM wallets w
           LEFT JOIN (SELECT user_id, COUNT(*) AS many, COUNT(DISTINCT previous) + 1 AS reached FROM transfers
                       WHERE user_id IS NOT NULL GROUP BY user_id) c ON c.user_id = w.user_id
          WHERE COALESCE(c.reached, 0) <> COALESCE(c.many, 0) OR (c.many IS NULL) <> (w.last_transfer IS NULL)
             OR w.last_transfer IN (SELECT previous FROM transfers WHERE previous IS NOT NULL)
             OR w.last_transfer IS NOT NULL
                AND NOT EXISTS (SELECT 1 FROM transfers t WHERE t.id = w.last_transfer AND t.user_id = w.user_id)
          ORDER BY w.user_id LIMIT 1",
    ),
    count(
        "each transfer follows one of the same wallet",
        "SELECT t.id, 0, 1 FROM transfers t LEFT JOIN transfers p ON p.id = t.previous AND p.user_id = t.user_id
          WHERE t.previous IS NOT NULL AND p.id IS NULL ORDER BY t.id LIMIT 1",
    ),
    count(
        "each sender's jobs are one chain that ends in the last one",
        "SELECT w.user_id, COALESCE(c.reached, 0), COALESCE(c.many, 0) FROM wallets w
           LEFT JOIN (SELECT sender_id, COUNT(*) AS many, COUNT(DISTINCT previous) + 1 AS reached FROM jobs
                       GROUP BY sender_id) c ON c.sender_id = w.user_id
          WHERE COALESCE(c.reached, 0) <> COALESCE(c.many, 0) OR (c.many IS NULL) <> (w.last_job IS NULL)
             OR w.last_job IN (SELECT previous FROM jobs WHERE previous IS NOT NULL)
             OR w.last_job IS NOT NULL
                AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = w.last_job AND j.sender_id = w.user_id)
          ORDER BY w.user_id LIMIT 1",
    ),
    count(
        "each job follows one of the same sender",
        "SELECT j.id, 0, 1 FROM jobs j LEFT JOIN jobs p ON p.id = j.previous AND p.sender_id = j.sender_id
          WHERE j.previous IS NOT NULL AND p.id IS NULL ORDER BY j.id LIMIT 1",
    ),
    count(
        "each job has its brief",
        "SELECT j.id, 0, 1 FROM jobs j LEFT JOIN briefs b ON b.job_id = j.id WHERE b.job_id IS NULL
          ORDER BY j.id LIMIT 1",
    ),
    count(
        "each file that a job names is there",
        "SELECT u.job_id, 0, 1 FROM upload_uses u LEFT JOIN uploads f ON f.id = u.upload_id WHERE f.id IS NULL
          ORDER BY u.job_id LIMIT 1",
    ),
    // Sha256 stands once with each file, and in no text: there the quotes would be escaped.
    count(
        "each file that a job tells of is named by it",
        "SELECT t.job_id, COUNT(u.upload_id), t.told
           FROM (SELECT job_id, 0 AS attempt,
                        (LENGTH(attachments) - LENGTH(REPLACE(attachments, '\"sha256\":', ''))) / 9 AS told
                   FROM briefs WHERE attachments IS NOT NULL
                  UNION ALL
                 SELECT job_id, number,
                        (LENGTH(output_files) - LENGTH(REPLACE(output_files, '\"sha256\":', ''))) / 9
                   FROM attempts WHERE output_files IS NOT NULL) t
           LEFT JOIN upload_uses u ON u.job_id = t.job_id AND u.attempt = t.attempt
          GROUP BY t.job_id, t.attempt, t.told HAVING COUNT(u.upload_id) <> t.told ORDER BY t.job_id LIMIT 1",
    ),
    Rule {
        says: "each timer is the one that its job's state implies",
        offender: timers!(
            "SELECT t.subject, j.status, t.kind, t.due_at, i.due_at FROM tasks t
               LEFT JOIN jobs j ON j.id = t.subject
               LEFT JOIN implied i ON i.job_id = t.subject AND i.kind = t.kind
              WHERE t.kind NOT LIKE 'stripe%' AND t.kind <> 'top_up' AND (i.due_at IS NULL OR i.due_at <> t.due_at)
              ORDER BY t.subject, t.kind LIMIT 1"
        ),
        tells: wrong_timer,
    },
    Rule {
        says: "each job in hand has its timer",
        offender: timers!(
            "SELECT i.job_id, j.status FROM implied i JOIN jobs j ON j.id = i.job_id
               LEFT JOIN tasks t ON t.subject = i.job_id AND t.kind = i.kind
              WHERE t.subject IS NULL ORDER BY i.job_id LIMIT 1"
        ),
        tells: no_timer,
    },
];

/// All queries of an audit: the totals, then the rules.
pub(crate) static QUERIES: [&str; RULES.len() + 1] = {
    let mut queries = [TOTALS; RULES.len() + 1];
    let mut at = 0;
    while at < RULES.len() {
        queries[at + 1] = RULES[at].offender;
        at += 1;
    }
    queries
};

impl Store {
    /// Proves the books, or names the first offender.
    pub async fn audit(&self) -> Result<Audit, StoreError> {
        judge(&self.backend.snapshot(&QUERIES).await?)
    }
}

/// What the answers to [`QUERIES`], all from one moment, prove.
pub(crate) fn judge(answers: &[Vec<Row>]) -> Result<Audit, StoreError> {
    let totals = answers.first().and_then(|rows| rows.first());
    let mut audit = read(totals.ok_or_else(|| StoreError::Corrupt("no totals".to_owned()))?)?;
    let broken = RULES.iter().zip(&answers[1..]).find_map(|(rule, rows)| Some((rule, rows.first()?)));
    if let Some((rule, row)) = broken {
        audit.offence = Some(Offence { rule: rule.says, detail: (rule.tells)(row)? });
    } else if audit.sum() != Cents::ZERO {
        let detail = format!("the sum is {}", audit.sum());
        audit.offence = Some(Offence { rule: "all accounts sum to zero", detail });
    }
    Ok(audit)
}

fn read(row: &Row) -> Result<Audit, StoreError> {
    Ok(Audit {
        transfers: row.int(0)?,
        wallets: (row.int(1)?, row.cents(2)?),
        escrows: (row.int(3)?, row.cents(4)?),
        platform: row.cents(5)?,
        outside: row.cents(6)?,
        in_transit: row.cents(7)?,
        losses: row.cents(8)?,
        offence: None,
    })
}
