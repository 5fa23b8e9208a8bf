//! Power cuts: the real server is put under load while everything that it does to its disk is written down; then the
//! disk is rebuilt as a power cut at this or that moment would have left it, opened, and compared with what the
//! server had acknowledged by then. `kill -9` cannot show this: what a process has written survives its end.
//!
//! A cut is put *into* an event: all before it is over, it may itself have happened in part. What is acknowledged
//! before it ends has to be there. `disk.rs` says what is durable, `load.rs` what is asked of the server,
//! `verdict.rs` what is looked at.
//!
//! That the recorder misses nothing is looked at too: with everything it wrote down, the rebuilt files are those on
//! the disk, byte for byte. And the whole must be able to fail: two controls lose what they acknowledged, one with
//! SQLite's next weaker setting, one with disks that do not sync.

mod dice;
mod disk;
mod load;
mod log;
mod verdict;
mod weaker;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::exchange::{Exchange, Server};
use dice::Dice;
use disk::{Disk, Survives};
use load::{Journal, Size};
use log::{Entry, Event};
use verdict::{Moment, Wrong};

/// Cuts of a busy server, each looked at in every way that the disk may be left.
const CUTS: usize = 300;

/// All that happened to a disk, and what was said meanwhile.
struct Recording {
    /// The number of the folder around all, which was there before.
    root: u64,
    /// Where the data folder is in it.
    data: PathBuf,
    log: Vec<u8>,
    journal: Journal,
}

/// When the power goes.
enum Cuts {
    /// In every event of the recording.
    Every,
    /// In so many of them: half anywhere, half where something becomes durable or a name changes.
    Some(usize),
}

/// What was found at the power cuts of one recording.
#[derive(Default)]
struct Report {
    cuts: usize,
    images: usize,
    wrong: BTreeMap<(Survives, &'static str), usize>,
    first: Option<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_at_a_power_cut() {
    let recording = record(Size { pairs: 6, jobs: 10, starts: 2 }, Exchange::serve).await;
    assert!(recording.logs_begun() > 2, "the load is too small for SQLite to begin its log again");
    let seed = seed();
    let report = recording.cut(&Cuts::Some(CUTS), seed, |_| true);
    println!("{}", report.said());
    recording.nothing_wrong(&report, seed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_start_may_be_cut_off_at_any_moment() {
    let recording = record(Size { pairs: 1, jobs: 1, starts: 1 }, Exchange::serve).await;
    let seed = seed();
    let report = recording.cut(&Cuts::Every, seed, |_| true);
    println!("{}", report.said());
    recording.nothing_wrong(&report, seed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_weaker_syncs_the_same_server_loses_what_it_acknowledged() {
    let recording = record(Size { pairs: 4, jobs: 5, starts: 2 }, weaker::start).await;
    let report = recording.cut(&Cuts::Some(CUTS / 4), seed(), |_| true);
    println!("{}", report.said());
    assert!(report.lost() > 0, "these power cuts find nothing, whatever the server does: {}", report.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_disk_that_does_not_sync_the_log_the_server_loses_what_it_acknowledged() {
    let recording = record(Size { pairs: 2, jobs: 5, starts: 1 }, Exchange::serve).await;
    let report = recording.cut(&Cuts::Some(CUTS / 4), seed(), |file| !file.ends_with("-wal"));
    println!("{}", report.said());
    assert!(report.lost() > 0, "these power cuts find nothing, whatever the disk does: {}", report.said());
}

/// Runs a load at servers that are recorded, as are the operator's commands beside them.
async fn record(size: Size, start: impl Fn(&Exchange) -> Server) -> Recording {
    let tools = tempfile::tempdir().unwrap();
    let (recorder, log) = (log::recorder(tools.path()), tools.path().join("log"));
    let exchange = Exchange::sqlite();
    let root = exchange.folder().canonicalize().unwrap();
    let exchange = exchange.with("LD_PRELOAD", recorder).with("CRASHLOG_FOLDER", &root).with("CRASHLOG_FILE", &log);
    assert!(exchange.command(["--version"]).output().unwrap().status.success());
    assert!(log.exists(), "nothing can be recorded: LD_PRELOAD does not work here, or clawrk is linked statically");
    let journal = load::run(&exchange, &log, size, || start(&exchange)).await;
    let number = std::fs::metadata(&root).unwrap().ino();
    let data = exchange.data().strip_prefix(exchange.folder()).unwrap().to_owned();
    let recording = Recording { root: number, data, log: std::fs::read(&log).unwrap(), journal };
    recording.missed_nothing(&root);
    recording
}

/// Different every time; the one of a failure is told.
fn seed() -> u64 {
    u64::try_from(clawrk_server::random::seed() & u128::from(u64::MAX)).unwrap()
}

impl Recording {
    /// With everything that was written down, the rebuilt files are those on the disk.
    fn missed_nothing(&self, root: &Path) {
        let mut disk = Disk::new(self.root);
        for entry in log::entries(&self.log) {
            if let Event::Mapped { number } = entry.event {
                let name = disk.name_of(number).unwrap();
                assert!(name.ends_with("-shm"), "{name} is written to through a mapping, which cannot be recorded");
            }
            disk.apply(entry.event);
        }
        let mut rebuilt = disk.image(Survives::Written, &mut Dice::new(0));
        rebuilt.retain(|path, _| !is_shared_memory(path));
        let mut real = BTreeMap::new();
        files(root, Path::new(""), &mut real);
        assert_eq!(rebuilt.keys().collect::<Vec<_>>(), real.keys().collect::<Vec<_>>(), "rebuilt and real files");
        for (path, bytes) in real {
            assert!(rebuilt[&path] == bytes, "{} was written to without the recorder's knowledge", path.display());
        }
    }

    /// How often SQLite's log was begun: the first time, and whenever all of it had gone into the database.
    fn logs_begun(&self) -> usize {
        let mut disk = Disk::new(self.root);
        let mut count = 0;
        for entry in log::entries(&self.log) {
            disk.apply(entry.event);
            if let Event::Wrote { number, at: 0, bytes } = entry.event
                && bytes.len() == 32
                && disk.name_of(number).is_some_and(|name| name.ends_with("-wal"))
            {
                count += 1;
            }
        }
        count
    }

    /// Cuts the power and looks at what is left; a sync of a file that does not `hold` makes nothing durable.
    fn cut(&self, cuts: &Cuts, seed: u64, holds: impl Fn(&str) -> bool + Sync) -> Report {
        let entries = log::entries(&self.log);
        let cuts = cuts.among(&entries, &mut Dice::new(seed));
        let images = images();
        let threads = std::thread::available_parallelism().map_or(2, usize::from).min(4);
        let share = |thread: usize| {
            let mine: BTreeSet<usize> = cuts.iter().copied().skip(thread).step_by(threads).collect();
            self.share(&entries, &mine, seed, &holds, &images.path().join(thread.to_string()))
        };
        let (share, mut report) = (&share, Report { cuts: cuts.len(), ..Report::default() });
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
            threads.into_iter().for_each(|thread| report.add(thread.join().unwrap()));
        });
        report
    }

    /// One thread's part of the cuts.
    fn share(
        &self,
        entries: &[Entry<'_>],
        cuts: &BTreeSet<usize>,
        seed: u64,
        holds: &(impl Fn(&str) -> bool + Sync),
        folder: &Path,
    ) -> Report {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (mut disk, mut report, mut over) = (Disk::new(self.root), Report::default(), 0);
        for (at, entry) in entries.iter().enumerate() {
            // A sync that is cut off has made nothing durable; anything else may have happened, in part.
            let is_sync = matches!(entry.event, Event::Synced { .. });
            if !is_sync {
                disk.apply(entry.event);
            }
            for survives in cuts.contains(&at).then_some(Survives::ALL).into_iter().flatten() {
                let image = folder.join(format!("{at}-{survives:?}"));
                lay_out(&disk.image(survives, &mut Dice::new(seed ^ at as u64)), &image);
                let moment = Moment { over, begun: entry.end };
                let wrong = runtime.block_on(verdict::judge(&image.join(&self.data), &self.journal, moment)).err();
                report.note(wrong, survives, at, entry);
                // The database may still be being closed; what cannot go now goes with the folder of all images.
                std::fs::remove_dir_all(&image).unwrap_or_default();
            }
            if let Event::Synced { number } = entry.event
                && disk.name_of(number).is_none_or(|name| holds(&name))
            {
                disk.apply(entry.event);
            }
            over = entry.end;
        }
        report
    }

    fn nothing_wrong(&self, report: &Report, seed: u64) {
        let Some(first) = &report.first else { return };
        let kept = tempfile::tempdir().unwrap().keep().join("log");
        std::fs::write(&kept, &self.log).unwrap();
        panic!("{}\n{first}\nseed {seed}, the log is kept in {}", report.said(), kept.display());
    }
}

impl Cuts {
    fn among(&self, entries: &[Entry<'_>], dice: &mut Dice) -> BTreeSet<usize> {
        let Self::Some(count) = *self else { return (0..entries.len()).collect() };
        let is_rare = |event| !matches!(event, Event::Wrote { .. } | Event::Mapped { .. });
        let rare: Vec<usize> = (0..entries.len()).filter(|at| is_rare(entries[*at].event)).collect();
        let mut cuts: BTreeSet<usize> = (0..count / 2).map(|_| rare[dice.below(rare.len())]).collect();
        while cuts.len() < count.min(entries.len()) {
            cuts.insert(dice.below(entries.len()));
        }
        cuts
    }
}

impl Report {
    fn note(&mut self, wrong: Option<Wrong>, survives: Survives, at: usize, entry: &Entry<'_>) {
        self.images += 1;
        let Some(wrong) = wrong else { return };
        *self.wrong.entry((survives, wrong.kind())).or_default() += 1;
        self.first.get_or_insert_with(|| {
            format!("cut {at}, in {:.200}, {survives:?}: {wrong:?}", format!("{:?}", entry.event))
        });
    }

    fn add(&mut self, other: Self) {
        self.images += other.images;
        other.wrong.into_iter().for_each(|(what, count)| *self.wrong.entry(what).or_default() += count);
        self.first = self.first.take().or(other.first);
    }

    /// In how many images something that was acknowledged is not there.
    fn lost(&self) -> usize {
        self.wrong.iter().filter(|((_, kind), _)| *kind == "lost").map(|(_, count)| count).sum()
    }

    fn said(&self) -> String {
        format!("{} power cuts, {} images, wrong: {:?}", self.cuts, self.images, self.wrong)
    }
}

/// A folder for images: in memory where there is such a place, since no disk is tested here.
fn images() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn lay_out(image: &BTreeMap<PathBuf, Vec<u8>>, folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    for (path, bytes) in image {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// Every file below a folder but SQLite's shared memory.
fn files(root: &Path, below: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            files(root, &path, found);
        } else if !is_shared_memory(&path) {
            found.insert(path, std::fs::read(entry.path()).unwrap());
        }
    }
}

fn is_shared_memory(path: &Path) -> bool {
    path.to_string_lossy().ends_with("-shm")
}
