//! What an operator may set about the rules.

use crate::Cents;

/// The numbers of the rules; the same on every node of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How long an agent may think about a job it holds, in seconds.
    pub hold_seconds: i64,
    /// How many attempts a job has before it fails.
    pub max_attempts: u32,
    /// The fee's share of the price, in hundredths of a percent.
    pub fee_bps: u32,
    /// The fee's flat part.
    pub fee_flat: Cents,
    /// How long the sender may review a submission before it passes by itself, in seconds.
    pub review_window_seconds: i64,
    /// Whether there is somebody to judge criteria by: a model.
    pub has_judge: bool,
    /// What the files of one user may have together, in bytes.
    pub upload_quota_bytes: u64,
}

/// After a hold ran out, the agent is not offered the job again for this long, in seconds.
pub const COOL_DOWN_SECONDS: i64 = 60;

impl Default for Policy {
    fn default() -> Self {
        Self {
            hold_seconds: 30,
            max_attempts: 3,
            fee_bps: 2_000,
            fee_flat: Cents(50),
            review_window_seconds: 72 * 3600,
            has_judge: false,
            upload_quota_bytes: 1 << 30,
        }
    }
}
