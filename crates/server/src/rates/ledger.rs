//! Who has used how much of a minute: on this node, and on the others as far as they tell.
//!
//! A minute has a number and begins at the same instant on every node, so that what another node counted belongs to
//! one minute and is added once, or to one that is over, and is not added at all. For each who is counted it begins
//! at another second of the clock's, so that not all who wait for the next one come back at once. A node whose clock
//! is ahead takes what it tells of into the next minute with it: one minute further at most, whatever is told.
//!
//! Memory is bounded: see [`Shelf`].

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Mutex;

use clawrk_domain::Timestamp;

use super::Standing;

const MINUTE_MICROS: i64 = 60_000_000;

/// What holds for one thing that is counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// How many a minute has.
    pub(super) limit: u32,
    /// How many of them are worth telling other nodes of.
    pub(super) worth_telling: u32,
    /// How many may be counted here before others have heard of them.
    pub(super) ahead: u32,
}

/// What came of counting something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counting {
    /// It is counted; perhaps there is something new to tell.
    Counted { standing: Standing, is_news: bool },
    /// The limit was reached before.
    Full(Standing),
    /// The others have to hear first of what was counted here.
    Ahead,
}

/// So many were counted here, which others are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct News<K> {
    pub(super) who: K,
    /// Which of the things that are counted of them.
    pub(super) place: usize,
    pub(super) minute: i32,
    pub(super) count: u32,
}

/// One thing counted over one minute.
#[derive(Debug, Clone, Copy)]
struct Count {
    minute: i32,
    used: u32,
    /// Of these, counted here and not told of yet.
    untold: u32,
    /// Told of, and perhaps not heard yet.
    on_its_way: u32,
    /// Whether it is among what is to be told.
    is_listed: bool,
}

impl Count {
    const NONE: Self = Self { minute: i32::MIN, used: 0, untold: 0, on_its_way: 0, is_listed: false };

    fn begin(&mut self, minute: i32) {
        *self = Self { minute, is_listed: self.is_listed, ..Self::NONE };
    }

    /// Begins anew when it is another minute now; another node may have taken it into the next one before.
    fn come_to(&mut self, now: i32) {
        if self.minute != now && self.minute != now.saturating_add(1) {
            self.begin(now);
        }
    }

    /// Whether it has to wait until others have heard, which somebody sees to.
    const fn is_ahead(&self, terms: &Terms) -> bool {
        self.untold.saturating_add(self.on_its_way) >= terms.ahead && (self.is_listed || self.on_its_way > 0)
    }
}

/// Who has used how much, on shelves so that few wait for one another. `N` things are counted of each.
#[derive(Debug)]
pub(super) struct Ledger<K, const N: usize> {
    shelves: [Mutex<Shelf<K, N>>; SHELVES],
    hasher: RandomState,
    /// What makes a minute begin at another second for each, the same ones on every node.
    name: fn(&K) -> u32,
}

pub(super) const SHELVES: usize = 16;

/// Entries that were used lately, on one shelf; as many that were used before that are kept beside them.
pub(super) const LATELY: usize = 4096;

/// What is to be told of one shelf at once; what finds no place is told when it is counted again.
const TO_TELL: usize = 32;

impl<K: Copy + Eq + Hash, const N: usize> Ledger<K, N> {
    pub(super) fn new(name: fn(&K) -> u32) -> Self {
        Self { shelves: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new(), name }
    }

    /// Counts one, unless the limit is reached or others have to hear first.
    pub(super) fn count(&self, who: K, place: usize, terms: &Terms, now: Timestamp) -> Counting {
        let minute = self.minute(&who, now);
        let mut shelf = self.of(&who).lock().expect("nothing panics while it is held");
        let (counts, to_tell) = shelf.entry(who, now);
        let count = &mut counts[place];
        count.come_to(minute);
        let limit = terms.limit;
        let standing = |used: u32, of: i32| {
            let left = self.begin(&who, of.saturating_add(1)) - now.micros();
            let reset_seconds = u32::try_from(left / 1_000_000 + i64::from(left % 1_000_000 > 0)).unwrap_or(60);
            Standing { limit, remaining: limit.saturating_sub(used), reset_seconds }
        };
        if count.used >= limit {
            return Counting::Full(standing(limit, count.minute));
        }
        if count.is_ahead(terms) {
            return Counting::Ahead;
        }
        count.used += 1;
        count.untold += 1;
        let is_news = !count.is_listed && count.untold >= terms.worth_telling && to_tell.len() < TO_TELL;
        if is_news {
            count.is_listed = true;
            to_tell.push((who, place));
        }
        Counting::Counted { standing: standing(count.used, count.minute), is_news }
    }

    /// Another node has counted something.
    pub(super) fn hear(&self, news: &News<K>, limit: u32, now: Timestamp) {
        let minute = self.minute(&news.who, now);
        let is_next = news.minute == minute.saturating_add(1);
        if news.place >= N || news.minute != minute && !is_next {
            return;
        }
        let mut shelf = self.of(&news.who).lock().expect("nothing panics while it is held");
        let count = &mut shelf.entry(news.who, now).0[news.place];
        count.come_to(minute);
        if is_next && count.minute == minute {
            count.begin(news.minute);
        }
        if news.minute == count.minute {
            count.used = count.used.saturating_add(news.count).min(limit);
        }
    }

    /// What is to be told now; it is on its way until it is [`Self::settle`]d.
    pub(super) fn take_news(&self, now: Timestamp) -> Vec<News<K>> {
        let mut all = Vec::new();
        for shelf in &self.shelves {
            let mut shelf = shelf.lock().expect("nothing panics while it is held");
            for (who, place) in std::mem::take(&mut shelf.to_tell) {
                let minute = self.minute(&who, now);
                let Some(count) = shelf.find(&who).map(|counts| &mut counts[place]) else { continue };
                count.is_listed = false;
                count.come_to(minute);
                if count.untold > 0 {
                    all.push(News { who, place, minute: count.minute, count: count.untold });
                    count.on_its_way = count.on_its_way.saturating_add(count.untold);
                    count.untold = 0;
                }
            }
        }
        all
    }

    /// All have heard of it, as far as they will.
    pub(super) fn settle(&self, told: &[News<K>]) {
        for news in told {
            let mut shelf = self.of(&news.who).lock().expect("nothing panics while it is held");
            if let Some(count) = shelf.find(&news.who).map(|counts| &mut counts[news.place])
                && count.minute == news.minute
            {
                count.on_its_way = count.on_its_way.saturating_sub(news.count);
            }
        }
    }

    /// How many entries are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let len = |shelf: &Mutex<Shelf<K, N>>| {
            let shelf = shelf.lock().unwrap();
            shelf.younger.len() + shelf.older.len()
        };
        self.shelves.iter().map(len).sum()
    }

    fn of(&self, who: &K) -> &Mutex<Shelf<K, N>> {
        &self.shelves[self.hasher.hash_one(who) as usize % SHELVES]
    }

    /// The number of the minute that it is now.
    fn minute(&self, who: &K, now: Timestamp) -> i32 {
        let minute = now.micros().saturating_add(self.shift(who)).div_euclid(MINUTE_MICROS);
        i32::try_from(minute).unwrap_or(if minute < 0 { i32::MIN } else { i32::MAX })
    }

    /// When a minute begins, in microseconds since 1970.
    fn begin(&self, who: &K, minute: i32) -> i64 {
        i64::from(minute) * MINUTE_MICROS - self.shift(who)
    }

    fn shift(&self, who: &K) -> i64 {
        i64::from((self.name)(who) % 60) * 1_000_000
    }
}

/// Two generations of entries. What is asked for moves to the younger one; when that is full, or a minute old, it
/// becomes the older one, and what nobody asked for meanwhile is forgotten. So an entry lives for a minute after its
/// last use unless so many others came since, and a flood of names costs each of them one entry and no search.
#[derive(Debug)]
struct Shelf<K, const N: usize> {
    younger: HashMap<K, [Count; N]>,
    older: HashMap<K, [Count; N]>,
    turned: Timestamp,
    /// What has grown and is worth telling.
    to_tell: Vec<(K, usize)>,
}

impl<K, const N: usize> Default for Shelf<K, N> {
    fn default() -> Self {
        let turned = Timestamp::from_micros(i64::MIN);
        Self { younger: HashMap::new(), older: HashMap::new(), turned, to_tell: Vec::new() }
    }
}

impl<K: Copy + Eq + Hash, const N: usize> Shelf<K, N> {
    fn entry(&mut self, who: K, now: Timestamp) -> (&mut [Count; N], &mut Vec<(K, usize)>) {
        let age = now.micros().saturating_sub(self.turned.micros());
        if self.younger.len() >= LATELY || age >= MINUTE_MICROS {
            std::mem::swap(&mut self.younger, &mut self.older);
            self.younger.clear();
            self.turned = now;
        }
        let older = &mut self.older;
        let counts = self.younger.entry(who).or_insert_with(|| older.remove(&who).unwrap_or([Count::NONE; N]));
        (counts, &mut self.to_tell)
    }

    fn find(&mut self, who: &K) -> Option<&mut [Count; N]> {
        self.younger.get_mut(who).or_else(|| self.older.get_mut(who))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { limit: 30, worth_telling: 2, ahead: 10 };

    /// A node; the minutes of the one who is counted begin 20 seconds before the clock's.
    fn node() -> Ledger<u8, 1> {
        Ledger::new(|_| 20)
    }

    /// Seconds after a minute began.
    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_020_000_000).plus_seconds(seconds)
    }

    /// Counts so many, and how many are left then; none when fewer were taken.
    fn count(node: &Ledger<u8, 1>, many: u32, now: Timestamp) -> Option<u32> {
        let mut left = None;
        for _ in 0..many {
            let Counting::Counted { standing, .. } = node.count(7, 0, &TERMS, now) else { return None };
            left = Some(standing.remaining);
        }
        left
    }

    /// How many are left after one more.
    fn left(node: &Ledger<u8, 1>, now: Timestamp) -> Option<u32> {
        count(node, 1, now)
    }

    /// What the first node has to tell, heard by the second; how many that is.
    fn tell(from: (&Ledger<u8, 1>, Timestamp), to: (&Ledger<u8, 1>, Timestamp)) -> u32 {
        let told = from.0.take_news(from.1);
        told.iter().for_each(|news| to.0.hear(news, TERMS.limit, to.1));
        from.0.settle(&told);
        told.iter().map(|news| news.count).sum()
    }

    #[test]
    fn what_one_node_counts_is_counted_once_on_another() {
        let (here, there) = (node(), node());
        assert_eq!(count(&here, 9, at(1)), Some(21));
        assert_eq!(count(&there, 5, at(2)), Some(25));
        assert_eq!(tell((&here, at(3)), (&there, at(3))), 9);
        assert_eq!(left(&there, at(4)), Some(15));
        // Of what was heard nothing is told on.
        assert_eq!(tell((&there, at(5)), (&here, at(5))), 6);
        assert_eq!(left(&here, at(6)), Some(14));
        // The one more is not worth telling, and what was told is not told again.
        assert_eq!(tell((&here, at(7)), (&there, at(7))), 0);
        assert_eq!(count(&here, 1, at(8)), Some(13));
        assert_eq!(tell((&here, at(9)), (&there, at(9))), 2);
        assert_eq!(left(&there, at(10)), Some(12));
    }

    #[test]
    fn a_count_belongs_to_its_minute_and_to_no_other() {
        let (here, there) = (node(), node());
        count(&here, 9, at(59)).unwrap();
        // It is heard when that minute is over.
        assert_eq!(tell((&here, at(59)), (&there, at(60))), 9);
        assert_eq!(left(&there, at(60)), Some(29));
        // What was not told in time is not told at all.
        count(&here, 9, at(119)).unwrap();
        assert_eq!(tell((&here, at(120)), (&there, at(120))), 0);
        assert_eq!(left(&there, at(120)), Some(29));
    }

    #[test]
    fn clocks_that_differ_by_seconds_neither_double_a_count_nor_lose_it() {
        let (slow, fast) = (node(), node());
        count(&slow, 9, at(50)).unwrap();
        // 61 there: the next minute, which the slow node is taken into.
        count(&fast, 9, at(61)).unwrap();
        assert_eq!(tell((&slow, at(51)), (&fast, at(61))), 9);
        assert_eq!(left(&fast, at(61)), Some(20), "what was counted in the minute before is over");
        assert_eq!(tell((&fast, at(61)), (&slow, at(51))), 10);
        assert_eq!(left(&slow, at(52)), Some(19));
        // What is heard now of the minute before is over here, too.
        let other = node();
        count(&other, 9, at(50)).unwrap();
        assert_eq!(tell((&other, at(52)), (&slow, at(52))), 9);
        // It stays in its minute when its own clock comes there, and leaves it like any other.
        assert_eq!(left(&slow, at(60)), Some(18));
        assert_eq!(left(&slow, at(119)), Some(17));
        assert_eq!(left(&slow, at(120)), Some(29));
        // And what it counted since is of that minute on the fast node, too.
        count(&slow, 3, at(121)).unwrap();
        assert_eq!(tell((&slow, at(122)), (&fast, at(133))), 4);
        assert_eq!(left(&fast, at(133)), Some(25));
    }

    #[test]
    fn nothing_that_is_told_refuses_anybody_for_more_than_two_minutes() {
        let there = node();
        let now = Timestamp::from_micros(at(0).micros());
        let this = there.minute(&7, now);
        let hear = |minute| there.hear(&News { who: 7, place: 0, minute, count: u32::MAX }, TERMS.limit, at(1));
        let refused = |seconds| match there.count(7, 0, &TERMS, at(seconds)) {
            Counting::Full(standing) => Some(standing),
            _ => None,
        };
        [this, this + 2, this + 1000, this - 1, i32::MIN, i32::MAX].into_iter().for_each(hear);
        assert_eq!(refused(1), Some(Standing { limit: 30, remaining: 0, reset_seconds: 59 }));
        [this + 1, this + 2, this + 1].into_iter().for_each(hear);
        assert_eq!(refused(1), Some(Standing { limit: 30, remaining: 0, reset_seconds: 119 }));
        assert!(refused(119).is_some());
        assert_eq!(refused(120), None);
        // What is no thing that is counted is nothing.
        there.hear(&News { who: 7, place: 1, minute: this, count: 1 }, TERMS.limit, at(1));
    }

    #[test]
    fn a_clock_that_was_set_back_locks_nobody_out() {
        let here = node();
        for _ in 0..3 {
            count(&here, 10, at(0)).unwrap();
            let told = here.take_news(at(0));
            here.settle(&told);
        }
        assert_eq!(left(&here, at(1)), None);
        assert_eq!(left(&here, at(-1000)), Some(29));
    }

    #[test]
    fn a_third_of_a_limit_waits_until_it_was_told() {
        let (here, alone) = (node(), node());
        assert_eq!(count(&here, 10, at(0)), Some(20));
        assert_eq!(here.count(7, 0, &TERMS, at(0)), Counting::Ahead);
        let told = here.take_news(at(0));
        assert_eq!(here.count(7, 0, &TERMS, at(0)), Counting::Ahead, "it is on its way");
        here.settle(&told);
        assert_eq!(count(&here, 4, at(0)), Some(16));
        // While some are on their way, the others are counted with them.
        let told = here.take_news(at(0));
        assert_eq!(count(&here, 6, at(0)), Some(10));
        assert_eq!(here.count(7, 0, &TERMS, at(0)), Counting::Ahead);
        here.settle(&told);
        assert_eq!(count(&here, 4, at(0)), Some(6));
        // In the next minute nothing of it is left.
        assert_eq!(count(&here, 10, at(60)), Some(20));
        // Nobody waits where nobody tells.
        let terms = Terms { worth_telling: u32::MAX, ..TERMS };
        let taken = (0..40).filter(|_| matches!(alone.count(7, 0, &terms, at(0)), Counting::Counted { .. }));
        assert_eq!(taken.count(), 30);
        assert_eq!(alone.take_news(at(0)), []);
    }

    #[test]
    fn what_finds_no_place_among_what_is_to_be_told_waits_for_nobody() {
        let here: Ledger<u32, 1> = Ledger::new(|_| 0);
        let many = (SHELVES * TO_TELL * 4) as u32;
        for who in 0..many {
            for _ in 0..TERMS.limit {
                let counted = here.count(who, 0, &TERMS, at(0));
                assert!(matches!(counted, Counting::Counted { .. } | Counting::Ahead), "{counted:?}");
            }
        }
        let told = here.take_news(at(0));
        assert_eq!(told.len(), SHELVES * TO_TELL);
        assert!(told.iter().all(|news| news.count == TERMS.ahead));
        let full = (0..many).filter(|who| matches!(here.count(*who, 0, &TERMS, at(0)), Counting::Full(_)));
        assert_eq!(full.count(), many as usize - told.len());
    }

    #[test]
    fn minutes_begin_at_another_second_for_each() {
        let here: Ledger<u32, 1> = Ledger::new(|who| *who);
        let resets = |now| {
            let mut resets = std::collections::BTreeSet::new();
            for who in 0..60 {
                let Counting::Counted { standing, .. } = here.count(who, 0, &TERMS, now) else { panic!("{who}") };
                resets.insert(standing.reset_seconds);
            }
            resets
        };
        assert_eq!(resets(at(0)), (1..=60).collect());
        assert_eq!(resets(Timestamp::from_micros(at(0).micros() + 1)), (1..=60).collect());
    }
}
