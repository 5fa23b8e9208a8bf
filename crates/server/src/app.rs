//! What every handler shares.

use std::sync::Arc;

use clawrk_domain::Policy;
use clawrk_store::Store;
use tokio_util::sync::CancellationToken;

use crate::api::board::Shown;
use crate::api::stats::Stats;
use crate::auth::UsedKeys;
use crate::edge::{Connections, Limits};
use crate::exchange::Exchange;
use crate::input::LargeBodies;
use crate::market::Market;
use crate::meaning::Meanings;
use crate::outside::embed::Embedder;
use crate::outside::files::Files;
use crate::outside::sandbox::SandboxSetting;
use crate::outside::structurer::{Offline, Structurer};
use crate::payments::Desk;
use crate::rates::Rates;
use crate::tasks::counting::ToCount;
use crate::vault::Vault;
use crate::verify::{Commands, Judge, Verifiers};

/// The exchange, as handlers and tasks see it; cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// What lies beyond the rules: things that a model or another service does, or, where there is none, nobody.
pub struct Outside {
    /// From prompts to typed jobs.
    pub structurer: Box<dyn Structurer>,
    /// What jobs and personalities mean.
    pub embedder: Option<Embedder>,
    /// Where the commands of jobs run.
    pub commands: Commands,
    /// Who judges criteria.
    pub judge: Option<Judge>,
    /// Where uploaded files are kept.
    pub files: Files,
    /// Who carries out payments.
    pub desk: Option<Desk>,
}

impl Default for Outside {
    /// No model, and no service.
    fn default() -> Self {
        let commands = Commands::new(SandboxSetting::Auto);
        Self { structurer: Box::new(Offline), embedder: None, commands, judge: None, files: Files::none(), desk: None }
    }
}

/// What an [`App`] is made of.
pub struct Parts {
    /// The exchange's memory, for reading.
    pub store: Store,
    /// The use cases: the only ones that write.
    pub exchange: Exchange,
    /// The open jobs.
    pub market: Arc<Market>,
    /// What they and the agents' personalities mean.
    pub meanings: Meanings,
    /// What the board has shown of them lately.
    pub(crate) shown: Shown,
    /// The jobs that may have something to be counted.
    pub(crate) to_count: Arc<ToCount>,
    /// The market's figures as they were read lately.
    pub(crate) stats: Stats,
    /// The key to what is sealed.
    pub vault: Vault,
    /// The numbers of the rules.
    pub policy: Policy,
    /// From prompts to typed jobs.
    pub structurer: Box<dyn Structurer>,
    /// When keys were last used.
    pub used_keys: UsedKeys,
    /// What one client may take of the server.
    pub limits: Limits,
    /// Where uploaded files are kept.
    pub files: Files,
    /// Who has made how many requests lately.
    pub(crate) rates: Arc<Rates>,
    /// The memory for large bodies.
    pub(crate) large_bodies: LargeBodies,
    /// The answers that are streams.
    pub(crate) streams: Arc<Connections>,
    /// Where the commands of jobs run.
    pub commands: Commands,
    /// Who judges criteria.
    pub judge: Option<Judge>,
    /// Who carries out payments.
    pub desk: Option<Arc<Desk>>,
    /// Whoever looks at submissions.
    pub(crate) verifiers: Arc<Verifiers>,
    /// Ends waiting requests, streams and the runner when the server stops.
    pub stopping: CancellationToken,
}

impl App {
    /// Puts the parts together and lets the store tell the market and what counts of every job that changes, and
    /// the limits of what other nodes count.
    pub fn new(store: Store, vault: Vault, policy: Policy, outside: Outside, limits: Limits) -> Self {
        let Outside { structurer, embedder, commands, judge, files, desk } = outside;
        let market = if embedder.is_some() { Market::wanting_meanings() } else { Market::default() };
        let market = Arc::new(market);
        let to_count = Arc::new(ToCount::default());
        let verifiers = Arc::new(Verifiers::new());
        let (feed, counted, told) = (Arc::clone(&market), Arc::clone(&to_count), Arc::clone(&verifiers));
        store.observe(Arc::new(move |jobs| {
            counted.note(jobs.iter().map(|job| job.id));
            jobs.iter().for_each(|job| told.hear(job));
            feed.changed(jobs);
        }));
        let rates = Arc::new(Rates::new(limits.requests_per_minute, store.is_shared()));
        let (counts, clock) = (Arc::clone(&rates), store.clock().clone());
        store.listen(Arc::new(move |text| counts.hear(text, clock.now())));
        Self(Arc::new(Parts {
            exchange: Exchange::new(store.clone(), vault.clone()),
            store,
            market,
            meanings: Meanings::new(embedder),
            shown: Shown::default(),
            to_count,
            stats: Stats::default(),
            vault,
            policy,
            structurer,
            used_keys: UsedKeys::default(),
            files,
            rates,
            large_bodies: LargeBodies::new(limits.large_bodies),
            streams: Connections::for_streams(&limits),
            limits,
            commands,
            judge,
            desk: desk.map(Arc::new),
            verifiers,
            stopping: CancellationToken::new(),
        }))
    }
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
