//! What jobs and personalities mean, for matching: asked of the embedding model, if there is one, beside all requests.
//!
//! | For a      | When it is asked                          | Until then                                         |
//! |------------|-------------------------------------------|----------------------------------------------------|
//! | job        | once it is open; the newest first         | it is matched by its words                          |
//! | personality| at its first pull, which waits a moment   | the pull goes by words; the next one finds it here  |
//!
//! Nothing is written down: after a start all open jobs are read again, from the store, and what was read lately is
//! remembered by its text. A model that is away keeps nobody waiting: pulls go by words until it answers again.

mod memory;

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clawrk_domain::matching::Vector;
use clawrk_domain::{Job, JobId};
use clawrk_store::Place;
use futures_util::StreamExt;
use futures_util::stream::poll_fn;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::error::causes;
use crate::market::text_of;
use crate::outside::embed::{Embedder, Failure, Turn};
use crate::{App, telemetry};
use memory::{Key, Memory};

/// How long a pull waits for what its personality means, and no longer.
const PULL_WAITS: Duration = Duration::from_millis(300);
/// For how long no pull waits for a model that has just failed.
const LEFT_ALONE: Duration = Duration::from_secs(5);
/// Before jobs are tried again after a failure; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// For how long a text that the model refused is not shown to it again.
const REFUSED_FOR: Duration = Duration::from_secs(600);
/// How often the log tells that the model does not answer.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// Personalities that wait to be read, at most, and those read at once.
const MOST_ASKED: usize = 256;
const AT_ONCE: usize = 8;
/// Texts whose meaning is remembered, at most: some 10 MiB each.
const MOST_REMEMBERED: usize = 20_000;

/// What texts mean, as far as it is known.
pub struct Meanings {
    embedder: Option<Embedder>,
    personalities: Mutex<Memory>,
    /// Those that left the market may come back.
    jobs: Mutex<Memory>,
    /// Personalities that somebody waits for.
    asked: mpsc::Sender<String>,
    inbox: Mutex<Option<mpsc::Receiver<String>>>,
    under_way: Mutex<HashSet<Key>>,
    answers: watch::Sender<()>,
    trouble: Mutex<Trouble>,
}

/// When the model failed.
#[derive(Default)]
struct Trouble {
    until: Option<Instant>,
    told: Option<Instant>,
}

impl Meanings {
    /// With a model, or without any.
    pub(crate) fn new(embedder: Option<Embedder>) -> Self {
        let (asked, inbox) = mpsc::channel(MOST_ASKED);
        Self {
            embedder,
            personalities: Mutex::new(Memory::new(MOST_REMEMBERED)),
            jobs: Mutex::new(Memory::new(MOST_REMEMBERED)),
            asked,
            inbox: Mutex::new(Some(inbox)),
            under_way: Mutex::default(),
            answers: watch::Sender::new(()),
            trouble: Mutex::default(),
        }
    }

    /// Whether there is a model.
    pub const fn has_model(&self) -> bool {
        self.embedder.is_some()
    }

    /// What a personality means, if that is known or comes to be within a moment.
    pub async fn of(&self, personality: Option<&str>) -> Option<Vector> {
        let text = personality.filter(|text| self.has_model() && !text.trim().is_empty())?;
        let key = Key::of(text);
        let end = Instant::now() + PULL_WAITS;
        let mut answers = self.answers.subscribe();
        loop {
            if let Some(known) = locked(&self.personalities).known(&key, Instant::now()) {
                return known;
            }
            if self.is_left_alone() || !self.ask(key, text) {
                return None;
            }
            tokio::select! {
                changed = answers.changed() => changed.ok()?,
                () = sleep_until(end) => {
                    // Whoever hangs keeps one pull waiting, not each.
                    self.leave_alone();
                    return None;
                }
            }
        }
    }

    /// Has a personality read; false if too many are waiting.
    fn ask(&self, key: Key, text: &str) -> bool {
        let mut under_way = locked(&self.under_way);
        if !under_way.insert(key) {
            return true;
        }
        let taken = self.asked.try_send(text.to_owned()).is_ok();
        if !taken {
            under_way.remove(&key);
        }
        taken
    }

    /// No pull waits for it for a while.
    fn leave_alone(&self) {
        locked(&self.trouble).until = Some(Instant::now() + LEFT_ALONE);
    }

    fn is_left_alone(&self) -> bool {
        locked(&self.trouble).until.is_some_and(|until| Instant::now() < until)
    }

    /// Reads a personality, and lets those who wait know.
    async fn read(&self, embedder: &Embedder, text: String) {
        let key = Key::of(&text);
        match embedder.embed(&[text], Turn::Next).await {
            Ok(mut read) => {
                self.went_well("personality", 1);
                locked(&self.personalities).keep(key, read.pop().flatten(), None);
            }
            Err(Failure::Refused(problem)) => {
                self.failed("a personality was refused", &problem);
                locked(&self.personalities).keep(key, None, Some(Instant::now() + REFUSED_FOR));
            }
            Err(Failure::Unavailable(problem)) => {
                self.leave_alone();
                self.failed("it does not answer", &problem);
            }
        }
        locked(&self.under_way).remove(&key);
        self.answers.send_replace(());
    }

    fn went_well(&self, what: &'static str, count: usize) {
        telemetry::embedded(what, count);
        locked(&self.trouble).until = None;
    }

    /// Tells of a failure, once in a while.
    fn failed(&self, what: &str, problem: &str) {
        telemetry::embedded("failure", 1);
        let mut trouble = locked(&self.trouble);
        if trouble.told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            trouble.told = Some(Instant::now());
            tracing::warn!(cause = problem, "the embedding model: {what}; matching goes by words meanwhile");
        }
    }
}

/// Reads jobs and personalities until the app stops; at once done where there is no model.
pub async fn run(app: App) {
    let inbox = locked(&app.meanings.inbox).take();
    let (Some(embedder), Some(mut inbox)) = (&app.meanings.embedder, inbox) else { return };
    let asked = poll_fn(|context| inbox.poll_recv(context));
    let personalities = asked.for_each_concurrent(AT_ONCE, |text| app.meanings.read(embedder, text));
    tokio::select! {
        () = personalities => {}
        () = read_jobs(&app) => {}
        () = app.stopping.cancelled() => {}
    }
}

async fn read_jobs(app: &App) {
    let (mut arrivals, mut pause) = (app.market.watch(), FIRST_PAUSE);
    let mut refused_again = Instant::now() + REFUSED_FOR;
    loop {
        arrivals.borrow_and_update();
        match settle(app).await {
            Ok(()) => pause = FIRST_PAUSE,
            Err(cause) => {
                app.meanings.failed("it does not read the jobs", &cause);
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
        }
        tokio::select! {
            changed = arrivals.changed() => if changed.is_err() { return },
            () = sleep_until(refused_again) => {
                app.market.want_refused_again();
                refused_again = Instant::now() + REFUSED_FOR;
            }
        }
    }
}

/// Reads every open job whose meaning is not known; why not, if that cannot be done now.
pub async fn settle(app: &App) -> Result<(), String> {
    let Some(embedder) = &app.meanings.embedder else { return Ok(()) };
    loop {
        let places = app.market.without_meaning(embedder.batch());
        if places.is_empty() {
            return Ok(());
        }
        if let Err(cause) = read_some(app, embedder, &places).await {
            app.market.want(&places);
            return Err(cause);
        }
    }
}

/// A job and what the model reads of it.
type Unread = (Place, String);

async fn read_some(app: &App, embedder: &Embedder, places: &[Place]) -> Result<(), String> {
    let ids: Vec<JobId> = places.iter().map(|place| place.job).collect();
    let jobs = app.store.jobs(&ids).await.map_err(|error| causes(&error))?;
    let (mut unread, mut known) = (Vec::new(), Vec::new());
    for job in &jobs {
        let place = Place { time: job.created_at, job: job.id };
        let text = text(job);
        match locked(&app.meanings.jobs).known(&Key::of(&text), Instant::now()) {
            Some(meaning) => known.extend(meaning.map(|meaning| (job.id, meaning))),
            None => unread.push((place, text)),
        }
    }
    app.market.mean(&known);
    // One that the model does not take would keep all others from being read: each is tried by itself then.
    let together = read_together(app, embedder, &unread).await;
    let refused = match together {
        Err(Failure::Refused(problem)) if unread.len() == 1 => {
            app.meanings.failed("a job was refused", &problem);
            unread
        }
        Err(Failure::Refused(problem)) => {
            let refused = read_each(app, embedder, &unread).await?;
            if refused.len() == unread.len() {
                // Not the texts are at fault, but what reads them.
                return Err(unavailable(app, &Failure::Refused(problem)));
            }
            refused
        }
        read => return read.map_err(|failure| unavailable(app, &failure)),
    };
    refused.iter().for_each(|(place, _)| app.market.refused(*place));
    Ok(())
}

/// Reads each by itself; those that were refused.
async fn read_each(app: &App, embedder: &Embedder, unread: &[Unread]) -> Result<Vec<Unread>, String> {
    let mut refused = Vec::new();
    for one in unread {
        match read_together(app, embedder, std::slice::from_ref(one)).await {
            Err(Failure::Refused(problem)) => {
                app.meanings.failed("a job was refused", &problem);
                refused.push(one.clone());
            }
            read => read.map_err(|failure| unavailable(app, &failure))?,
        }
    }
    Ok(refused)
}

fn unavailable(app: &App, failure: &Failure) -> String {
    app.meanings.leave_alone();
    failure.to_string()
}

async fn read_together(app: &App, embedder: &Embedder, unread: &[Unread]) -> Result<(), Failure> {
    if unread.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = unread.iter().map(|(_, text)| text.clone()).collect();
    let read = embedder.embed(&texts, Turn::Later).await?;
    app.meanings.went_well("job", read.len());
    let mut meant = Vec::new();
    for ((place, text), meaning) in unread.iter().zip(read) {
        locked(&app.meanings.jobs).keep(Key::of(text), meaning.clone(), None);
        meant.extend(meaning.map(|meaning| (place.job, meaning)));
    }
    app.market.mean(&meant);
    Ok(())
}

/// What the model reads of a job: as matching reads it, the title first, for models read no more than a beginning.
fn text(job: &Job) -> String {
    let text = text_of(job);
    let fields = [Some(text.title), text.requirements, text.description];
    fields.into_iter().flatten().filter(|field| !field.trim().is_empty()).collect::<Vec<_>>().join("\n")
}

/// What a panic leaves here is as good as what it found.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
