//! A disk as a power cut leaves it: which of the recorded events are durable, and which may or may not be.
//!
//! The model is that of POSIX, which is stricter than the file systems of today:
//!
//! - A write, and a change of a file's length, is durable once the file has been synced after it.
//! - A name (created, removed, changed) is durable once its *folder* has been synced after it; to sync the file alone
//!   is not enough. A folder's own name is durable once the folder around it has been synced.
//! - Changes of names in one folder become durable in their order: file systems keep a journal of them. Changes of a
//!   file's content become durable in any order, and its length apart from its bytes.
//! - A sector of 512 bytes is written as a whole or not at all.
//!
//! What is not durable [`Survives`] or is lost. SQLite's `-shm` file is memory shared between processes, written to
//! through a mapping that cannot be recorded; nothing that should survive is in it. An image has noise in its place,
//! or no such file.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::dice::Dice;
use super::log::Event;

const SECTOR: u64 = 512;

/// What is left of the writes that no sync has made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Survives {
    /// Nothing.
    Synced,
    /// All of them.
    Written,
    /// Some of them, whole.
    SomeWrites,
    /// Some sectors of some of them.
    SomeSectors,
}

impl Survives {
    pub(super) const ALL: [Self; 4] = [Self::Synced, Self::Written, Self::SomeWrites, Self::SomeSectors];
}

/// Files and folders after some events.
pub(super) struct Disk<'a> {
    /// The first is the folder around all others, which is durable.
    nodes: Vec<Node<'a>>,
    /// Which node has an inode's number now: numbers are used again.
    numbers: HashMap<u64, usize>,
}

enum Node<'a> {
    File { synced: Vec<u8>, pending: Vec<Change<'a>> },
    Folder { synced: Names, pending: Vec<Naming> },
}

enum Change<'a> {
    Write { at: u64, bytes: &'a [u8] },
    Length(u64),
}

type Names = BTreeMap<String, usize>;

enum Naming {
    Put(String, usize),
    Take(String),
    Change(String, String),
}

impl<'a> Disk<'a> {
    /// An empty one; `root` is the number of the folder around all.
    pub(super) fn new(root: u64) -> Self {
        let folder = Node::Folder { synced: Names::new(), pending: Vec::new() };
        Self { nodes: vec![folder], numbers: HashMap::from([(root, 0)]) }
    }

    /// Lets an event happen.
    pub(super) fn apply(&mut self, event: Event<'a>) {
        match event {
            Event::Created { number, name, folder } => {
                let node = if folder {
                    Node::Folder { synced: Names::new(), pending: Vec::new() }
                } else {
                    Node::File { synced: Vec::new(), pending: Vec::new() }
                };
                let at = self.nodes.len();
                self.nodes.push(node);
                self.numbers.insert(number, at);
                let (parent, last) = self.place(name);
                self.name(parent, Naming::Put(last.to_owned(), at));
            }
            Event::Wrote { number, at, bytes } => self.change(number, Change::Write { at, bytes }),
            Event::Length { number, length } => self.change(number, Change::Length(length)),
            Event::Synced { number } => self.sync(self.numbers[&number]),
            Event::Removed { name } => {
                let (parent, last) = self.place(name);
                self.name(parent, Naming::Take(last.to_owned()));
            }
            Event::Renamed { from, to } => {
                let ((parent, from), (other, to)) = (self.place(from), self.place(to));
                assert_eq!(parent, other, "a name that moves between folders is not part of the model");
                self.name(parent, Naming::Change(from.to_owned(), to.to_owned()));
            }
            Event::Mapped { .. } => {}
        }
    }

    /// What a power cut leaves: every file by its path.
    pub(super) fn image(&self, survives: Survives, dice: &mut Dice) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut image = BTreeMap::new();
        self.gather(0, Path::new(""), survives, dice, &mut image);
        image
    }

    /// The name, now, of the file with this number.
    pub(super) fn name_of(&self, number: u64) -> Option<String> {
        let wanted = self.numbers[&number];
        let folders = self.nodes.iter().filter_map(|node| node.names(usize::MAX));
        folders.flatten().find_map(|(name, node)| (node == wanted).then_some(name))
    }

    fn change(&mut self, number: u64, change: Change<'a>) {
        let Node::File { pending, .. } = &mut self.nodes[self.numbers[&number]] else {
            panic!("a folder has no bytes")
        };
        pending.push(change);
    }

    fn name(&mut self, folder: usize, naming: Naming) {
        let Node::Folder { pending, .. } = &mut self.nodes[folder] else { panic!("only a folder has names in it") };
        pending.push(naming);
    }

    fn sync(&mut self, node: usize) {
        match &mut self.nodes[node] {
            Node::File { synced, pending } => pending.drain(..).for_each(|change| change.carry_out(synced)),
            Node::Folder { synced, pending } => pending.drain(..).for_each(|naming| naming.carry_out(synced)),
        }
    }

    /// The folder that a name is in, as things stand now, and the name's last part.
    fn place<'n>(&self, name: &'n str) -> (usize, &'n str) {
        let mut parts = name.split('/');
        let last = parts.next_back().unwrap();
        let step = |folder: usize, part: &str| self.nodes[folder].names(usize::MAX).unwrap()[part];
        (parts.fold(0, step), last)
    }

    fn gather(
        &self,
        node: usize,
        path: &Path,
        survives: Survives,
        dice: &mut Dice,
        image: &mut BTreeMap<PathBuf, Vec<u8>>,
    ) {
        match &self.nodes[node] {
            Node::File { .. } if path.to_string_lossy().ends_with("-shm") => {
                if dice.coin() {
                    image.insert(path.to_owned(), dice.bytes(32 << 10));
                }
            }
            Node::File { synced, pending } => {
                image.insert(path.to_owned(), content(synced, pending, survives, dice));
            }
            Node::Folder { pending, .. } => {
                let durable = match survives {
                    Survives::Synced => 0,
                    Survives::Written => pending.len(),
                    Survives::SomeWrites | Survives::SomeSectors => dice.below(pending.len() + 1),
                };
                for (name, node) in self.nodes[node].names(durable).unwrap() {
                    self.gather(node, &path.join(name), survives, dice, image);
                }
            }
        }
    }
}

impl Node<'_> {
    /// A folder's names after that many of the changes that no sync has made durable.
    fn names(&self, changes: usize) -> Option<Names> {
        let Self::Folder { synced, pending } = self else { return None };
        let mut names = synced.clone();
        pending.iter().take(changes).for_each(|naming| naming.carry_out(&mut names));
        Some(names)
    }
}

impl Naming {
    fn carry_out(&self, names: &mut Names) {
        match self {
            Self::Put(name, node) => {
                names.insert(name.clone(), *node);
            }
            Self::Take(name) => {
                names.remove(name);
            }
            Self::Change(from, to) => {
                let node = names.remove(from).expect("what is renamed is there");
                names.insert(to.clone(), node);
            }
        }
    }
}

impl Change<'_> {
    fn carry_out(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => put(content, *at, bytes),
            Self::Length(length) => content.resize(usize::try_from(*length).unwrap(), 0),
        }
    }
}

/// A file after a power cut.
fn content(synced: &[u8], pending: &[Change<'_>], survives: Survives, dice: &mut Dice) -> Vec<u8> {
    let mut content = synced.to_vec();
    for change in pending {
        match (survives, change) {
            (Survives::Synced, _) => {}
            (Survives::Written, _) => change.carry_out(&mut content),
            (Survives::SomeSectors, Change::Write { at, bytes }) => {
                for (at, sector) in sectors(*at, bytes) {
                    if dice.coin() {
                        put(&mut content, at, sector);
                    }
                }
            }
            (Survives::SomeWrites | Survives::SomeSectors, _) => {
                if dice.coin() {
                    change.carry_out(&mut content);
                }
            }
        }
    }
    if survives == Survives::SomeSectors && dice.coin() {
        // The length reached the disk and the bytes did not.
        let grown = pending.iter().fold(content.len(), |length, change| match change {
            Change::Write { at, bytes } => length.max(usize::try_from(*at).unwrap() + bytes.len()),
            Change::Length(_) => length,
        });
        content.resize(grown, 0);
    }
    content
}

/// The parts of a write that fall into one sector each, and where they begin.
fn sectors(at: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let first = usize::try_from(SECTOR - at % SECTOR).unwrap().min(bytes.len());
    let (head, tail) = bytes.split_at(first);
    let parts = std::iter::once(head).chain(tail.chunks(usize::try_from(SECTOR).unwrap()));
    parts.scan(at, |at, part| {
        let begin = *at;
        *at += part.len() as u64;
        Some((begin, part))
    })
}

fn put(content: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let at = usize::try_from(at).unwrap();
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: u64 = 1;

    fn disk(events: &[Event<'static>]) -> Disk<'static> {
        let mut disk = Disk::new(ROOT);
        events.iter().for_each(|event| disk.apply(*event));
        disk
    }

    fn left(events: &[Event<'static>], survives: Survives) -> BTreeMap<String, Vec<u8>> {
        let image = disk(events).image(survives, &mut Dice::new(7));
        image.into_iter().map(|(path, bytes)| (path.display().to_string(), bytes)).collect()
    }

    fn file(name: &str, bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([(name.to_owned(), bytes.to_vec())])
    }

    const CREATED: Event<'static> = Event::Created { number: 2, name: "a", folder: false };
    const WROTE: Event<'static> = Event::Wrote { number: 2, at: 0, bytes: b"bytes" };
    const FILE_SYNCED: Event<'static> = Event::Synced { number: 2 };
    const ROOT_SYNCED: Event<'static> = Event::Synced { number: ROOT };

    #[test]
    fn a_file_is_there_once_its_folder_was_synced_and_holds_what_was_synced() {
        let no_file = BTreeMap::new();
        assert_eq!(left(&[CREATED, WROTE], Survives::Synced), no_file);
        assert_eq!(left(&[CREATED, WROTE], Survives::Written), file("a", b"bytes"));
        assert_eq!(left(&[CREATED, WROTE, FILE_SYNCED], Survives::Synced), no_file, "its name is not durable");
        assert_eq!(left(&[CREATED, WROTE, ROOT_SYNCED], Survives::Synced), file("a", b""), "its bytes are not");
        assert_eq!(left(&[CREATED, WROTE, FILE_SYNCED, ROOT_SYNCED], Survives::Synced), file("a", b"bytes"));
    }

    #[test]
    fn what_is_in_a_folder_is_there_only_if_the_folder_is() {
        let inside = [
            Event::Created { number: 3, name: "folder", folder: true },
            Event::Created { number: 2, name: "folder/a", folder: false },
            Event::Synced { number: 3 },
        ];
        assert_eq!(left(&inside, Survives::Synced), BTreeMap::new());
        assert_eq!(left(&[inside.as_slice(), &[ROOT_SYNCED]].concat(), Survives::Synced), file("folder/a", b""));
    }

    #[test]
    fn names_that_were_removed_or_changed_come_back_until_the_folder_is_synced() {
        let synced = [CREATED, WROTE, FILE_SYNCED, ROOT_SYNCED];
        let renamed = [synced.as_slice(), &[Event::Renamed { from: "a", to: "b" }]].concat();
        assert_eq!(left(&renamed, Survives::Synced), file("a", b"bytes"));
        assert_eq!(left(&[renamed.as_slice(), &[ROOT_SYNCED]].concat(), Survives::Synced), file("b", b"bytes"));
        let removed = [synced.as_slice(), &[Event::Removed { name: "a" }]].concat();
        assert_eq!(left(&removed, Survives::Synced), file("a", b"bytes"));
        assert_eq!(left(&removed, Survives::Written), BTreeMap::new());
        let again = [removed.as_slice(), &[CREATED, ROOT_SYNCED]].concat();
        assert_eq!(left(&again, Survives::Synced), file("a", b""), "another file under the same number");
    }

    #[test]
    fn some_writes_survive_whole_and_some_in_sectors() {
        let base = [CREATED, Event::Wrote { number: 2, at: 0, bytes: &[1; 4096] }, FILE_SYNCED, ROOT_SYNCED];
        let disk = disk(&[base.as_slice(), &[Event::Wrote { number: 2, at: 256, bytes: &[2; 2048] }]].concat());
        let sectors = |survives, seed| {
            let bytes = disk.image(survives, &mut Dice::new(seed)).remove(Path::new("a")).unwrap();
            let new = |part: &[u8]| part.iter().filter(|byte| **byte == 2).count();
            bytes.chunks(512).map(new).collect::<Vec<_>>()
        };
        let whole = vec![256, 512, 512, 512, 256, 0, 0, 0];
        let (mut kept, mut lost, mut torn) = (0, 0, 0);
        for seed in 0..100 {
            let some = sectors(Survives::SomeWrites, seed);
            assert!(some == whole || some == vec![0; 8], "{some:?}");
            if some == whole {
                kept += 1
            } else {
                lost += 1
            }
            let parts = sectors(Survives::SomeSectors, seed);
            assert!(parts.iter().zip(&whole).all(|(part, full)| *part == 0 || part == full), "{parts:?}");
            torn += usize::from(parts != whole && parts != vec![0; 8]);
        }
        assert!(kept > 20 && lost > 20 && torn > 50, "{kept} {lost} {torn}");
    }
}
