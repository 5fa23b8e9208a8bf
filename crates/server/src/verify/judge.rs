//! The judge of criteria: a language model that is asked twice, and a third time where it disagrees with itself.
//!
//! What it is asked and what counts as an answer is the domain's, see `domain/verification/judge.rs`. Here is the asking:
//! two readings at once, whose criteria stand in opposite orders under other ids; for a dear job the second is another
//! model's. An answer that is none is asked for once more, and is then trouble, which costs nobody anything. The judge
//! is told neither the price nor who worked, and has no tools: all that it can do is to say pass or fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clawrk_domain::CriterionResult;
use clawrk_domain::verification::judge::{Case, Draw, Question, Reading, SYSTEM, orders, settle};

use crate::config::LlmSetting;
use crate::outside::llm::{self, Llm, LlmError, LlmOpenError};
use crate::random;

/// One answer is waited for so long. Two rounds with one repetition each take four times as long at most.
const WITHIN: Duration = Duration::from_secs(90);
/// So often one reading is asked for.
const TRIES: u32 = 2;

/// The judge; cheap to clone.
#[derive(Debug, Clone)]
pub struct Judge {
    llm: Llm,
    second: Option<(Llm, i64)>,
    within: Duration,
    tokens: Arc<[AtomicU64; 2]>,
}

/// There is no verdict, and it is nobody's fault who is judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct JudgeFailure {
    /// What is wrong, without a word of the model's.
    pub problem: String,
    /// How long the provider wants to be left alone, in seconds, if it says so.
    pub pause_seconds: Option<i64>,
}

/// Where a judge says how far it has come: lines for people.
pub type Say<'a> = &'a (dyn Fn(&str) + Send + Sync);

impl Judge {
    /// The judge that the settings name.
    pub fn open(setting: &LlmSetting) -> Result<Self, LlmOpenError> {
        let llm = Llm::open(setting)?;
        let second = setting.second.as_ref().map(|second| (llm.with_model(&second.model), second.from_cents));
        Ok(Self::new(llm, second))
    }

    /// A judge that asks this model; from a price in cents on, the second reading is by the other one.
    pub fn new(llm: Llm, second: Option<(Llm, i64)>) -> Self {
        Self { llm, second, within: WITHIN, tokens: Arc::default() }
    }

    /// The same, with so much time for an answer instead of 90 seconds.
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// Who judges, as it stands beside a verdict.
    pub fn name(&self) -> String {
        format!("judge:{}", self.llm.model())
    }

    /// The tokens that its questions and its answers have cost so far, as far as the provider says so.
    pub fn tokens(&self) -> (u64, u64) {
        let [asked, answered] = &*self.tokens;
        (asked.load(Ordering::Relaxed), answered.load(Ordering::Relaxed))
    }

    /// What it finds about each criterion of a case.
    pub async fn judge(
        &self,
        case: &Case,
        price_cents: i64,
        say: Say<'_>,
    ) -> Result<Vec<CriterionResult>, JudgeFailure> {
        let dear = self.second.as_ref().filter(|(_, from_cents)| price_cents >= *from_cents);
        let other = dear.map_or(&self.llm, |(other, _)| other);
        let [one, reverse, between] = orders(case.criteria.len(), seed());
        tell_shown(case, &question(case, &one), say);
        let (first, second) = tokio::try_join!(
            self.reading(&self.llm, case, &one, "first", say),
            self.reading(other, case, &reverse, "second", say),
        )?;
        if let Some(settled) = settle(&case.criteria, [&first, &second], None) {
            return Ok(settled);
        }
        say("The two readings disagree: a third decides");
        let third = self.reading(&self.llm, case, &between, "third", say).await?;
        Ok(settle(&case.criteria, [&first, &second], Some(&third)).expect("a third reading decides everything"))
    }

    async fn reading(
        &self,
        llm: &Llm,
        case: &Case,
        order: &[usize],
        which: &str,
        say: Say<'_>,
    ) -> Result<Reading, JudgeFailure> {
        let mut tried = 1;
        loop {
            match self.asked(llm, case, order).await {
                Ok(reading) => {
                    tell_reading(&reading, which, llm.model(), say);
                    return Ok(reading);
                }
                Err(LlmError::Nonsense(problem)) if tried < TRIES => {
                    say(&format!("The {which} reading is no answer ({problem}) and is asked for again"));
                    tried += 1;
                }
                Err(error) => {
                    let problem = format!("the judge gave no reading: {error}");
                    return Err(JudgeFailure { problem, pause_seconds: error.pause_seconds() });
                }
            }
        }
    }

    /// One question, with a marker and ids that were never used before.
    async fn asked(&self, llm: &Llm, case: &Case, order: &[usize]) -> Result<Reading, LlmError> {
        let question = question(case, order);
        let asked = llm::Question {
            system: SYSTEM,
            user: &question.user,
            schema_name: "verdict",
            schema: &question.schema,
            max_output_tokens: most_tokens(case.criteria.len()),
            within: self.within,
        };
        let answer = llm.ask(&asked).await?;
        let cost = [answer.input_tokens, answer.output_tokens];
        self.tokens.iter().zip(cost).for_each(|(sum, cost)| {
            sum.fetch_add(cost.unwrap_or(0), Ordering::Relaxed);
        });
        question.read(&answer.text).map_err(|problem| LlmError::Nonsense(problem.to_string()))
    }
}

fn question(case: &Case, order: &[usize]) -> Question {
    Question::new(case, &Draw { marker: random::seed(), ids: seed(), order: order.to_vec() })
}

fn seed() -> u64 {
    u64::from_le_bytes(random::bytes())
}

/// How long an answer may be, in tokens: a quote and a reason for each criterion, and room to think.
fn most_tokens(criteria: usize) -> u32 {
    u32::try_from(1_000 + 400 * criteria).unwrap_or(u32::MAX).min(16_000)
}

fn tell_shown(case: &Case, question: &Question, say: Say<'_>) {
    let files = case.files.len();
    let read = case.files.iter().filter(|file| file.text.is_some()).count();
    say(&format!("The judge is shown {} characters; files: {files}, of which as text: {read}", question.shown));
    if question.not_shown > 0 {
        say(&format!("The judge is not shown {} characters: the submission is too long", question.not_shown));
    }
}

fn tell_reading(reading: &Reading, which: &str, model: &str, say: Say<'_>) {
    for (finding, number) in reading.0.iter().zip(1..) {
        let word = if finding.pass { "pass" } else { "fail" };
        let quote = if finding.pass { format!(" Quoted: {}", finding.evidence) } else { String::new() };
        say(&format!("The {which} reading, by {model}, criterion {number}: {word}. {}{quote}", finding.reason));
    }
}
