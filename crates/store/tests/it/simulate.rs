//! One seed, both stores, the same answers: random commands by a few users, sense and nonsense, with a
//! clock that moves, checked against the invariants after every step.
//!
//! `CLAWRK_SIM_SEEDS` sets how many seeds are run (20); a failure names its seed, and
//! `CLAWRK_SIM_FIRST` begins there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use clawrk_domain::action::{AgentFields, NewUser, Review};
use clawrk_domain::key::NewKey;
use clawrk_domain::upload::NewUpload;
use clawrk_domain::verification::{Found, LogKind, LogLine, Looks, Stage};
use clawrk_domain::{
    Action, Actor, AgentId, Answer, Cents, Check, CheckResult, Command, CriterionResult, EventKind, Ids, JobId, KeyId,
    Lease, Policy, Scopes, State, Status, TaskKind, UploadId, UserId, Verdict,
};
use clawrk_store::{Clock, Due, JobList, Outcome, Request, StoreError};

use crate::support::{Harness, Random, background, posting, receipt, variable};
use crate::tally::{assert_rebuilt, assert_recount, count_all};

mod crowd;

const SEEDS: u64 = 26;
const STEPS: usize = 200;
/// What the files of one user may have together, in bytes: little, so that it is reached.
const QUOTA_BYTES: u64 = 6_000;
/// Simulations that run beside each other.
const AT_ONCE: usize = 4;

/// What must have happened at least once over all seeds.
const MUST_HAPPEN: [&str; 60] = [
    "counted",
    "uploaded",
    "a file went",
    "files of jobs",
    "files of attempts",
    "time went on",
    "time went back",
    "time just before",
    "time exactly",
    "time just after",
    "event posted",
    "event paid",
    "event pulled",
    "event claimed",
    "event accepted",
    "event rejected",
    "event hold_expired",
    "event submitted",
    "event gave_up",
    "event deadline_passed",
    "event verification_failed",
    "event verified",
    "event review_needed",
    "found checks",
    "found criteria",
    "found trouble",
    "found no judge",
    "found something else",
    "no being_verified",
    "by checks",
    "by a judge",
    "event cancellation_requested",
    "event cancelled",
    "status failed",
    "refund",
    "earning",
    "auto-pass",
    "short",
    "replayed",
    "key reused",
    "nothing",
    "no invalid_field",
    "no not_found",
    "no not_the_sender",
    "no wrong_state",
    "no hold_expired",
    "no deadline_passed",
    "no review_over",
    "no attempt_over",
    "no holds_another",
    "no default_agent",
    "no agent_engaged",
    "no name_taken",
    "no email_taken",
    "no balance_too_low",
    "no lease_lost",
    "no upload_quota",
    "no upload_in_use",
    "no held_by_another",
    "no received_by_another",
];

type Counts = BTreeMap<String, usize>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_databases_answer_alike() {
    let number = |name: &str, default| variable(name).map_or(default, |text| text.parse().unwrap());
    let (first, seeds) = (number("CLAWRK_SIM_FIRST", 1), number("CLAWRK_SIM_SEEDS", SEEDS));
    let mut counts = Counts::new();
    let seeds: Vec<u64> = (first..first + seeds).collect();
    for some in seeds.chunks(AT_ONCE) {
        let mut running = Vec::new();
        for seed in some {
            running.push((seed, background(Simulation::run(*seed, Harness::postgres_by(judging()).await))));
        }
        for (seed, run) in running {
            let Ok(reached) = run.await else {
                panic!("seed {seed} failed: see above, and run CLAWRK_SIM_FIRST={seed}")
            };
            for (what, count) in reached {
                *counts.entry(what).or_default() += count;
            }
        }
    }
    assert_reached(&counts, &MUST_HAPPEN, seeds.len() as u64 >= SEEDS);
}

/// The rules, with a judge.
fn judging() -> Policy {
    Policy { has_judge: true, upload_quota_bytes: QUOTA_BYTES, ..Policy::default() }
}

/// Tells what was reached, and how often; over all default seeds, everything that must be was.
fn assert_reached(counts: &Counts, must: &[&str], all: bool) {
    println!("{counts:#?}");
    let missing: Vec<_> = must.iter().filter(|what| !counts.contains_key(**what)).collect();
    assert!(missing.is_empty() || !all, "never reached: {missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_seed_tells_the_same_story() {
    assert_eq!(Simulation::run(7, None).await, Simulation::run(7, None).await);
}

/// The world, as far as the next command has to know it.
struct Simulation {
    random: Random,
    one: Harness,
    /// Does all that the first one does, at the same time by its own clock.
    twin: Option<Harness>,
    users: Vec<UserId>,
    agents: Vec<(UserId, AgentId)>,
    jobs: Vec<JobId>,
    keys: Vec<(UserId, KeyId)>,
    files: Vec<(UserId, UploadId)>,
    leases: Vec<Lease>,
    sent: Vec<(Request, u8)>,
    /// Gathers what is to be sent at once, where that is wanted: see [`crowd`].
    gathered: Option<Vec<Request>>,
    /// The job that everybody is after, where there is one.
    wanted: Option<JobId>,
    /// Each job as somebody was told that it is.
    told: BTreeSet<(JobId, u32, Status)>,
    counts: Counts,
}

impl Simulation {
    async fn run(seed: u64, twin: Option<Harness>) -> Counts {
        let mut world = Self::new(seed, Harness::sqlite_by(judging()).await, twin).await;
        for step in 0..STEPS {
            world.step().await;
            world.check(step).await;
        }
        world.finish().await
    }

    async fn new(seed: u64, one: Harness, twin: Option<Harness>) -> Self {
        let mut world = Self {
            random: Random(seed),
            one,
            twin,
            users: Vec::new(),
            agents: Vec::new(),
            jobs: Vec::new(),
            keys: Vec::new(),
            files: Vec::new(),
            leases: Vec::new(),
            sent: Vec::new(),
            gathered: None,
            wanted: None,
            told: BTreeSet::new(),
            counts: Counts::new(),
        };
        for n in 0..4 {
            let new = NewUser { email: Some(format!("u{n}@example.org")), ..world.new_user() };
            world.submit(Actor::Operator, Action::CreateUser(new)).await;
        }
        for user in world.users.clone() {
            let agent = world.one.default_agent(user).await;
            world.agents.push((user, agent));
        }
        for n in 0..8 {
            let owner = world.users[n % 4];
            let fields = world.agent_fields();
            world.submit(Actor::User(owner), Action::CreateAgent(fields)).await;
        }
        world
    }

    async fn step(&mut self) {
        match self.random.below(100) {
            0..8 => self.advance().await,
            8..11 => self.run_tasks().await,
            11..14 => self.look().await,
            14 => self.count_some_jobs().await,
            15..20 if !self.sent.is_empty() => self.repeat().await,
            20..26 => self.post().await,
            26..33 => self.pull().await,
            33..88 if !self.jobs.is_empty() => self.move_a_job().await,
            88..94 => self.tend_agents().await,
            94..97 => self.tend_files().await,
            _ => self.tend_users().await,
        }
    }

    /// Time goes on, jumps to the very end of something or just beside it, or back, as clocks do.
    async fn advance(&mut self) {
        let jump = self.random.below(100);
        if jump < 40 && !self.jobs.is_empty() {
            let newest = self.jobs.len().saturating_sub(4);
            let job = self.random.pick(&self.jobs[newest..]);
            let Some(kind) = self.approach(job).await else { return };
            // A sender who says nothing is rare among so many moves.
            if kind == TaskKind::CloseReview {
                self.run_tasks().await;
            } else {
                self.wanted = Some(job);
                self.move_a_job().await;
                self.wanted = None;
            }
            return;
        }
        let ahead = self.random.pick(&[1, 1, 5, 5, 10, 10, 31, 31, 61, 700, 90_000, 260_000]);
        let seconds = if jump < 50 { -ahead.min(3600) } else { ahead };
        self.count(if seconds < 0 { "time went back" } else { "time went on" });
        self.move_time(seconds * 1_000_000);
    }

    /// Moves to where the job's time runs out, or a microsecond to either side, if that is still ahead.
    async fn approach(&mut self, job: JobId) -> Option<TaskKind> {
        let aside = self.random.pick(&[-1, 0, 1]);
        let timer = self.one.store.job(job).await.unwrap().and_then(|job| job.timer());
        let now = self.one.clock.now();
        let task = timer.filter(|task| task.due_at.micros() + aside > now.micros())?;
        self.move_time(task.due_at.micros() + aside - now.micros());
        self.count(["time just before", "time exactly", "time just after"][(aside + 1) as usize]);
        Some(task.kind)
    }

    fn move_time(&self, micros: i64) {
        for harness in self.harnesses() {
            let Clock::Manual(hand) = &harness.clock else { panic!("it is moved by hand") };
            hand.fetch_add(micros, Ordering::SeqCst);
        }
    }

    fn count(&mut self, what: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }

    async fn run_tasks(&mut self) {
        let (limit, lease) = (1 + self.random.below(4) as u32, self.random.pick(&[5, 30]));
        let leases = self.one.store.take_due_tasks(Due::Timers, limit, lease).await.unwrap();
        if let Some(postgres) = &self.twin {
            assert_eq!(leases, postgres.store.take_due_tasks(Due::Timers, limit, lease).await.unwrap());
        }
        for lease in leases {
            self.leases.push(lease);
            // Some runners die with a task in hand.
            if self.random.percent(85) {
                self.submit(Actor::Exchange, Action::Run(lease)).await;
            }
        }
        if self.random.percent(20) && !self.leases.is_empty() {
            let stale = self.random.pick(&self.leases);
            self.submit(Actor::Exchange, Action::Run(stale)).await;
        }
        if self.random.percent(10) {
            for store in self.harnesses() {
                store.store.drop_old_receipts().await.unwrap();
            }
        }
        if self.random.percent(20) {
            let (age, limit) = (self.random.pick(&[60, 86_400]), 1 + self.random.below(4) as u32);
            let went = self.one.store.drop_unused_uploads(age, limit).await.unwrap();
            if let Some(twin) = &self.twin {
                assert_eq!(went, twin.store.drop_unused_uploads(age, limit).await.unwrap());
            }
            self.files.retain(|(_, file)| !went.contains(file));
            went.iter().for_each(|_| self.count("a file went"));
        }
    }

    /// Files come, and go again unless a job names them.
    async fn tend_files(&mut self) {
        let user = self.user();
        let deleted = self.random.percent(30).then(|| self.some_files(user).first().copied()).flatten();
        self.files.retain(|(_, file)| Some(*file) != deleted);
        let id = Ids::new(self.seed(), self.one.clock.now()).upload();
        let (name, size_bytes) = (self.random.pick(&["a.txt", "A.TXT", "../b"]), self.random.pick(&[0, 1, 2000, 4000]));
        let new = NewUpload { id, name: name.to_owned(), size_bytes, content_type: None, sha256: [1; 32] };
        let action = deleted.map_or(Action::Upload(new), Action::DeleteUpload);
        self.submit(Actor::User(user), action).await;
    }

    /// Mostly files of this user, and mostly none.
    fn some_files(&mut self, user: UserId) -> Vec<UploadId> {
        if self.random.percent(60) || self.files.is_empty() {
            return Vec::new();
        }
        let newest = self.files.len().saturating_sub(8);
        let mut files: Vec<UploadId> =
            self.files[newest..].iter().filter(|(owner, _)| *owner == user).map(|(_, file)| *file).collect();
        files.truncate(1 + self.random.below(3));
        if self.random.percent(5) {
            files.push(self.random.pick(&self.files).1);
        }
        files
    }

    /// Verifiers take what is to be looked at, and report; some die, some are late, some speak of something else.
    async fn look(&mut self) {
        let at = self.random.pick(&[Looks::Checks, Looks::Commands, Looks::Criteria]);
        let but_of = if self.random.percent(20) { [Some(self.random.pick(&self.users)), None] } else { [None; 2] };
        let due = Due::Looks { at, overdue_seconds: self.random.pick(&[0, 0, 60]), but_of };
        let (limit, lease) = (1 + self.random.below(4) as u32, self.random.pick(&[5, 30]));
        let leases = self.one.store.take_due_tasks(due, limit, lease).await.unwrap();
        if let Some(twin) = &self.twin {
            assert_eq!(leases, twin.store.take_due_tasks(due, limit, lease).await.unwrap());
        }
        for lease in leases {
            self.leases.push(lease);
            let lines = vec![LogLine { at: self.one.clock.now(), kind: LogKind::Log, text: "looking".to_owned() }];
            let attempt = self.one.job(lease.task.job().unwrap()).await.attempt_count;
            for harness in self.harnesses() {
                assert!(harness.store.log(lease, attempt, lines.clone()).await.unwrap());
                assert!(harness.store.renew(lease, 20).await.unwrap());
            }
            if self.random.percent(85) {
                self.report(lease).await;
            }
        }
        if self.random.percent(30) && !self.leases.is_empty() {
            let stale = self.random.pick(&self.leases);
            self.report(stale).await;
        }
    }

    /// A verifier says what it found, which may be nothing, or nonsense.
    async fn report(&mut self, lease: Lease) {
        let job = self.one.job(lease.task.job().unwrap()).await;
        let passes = self.random.percent(60);
        let checks = |many: usize| {
            let check = |n| CheckResult { kind: "contains".to_owned(), pass: passes || n > 0, detail: "so".to_owned() };
            Found::Checks((0..many).map(check).collect())
        };
        let criteria = |texts: &[String]| {
            let judged = |text: &String| CriterionResult { text: text.clone(), pass: passes, reason: "so".to_owned() };
            Found::Criteria(texts.iter().map(judged).collect(), "judge:model".to_owned())
        };
        let (what, found) = match (self.random.below(10), lease.task.kind) {
            (0, _) => ("no judge", Found::NoJudge),
            (1, _) => {
                let others = [checks(7), criteria(&["else".to_owned()]), checks(job.brief.checks.len())];
                ("something else", self.random.pick(&others))
            }
            (2..4, _) => {
                let pause_seconds = self.random.pick(&[None, Some(20), Some(4_000)]);
                ("trouble", Found::Trouble { problem: "it is away".to_owned(), pause_seconds })
            }
            (_, TaskKind::Verify(Looks::Criteria)) => ("criteria", criteria(&job.brief.criteria)),
            _ => ("checks", checks(job.brief.checks.len())),
        };
        self.count(&format!("found {what}"));
        let line = |text: &str| LogLine { at: self.one.clock.now(), kind: LogKind::Status, text: text.to_owned() };
        let log = vec![line("looked"), line("found"), line("reported")];
        self.submit(Actor::Exchange, Action::Report { lease, found, log }).await;
    }

    /// Somebody counts what happened to some jobs, on each store other ones.
    async fn count_some_jobs(&mut self) {
        if self.jobs.is_empty() {
            return;
        }
        let some = 1 + self.random.below(6);
        let picked: Vec<Vec<JobId>> =
            (0..2).map(|_| (0..some).map(|_| self.random.pick(&self.jobs)).collect()).collect();
        for (harness, jobs) in self.harnesses().zip(picked) {
            harness.store.count(jobs).await.unwrap();
        }
        self.count("counted");
    }

    /// Sends an old request again under its key, and sometimes another one under it.
    async fn repeat(&mut self) {
        let (mut request, fingerprint) = self.random.pick(&self.sent);
        let kept = request.receipt.clone().unwrap();
        self.renew(&mut request);
        if self.random.percent(25) {
            request.receipt = receipt(kept.user, &kept.key, fingerprint.wrapping_add(1));
        }
        self.send(request).await;
    }

    /// A request that comes again makes its own ids.
    fn renew(&mut self, request: &mut Request) {
        request.command.seed = self.seed();
        match &mut request.command.action {
            Action::CreateKey(new) => new.id = self.fresh_key(),
            Action::Upload(new) => new.id = Ids::new(self.seed(), self.one.clock.now()).upload(),
            _ => {}
        }
    }

    async fn post(&mut self) {
        let (user, price) = (self.user(), self.random.pick(&[99, 100, 250, 500, 500, 1000, 2000]));
        let mut posting = posting(price);
        posting.time_limit_seconds = self.random.pick(&[60, 600, 86_400]);
        let number = Check::Contains { text: "11".to_owned() };
        let command = Check::Command { run: "true".to_owned(), timeout_seconds: 60, env: false };
        posting.checks = self.random.pick(&[vec![], vec![], vec![number.clone()], vec![number, command]]);
        if self.random.percent(60) {
            posting.criteria.clear();
        }
        posting.attachments = self.some_files(user);
        self.submit(Actor::User(user), Action::Post(posting)).await;
    }

    async fn pull(&mut self) {
        let (user, agent) = self.agent();
        let places = self.one.store.job_places(JobList::Queued, None, 20).await.unwrap();
        let mut candidates: Vec<JobId> = places.into_iter().map(|place| place.job).collect();
        if !self.jobs.is_empty() {
            candidates.insert(0, self.random.pick(&self.jobs));
        }
        self.submit(Actor::User(user), Action::Pull { agent, candidates }).await;
    }

    /// Mostly what the job's state allows, by whom it is allowed to; else anything by anybody.
    async fn move_a_job(&mut self) {
        let newest = self.jobs.len().saturating_sub(4);
        let id =
            if self.random.percent(80) { self.random.pick(&self.jobs[newest..]) } else { self.random.pick(&self.jobs) };
        let id = if self.random.percent(2) { "zzzzzzzzzzzz".parse().unwrap() } else { self.wanted.unwrap_or(id) };
        let job = self.one.store.job(id).await.unwrap();
        if let Some(job) = job.filter(|_| self.random.percent(75)) {
            let (sender, worker) = (job.sender, job.receiver().map(|worker| worker.user));
            let (actor, action) = match &job.state {
                _ if self.random.percent(5) => (sender, Action::Cancel(id)),
                State::PendingPayment => (sender, Action::Pay(id)),
                State::Queued => {
                    let (user, agent) = self.agent();
                    (user, Action::Claim { agent, job: id })
                }
                State::Held { by, .. } if self.random.percent(75) => (by.user, Action::Accept(id)),
                State::Held { by, .. } => (by.user, Action::Reject(id)),
                State::Accepted(attempt) if self.random.percent(60) => {
                    (attempt.worker.user, self.submission(id, attempt.worker.user))
                }
                State::Accepted(attempt) => (attempt.worker.user, Action::Fail { job: id, reason: None }),
                State::Submitted(.., Stage::Looking(_)) if self.random.percent(80) => return self.look().await,
                State::Submitted(..) => (sender, self.review(id)),
                _ => (worker.unwrap_or(sender), Action::Cancel(id)),
            };
            return self.submit(Actor::User(actor), action).await;
        }
        let (user, agent) = self.agent();
        let action = match self.random.below(8) {
            0 => Action::Pay(id),
            1 => Action::Cancel(id),
            2 => Action::Claim { agent, job: id },
            3 => Action::Accept(id),
            4 => Action::Reject(id),
            5 => self.submission(id, user),
            6 => Action::Fail { job: id, reason: Some("no idea".to_owned()) },
            _ => self.review(id),
        };
        self.submit(Actor::User(user), action).await;
    }

    fn submission(&mut self, job: JobId, worker: UserId) -> Action {
        let output_text = self.random.pick(&[Some("Eleven.".to_owned()), Some("12".to_owned()), None]);
        Action::Submit { job, output_text, files: self.some_files(worker) }
    }

    fn review(&mut self, job: JobId) -> Action {
        let verdict = if self.random.percent(50) { Verdict::Pass } else { Verdict::Fail };
        let reason = self.random.pick(&[Some("I looked at it.".to_owned()), Some("Well.".to_owned()), None]);
        let attempt = self.random.pick(&[None, None, Some(1), Some(2)]);
        Action::Review { job, review: Review { verdict, reason, attempt } }
    }

    async fn tend_agents(&mut self) {
        let (user, named) = self.agent();
        let own = self.agents.iter().find(|(owner, _)| *owner == user).expect("every user has one").1;
        let agent = named.unwrap_or(own);
        let action = match self.random.below(10) {
            0..4 => Action::CreateAgent(self.agent_fields()),
            4..7 => {
                let AgentFields { name, personality, avatar_url } = self.agent_fields();
                let name = self.random.percent(50).then_some(name);
                Action::UpdateAgent { agent, name, personality: Some(personality), avatar_url: Some(avatar_url) }
            }
            _ => Action::DeleteAgent(agent),
        };
        self.submit(Actor::User(user), action).await;
    }

    async fn tend_users(&mut self) {
        let user = self.user();
        let key = self.keys.is_empty().then(|| (user, "unknownkey12".parse().unwrap()));
        let (owner, key) = key.unwrap_or_else(|| self.random.pick(&self.keys));
        let now = self.one.clock.now();
        let (actor, action) = match self.random.below(10) {
            0..2 => (Actor::Operator, Action::CreateUser(self.new_user())),
            2..6 => {
                let amount = Cents(self.random.pick(&[0, 1, 500, 2000]));
                (Actor::Operator, Action::Grant { user, amount })
            }
            6..8 => {
                let id = self.fresh_key();
                let expires_at = self.random.pick(&[None, Some(now), Some(now.plus_seconds(60))]);
                let new = NewKey { id, hash: [1; 32], name: "laptop".to_owned(), scopes: Scopes::USER, expires_at };
                (Actor::User(user), Action::CreateKey(new))
            }
            8 => (Actor::Exchange, Action::TouchKeys(vec![(key, now)])),
            _ => (Actor::User(self.random.pick(&[owner, user])), Action::RevokeKey(key)),
        };
        self.submit(actor, action).await;
    }

    fn fresh_key(&mut self) -> KeyId {
        format!("key{:09}", self.random.next() % 1_000_000_000).parse().unwrap()
    }

    fn user(&mut self) -> UserId {
        self.random.pick(&self.users[..4])
    }

    /// A user and an agent: the default one, one of theirs, or somebody else's.
    fn agent(&mut self) -> (UserId, Option<AgentId>) {
        let (owner, agent) = self.random.pick(&self.agents);
        match self.random.below(10) {
            0..3 => (owner, None),
            3..9 => (owner, Some(agent)),
            _ => (self.user(), Some(agent)),
        }
    }

    fn agent_fields(&mut self) -> AgentFields {
        let name = format!("agent {}", self.random.below(12));
        let personality = self.random.percent(50).then(|| "likes vowels".to_owned());
        AgentFields {
            name,
            personality,
            avatar_url: self.random.pick(&[None, None, None, Some("nonsense".to_owned())]),
        }
    }

    fn new_user(&mut self) -> NewUser {
        let email = self.random.percent(70).then(|| format!("u{}@example.org", self.random.below(8)));
        let grant = self.random.percent(70).then_some(Cents(3000));
        NewUser { name: "someone".to_owned(), email, is_admin: false, grant, key: None }
    }

    fn seed(&mut self) -> u128 {
        u128::from(self.random.next()) << 64 | u128::from(self.random.next())
    }

    async fn submit(&mut self, actor: Actor, action: Action) {
        let mut request = Request { command: Command { seed: self.seed(), actor, action }, receipt: None };
        if let (Actor::User(user), true) = (actor, self.random.percent(30)) {
            let (key, fingerprint) = (format!("key {}", self.random.below(30)), self.random.below(200) as u8);
            request.receipt = receipt(user, &key, fingerprint);
            self.sent.push((request.clone(), fingerprint));
        }
        self.send(request).await;
    }

    /// Sends it to both stores: the same answer comes back. Where commands are gathered, it is sent with the others.
    async fn send(&mut self, request: Request) {
        if let Some(gathered) = &mut self.gathered {
            gathered.push(request);
            return;
        }
        let (actor, action) = (request.command.actor, request.command.action.clone());
        let outcome = self.one.store.submit(request.clone()).await;
        if let Some(twin) = &self.twin {
            let other = twin.store.submit(request).await;
            assert_eq!(format!("{outcome:?}"), format!("{other:?}"), "{actor:?}: {action:?}");
        }
        self.learn(actor, &outcome);
    }

    fn learn(&mut self, actor: Actor, outcome: &Result<Outcome, StoreError>) {
        let what = match outcome.as_ref().unwrap() {
            Outcome::Done(answer) => {
                if let Answer::Job(job) | Answer::Short { job, .. } = answer {
                    self.told.insert((job.id, job.version, job.status()));
                }
                match answer {
                    Answer::User(user) => self.users.push(user.id),
                    Answer::Agent(agent) if self.agents.iter().all(|(_, known)| *known != agent.id) => {
                        self.agents.push((agent.owner, agent.id));
                    }
                    Answer::Job(job) | Answer::Short { job, .. } if !self.jobs.contains(&job.id) => {
                        self.jobs.push(job.id)
                    }
                    Answer::Upload(file) => self.files.push((file.owner, file.id)),
                    Answer::Key(key) => self.keys.push((key.user, key.id)),
                    _ => {}
                }
                match answer {
                    Answer::Short { .. } => "short".to_owned(),
                    Answer::Upload(_) => "uploaded".to_owned(),
                    Answer::Nothing if matches!(actor, Actor::User(_)) => "nothing".to_owned(),
                    _ => "done".to_owned(),
                }
            }
            Outcome::Rejected(rejection) => format!("no {}", rejection.code().0),
            Outcome::Replayed(_) => "replayed".to_owned(),
            Outcome::KeyReused => "key reused".to_owned(),
            Outcome::KeyInProgress => panic!("nothing else is in progress"),
        };
        self.count(&what);
    }

    fn harnesses(&self) -> impl Iterator<Item = &Harness> {
        std::iter::once(&self.one).chain(&self.twin)
    }

    /// What holds after every step, on each store.
    async fn check(&self, step: usize) {
        let max = Policy::default().max_attempts;
        let broken = format!(
            "SELECT (SELECT COUNT(*) FROM jobs WHERE attempt_count > {max})
                  + (SELECT COUNT(*) FROM (SELECT worker_agent_id FROM jobs WHERE status = 'held'
                                            GROUP BY worker_agent_id HAVING COUNT(*) > 1) twice)
                  + (SELECT COUNT(*) FROM jobs j WHERE status IN ('held', 'accepted', 'submitted')
                        AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.subject = j.id))
                  + (SELECT COUNT(*) FROM (SELECT owner_id FROM uploads GROUP BY owner_id
                                            HAVING SUM(size_bytes) > {QUOTA_BYTES}) greedy)
                  + (SELECT COUNT(*) FROM jobs j WHERE version <> (SELECT COUNT(*) FROM events e WHERE e.job_id = j.id))"
        );
        let mut audits = Vec::new();
        for harness in self.harnesses() {
            let audit = harness.store.audit().await.unwrap();
            assert_eq!((audit.offence.as_ref(), audit.sum()), (None, Cents::ZERO), "step {step}");
            assert_eq!(harness.number(&broken).await, 0, "step {step}");
            audits.push(audit);
        }
        assert!(audits.iter().all(|audit| *audit == audits[0]), "step {step}: {audits:?}");
    }

    /// What holds of a job's history: it goes only where the rules let it, its money moves once, and whoever was told
    /// something of it was told the truth.
    async fn check_history(&self, id: JobId) {
        let (job, events) = (self.one.job(id).await, self.one.store.events(id).await.unwrap());
        assert_eq!((events.len(), events.last().unwrap().status), (job.version as usize, job.status()), "{events:#?}");
        let (mut before, mut in_escrow, mut attempts) = (None, 0, 0);
        let mut paid = Vec::new();
        for (event, n) in events.iter().zip(1..) {
            assert_eq!(event.n, n, "{events:#?}");
            assert!(may_go(before, event.kind, event.status), "{before:?}: {event:#?}");
            before = Some(event.status);
            attempts += u32::from(event.kind == EventKind::Accepted);
            for moved in &event.moved {
                in_escrow += if moved.to == "escrow" { moved.cents.0 } else { -moved.cents.0 };
                if moved.to != "escrow" {
                    paid.push((&*moved.to, moved.cents));
                }
            }
        }
        assert_eq!((attempts, attempts <= Policy::default().max_attempts), (job.attempt_count, true), "{events:#?}");
        assert_eq!(in_escrow, if job.status().is_funded() { job.price.0 } else { 0 }, "{events:#?}");
        let (payout, fee, refund) = (("wallet", job.payout()), ("platform", job.fee), ("wallet", job.price));
        let due = match job.status() {
            Status::Verified => vec![payout, fee],
            Status::Failed => vec![refund],
            Status::Cancelled if events.iter().any(|event| !event.moved.is_empty()) => vec![refund],
            _ => Vec::new(),
        };
        assert_eq!(paid, due, "one payout or one refund, or neither: {events:#?}");
        for (_, version, status) in self.told.range((id, 0, Status::PendingPayment)..=(id, u32::MAX, Status::Cancelled))
        {
            assert_eq!(events[*version as usize - 1].status, *status, "somebody was told so");
        }
    }

    /// Compares all that is stored, and all lists, and counts what happened.
    async fn finish(mut self) -> Counts {
        for job in &self.jobs {
            self.check_history(*job).await;
        }
        for harness in self.harnesses() {
            count_all(&harness.store, 4).await;
            assert_recount(harness).await;
        }
        assert_rebuilt(&self.one).await;
        if let Some(postgres) = &self.twin {
            let dump = self.one.dump().await;
            assert_eq!(dump, postgres.dump().await);
            for user in &self.users {
                let statuses =
                    std::iter::once(None).chain(Status::ALL.map(Some)).map(|status| JobList::SentBy(*user, status));
                for list in statuses.chain([JobList::WorkedBy(*user), JobList::Queued]) {
                    let pages = [&self.one, postgres].map(|harness| harness.store.job_places(list, None, 1000));
                    let [ours, theirs] = pages;
                    assert_eq!(ours.await.unwrap(), theirs.await.unwrap(), "{list:?}");
                }
                let agents = self.one.store.agents(*user).await.unwrap();
                assert_eq!(agents, postgres.store.agents(*user).await.unwrap());
                let lines = |entries: Vec<clawrk_domain::ledger::Entry>| {
                    entries.into_iter().map(|entry| (entry.id, entry.delta, entry.reason)).collect::<Vec<_>>()
                };
                let ours = self.one.store.entries(*user, None, 1000).await.unwrap();
                assert_eq!(lines(ours), lines(postgres.store.entries(*user, None, 1000).await.unwrap()));
            }
            for job in &self.jobs {
                assert_eq!(self.one.store.job(*job).await.unwrap(), postgres.store.job(*job).await.unwrap());
                assert_eq!(self.one.store.events(*job).await.unwrap(), postgres.store.events(*job).await.unwrap());
            }
        }
        for (what, sql) in [
            ("event ", "SELECT kind, COUNT(*) FROM events GROUP BY kind"),
            (
                "",
                "SELECT CASE attempt WHEN 0 THEN 'files of jobs' ELSE 'files of attempts' END, COUNT(*) FROM upload_uses GROUP BY 1",
            ),
            ("status ", "SELECT status, COUNT(*) FROM jobs GROUP BY status"),
            ("", "SELECT reason, COUNT(*) FROM transfers WHERE reason IN ('earning', 'refund') GROUP BY 1"),
            (
                "",
                "SELECT 'auto-pass', COUNT(*) FROM attempts WHERE verification LIKE '%review_window%' HAVING COUNT(*) > 0",
            ),
            (
                "",
                "SELECT 'by checks', COUNT(*) FROM attempts WHERE verification LIKE '%\"verifier\":\"checks\"%' HAVING COUNT(*) > 0",
            ),
            (
                "",
                "SELECT 'by a judge', COUNT(*) FROM attempts WHERE verification LIKE '%judge:model%' HAVING COUNT(*) > 0",
            ),
        ] {
            for row in self.one.rows(sql).await.unwrap() {
                let (name, count) = (row[0].as_deref().unwrap(), row[1].as_deref().unwrap());
                *self.counts.entry(format!("{what}{name}")).or_default() += count.parse::<usize>().unwrap();
            }
        }
        self.counts
    }
}

/// Whether a job may go from one status to another by what happened.
fn may_go(from: Option<Status>, by: EventKind, to: Status) -> bool {
    use Status::{Accepted, Cancelled, Failed, Held, PendingPayment, Queued, Submitted, Verified};
    let Some(from) = from else { return by == EventKind::Posted && [PendingPayment, Queued].contains(&to) };
    let over = [Queued, Failed, Cancelled].contains(&to);
    match by {
        EventKind::Posted => false,
        EventKind::Paid => (from, to) == (PendingPayment, Queued),
        EventKind::Pulled | EventKind::Claimed => (from, to) == (Queued, Held),
        EventKind::Accepted => (from, to) == (Held, Accepted),
        EventKind::Rejected | EventKind::HoldExpired => (from, to) == (Held, Queued),
        EventKind::Submitted => (from, to) == (Accepted, Submitted),
        EventKind::GaveUp | EventKind::DeadlinePassed => from == Accepted && over,
        EventKind::ReviewNeeded => (from, to) == (Submitted, Submitted),
        EventKind::VerificationFailed => from == Submitted && over,
        EventKind::Verified => (from, to) == (Submitted, Verified),
        EventKind::CancellationRequested => from == to && [Accepted, Submitted].contains(&from),
        EventKind::Cancelled => [PendingPayment, Queued, Held].contains(&from) && to == Cancelled,
    }
}
