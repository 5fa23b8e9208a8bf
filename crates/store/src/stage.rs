//! How far a submission has come on its way to a verdict, as it stands in an attempt's row.
//!
//! When it is looked at, and by whom, are columns of their own, for the audit; the rest is JSON, which is read and
//! written with the job and never searched. A review without checks needs no JSON at all: its end is a column.

use clawrk_domain::verification::{Looking, Looks, Stage};
use clawrk_domain::{CheckResult, TaskKind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::StoreError;
use crate::value::{Row, Value};

/// The JSON.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Looks>,
    tries: u32,
    since_micros: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    checks: Vec<CheckResult>,
}

/// The values of the columns `review_until`, `stage`, `verify_kind` and `verify_at`.
pub(crate) fn values(stage: Option<&Stage>) -> [Value; 4] {
    let json = |kept: &Kept| Value::Text(serde_json::to_string(kept).expect("it has no maps with odd keys"));
    match stage {
        None => [Value::Null, Value::Null, Value::Null, Value::Null],
        Some(Stage::Review { until, checks }) => {
            let kept = Kept { checks: checks.clone(), ..Kept::default() };
            let kept = if checks.is_empty() { Value::Null } else { json(&kept) };
            [(*until).into(), kept, Value::Null, Value::Null]
        }
        Some(Stage::Looking(look)) => {
            let Looking { at, due_at, tries, since, problem, checks } = look.clone();
            let kept = Kept { at: Some(at), tries, since_micros: since.micros(), problem, checks };
            [Value::Null, json(&kept), TaskKind::Verify(at).as_str().into(), due_at.into()]
        }
    }
}

/// The stage in a row that has the columns `review_until`, `stage` and `verify_at` at these places.
pub(crate) fn read(row: &Row, review_until: usize, stage: usize, verify_at: usize) -> Result<Stage, StoreError> {
    let kept: Kept = if row.str_or_null(stage)?.is_some() { row.json(stage)? } else { Kept::default() };
    let Kept { at, tries, since_micros, problem, checks } = kept;
    Ok(match at {
        None => Stage::Review { until: row.time(review_until)?, checks },
        Some(at) => {
            let since = Timestamp::from_micros(since_micros);
            Stage::Looking(Looking { at, due_at: row.time(verify_at)?, tries, since, problem, checks })
        }
    })
}
