//! How many requests a minute may come with one key, or from one address without one.
//!
//! A minute begins with the first request that is counted and ends 60 seconds later. Every limit is in proportion to
//! `rate_limit_per_minute`. What is counted is kept in this process's memory, of bounded size: [`Ledger`] says how.
//! Which address a request comes from is what its connection says; headers that anybody can write are not asked.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use clawrk_domain::{KeyId, Timestamp};

use crate::Error;

/// The setting's default, which the bases below belong to.
const BASE: u64 = 600;

/// How long a count lasts, in microseconds.
const MINUTE_MICROS: i64 = 60_000_000;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// A request with a key.
    Key,
    /// A job run with a key; it may cost an LLM's answer.
    Run,
    /// A request for what is open to everybody.
    Page,
    /// A request without a key for what needs one, or for nothing that is there.
    Stranger,
    /// A key that does not count.
    WrongKey,
}

impl Counted {
    /// How many of them a minute has when the setting is [`BASE`].
    const fn base(self) -> u64 {
        match self {
            Self::Key | Self::Page => 600,
            Self::Stranger => 60,
            Self::Run => 30,
            Self::WrongKey => 10,
        }
    }

    /// Its place among what is counted of one key, or of one address.
    const fn place(self) -> usize {
        match self {
            Self::Key | Self::Page => 0,
            Self::Run | Self::Stranger => 1,
            Self::WrongKey => 2,
        }
    }

    /// The refusal, for people.
    fn refusal(self, limit: u32, seconds: u32) -> String {
        let count = |many: u32, what: &str| format!("{many} {what}{}", if many == 1 { "" } else { "s" });
        let many = match self {
            Self::Key => format!("A key may make {} a minute", count(limit, "request")),
            Self::Run => format!("A key may run or estimate {} a minute", count(limit, "job")),
            Self::Page => format!("An address may make {} a minute for public pages", count(limit, "request")),
            Self::Stranger => {
                format!("An address may make {} a minute without a key, so send one", count(limit, "request"))
            }
            Self::WrongKey => {
                format!("{} came from this address within a minute: check the key", count(limit, "wrong key"))
            }
        };
        format!("{many}; try again in {}", count(seconds, "second"))
    }
}

/// How a caller stands with a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    limit: u32,
    remaining: u32,
    reset_seconds: u32,
}

impl Standing {
    /// The one of two that leaves less.
    fn tighter(self, other: Self) -> Self {
        if other.remaining < self.remaining { other } else { self }
    }
}

/// The limits, and who has used how much of them.
#[derive(Debug)]
pub(crate) struct Rates {
    per_minute: u64,
    keys: Ledger<KeyId, 2>,
    addresses: Ledger<IpAddr, 3>,
    /// Small numbers as headers have them: made once, since every answer has three.
    numbers: Box<[HeaderValue]>,
}

impl Rates {
    /// The limits in proportion to so many requests a minute with a key; 0 for none.
    pub(crate) fn new(requests_per_minute: u32) -> Self {
        Self {
            per_minute: requests_per_minute.into(),
            keys: Ledger::new(),
            addresses: Ledger::new(),
            numbers: (0..=1000_u32).map(HeaderValue::from).collect(),
        }
    }

    /// Counts a request with a key that counts, and a run of a job besides.
    pub(crate) fn key(&self, key: KeyId, is_run: bool, now: Timestamp) -> Result<Option<Standing>, Error> {
        let Some(limit) = self.limit(Counted::Key) else { return Ok(None) };
        let shelf = self.keys.of(&key);
        let mut shelf = shelf.lock().expect("nothing panics while it is held");
        let counts = shelf.counts(key, now);
        let standing = counts[Counted::Key.place()].count(Counted::Key, limit, now)?;
        let Some(runs) = self.limit(Counted::Run).filter(|_| is_run) else { return Ok(Some(standing)) };
        let runs = counts[Counted::Run.place()].count(Counted::Run, runs, now)?;
        Ok(Some(standing.tighter(runs)))
    }

    /// Counts something of an address.
    pub(crate) fn address(&self, what: Counted, peer: IpAddr, now: Timestamp) -> Result<Option<Standing>, Error> {
        let Some(limit) = self.limit(what) else { return Ok(None) };
        let address = one_address(peer);
        let mut shelf = self.addresses.of(&address).lock().expect("nothing panics while it is held");
        shelf.counts(address, now)[what.place()].count(what, limit, now).map(Some)
    }

    /// Tells how the caller stands.
    pub(crate) fn tell(&self, standing: Standing, headers: &mut HeaderMap) {
        const NAMES: [HeaderName; 3] = [
            HeaderName::from_static("ratelimit-limit"),
            HeaderName::from_static("ratelimit-remaining"),
            HeaderName::from_static("ratelimit-reset"),
        ];
        for (name, number) in NAMES.into_iter().zip([standing.limit, standing.remaining, standing.reset_seconds]) {
            headers.insert(name, self.numbers.get(number as usize).cloned().unwrap_or_else(|| number.into()));
        }
    }

    fn limit(&self, what: Counted) -> Option<u32> {
        let limit = (what.base() * self.per_minute).div_ceil(BASE);
        (limit > 0).then(|| u32::try_from(limit).unwrap_or(u32::MAX))
    }
}

/// What counts as one address: of IPv6 the network that one household or machine is given.
pub(crate) fn one_address(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            Ipv6Addr::from(network).into()
        }
        address => address,
    }
}

/// One thing counted over one minute.
#[derive(Debug, Clone, Copy)]
struct Count {
    begun: Timestamp,
    used: u32,
}

const NOTHING: Count = Count { begun: Timestamp::from_micros(i64::MIN), used: 0 };

impl Count {
    fn count(&mut self, what: Counted, limit: u32, now: Timestamp) -> Result<Standing, Error> {
        // A clock that was set back begins anew too.
        let age = now.micros().saturating_sub(self.begun.micros());
        if !(0..MINUTE_MICROS).contains(&age) {
            *self = Self { begun: now, used: 0 };
        }
        let left = self.begun.micros().saturating_add(MINUTE_MICROS).saturating_sub(now.micros());
        let reset_seconds = u32::try_from(left / 1_000_000 + i64::from(left % 1_000_000 > 0)).unwrap_or(60);
        if self.used >= limit {
            let standing = Standing { limit, remaining: 0, reset_seconds };
            return Err(Error::rate_limited(what.refusal(limit, reset_seconds), reset_seconds, standing));
        }
        self.used += 1;
        Ok(Standing { limit, remaining: limit - self.used, reset_seconds })
    }
}

/// Who has used how much, on shelves so that few wait for one another.
#[derive(Debug)]
struct Ledger<K, const N: usize> {
    shelves: [Mutex<Shelf<K, N>>; SHELVES],
    hasher: RandomState,
}

const SHELVES: usize = 16;

/// Entries that were used lately, on one shelf; as many that were used before that are kept beside them.
const LATELY: usize = 4096;

impl<K: Copy + Eq + Hash, const N: usize> Ledger<K, N> {
    fn new() -> Self {
        Self { shelves: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }

    fn of(&self, who: &K) -> &Mutex<Shelf<K, N>> {
        &self.shelves[self.hasher.hash_one(who) as usize % SHELVES]
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
}

impl<K, const N: usize> Default for Shelf<K, N> {
    fn default() -> Self {
        Self { younger: HashMap::new(), older: HashMap::new(), turned: Timestamp::from_micros(i64::MIN) }
    }
}

impl<K: Copy + Eq + Hash, const N: usize> Shelf<K, N> {
    fn counts(&mut self, who: K, now: Timestamp) -> &mut [Count; N] {
        let age = now.micros().saturating_sub(self.turned.micros());
        if self.younger.len() >= LATELY || age >= MINUTE_MICROS {
            std::mem::swap(&mut self.younger, &mut self.older);
            self.younger.clear();
            self.turned = now;
        }
        let older = &mut self.older;
        self.younger.entry(who).or_insert_with(|| older.remove(&who).unwrap_or([NOTHING; N]))
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Add;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000).plus_seconds(seconds)
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn a_minute_begins_with_the_first_request_and_then_anew() {
        let rates = Rates::new(600);
        let wrong = |seconds| rates.address(Counted::WrongKey, address(1), at(seconds));
        for remaining in (0..10).rev() {
            let standing = wrong(0).unwrap().unwrap();
            assert_eq!(standing, Standing { limit: 10, remaining, reset_seconds: 60 });
        }
        assert!(wrong(59).is_err());
        assert!(rates.address(Counted::WrongKey, address(2), at(59)).is_ok(), "another address");
        assert!(rates.address(Counted::Page, address(1), at(59)).is_ok(), "another thing counted");
        assert_eq!(wrong(60).unwrap().unwrap().remaining, 9);
        assert!(wrong(-1000).is_ok(), "a clock that was set back locks nobody out");
    }

    #[test]
    fn the_limits_are_in_proportion_and_nothing_is_counted_without_them() {
        let limits = |setting| {
            let rates = Rates::new(setting);
            [Counted::Key, Counted::Page, Counted::Stranger, Counted::Run, Counted::WrongKey]
                .map(|what| rates.limit(what))
        };
        assert_eq!(limits(600), [600, 600, 60, 30, 10].map(Some));
        assert_eq!(limits(1200), [1200, 1200, 120, 60, 20].map(Some));
        assert_eq!(limits(1), [Some(1); 5]);
        assert_eq!(limits(0), [None; 5]);
    }

    #[test]
    fn refusals_speak_of_one_and_of_many() {
        let all = [Counted::Key, Counted::Page, Counted::Stranger, Counted::Run, Counted::WrongKey];
        let said = |limit, seconds| all.map(|what| what.refusal(limit, seconds));
        let of_one = [
            "A key may make 1 request a minute; try again in 1 second",
            "An address may make 1 request a minute for public pages; try again in 1 second",
            "An address may make 1 request a minute without a key, so send one; try again in 1 second",
            "A key may run or estimate 1 job a minute; try again in 1 second",
            "1 wrong key came from this address within a minute: check the key; try again in 1 second",
        ];
        assert_eq!(said(1, 1), of_one);
        let many = ["1 request", "1 job", "1 wrong key", "1 second"];
        let of_many = of_one.map(|one| {
            many.iter().fold(one.to_owned(), |text, one| text.replace(one, &one.replacen('1', "2", 1).add("s")))
        });
        assert_eq!(said(2, 2), of_many);
    }

    #[test]
    fn a_flood_of_addresses_does_not_grow_the_memory_without_end() {
        let rates = Rates::new(600);
        for number in 0..400_000 {
            rates.address(Counted::Stranger, address(number), at(0)).unwrap();
        }
        let kept = rates.addresses.shelves.iter().map(|shelf| {
            let shelf = shelf.lock().unwrap();
            shelf.younger.len() + shelf.older.len()
        });
        let kept: usize = kept.sum();
        assert!((LATELY..=SHELVES * LATELY * 2).contains(&kept), "{kept}");
    }

    #[test]
    fn who_is_counted_stays_counted_while_others_come() {
        let rates = Rates::new(600);
        let mut refused = 0;
        for number in 0..200_000 {
            rates.address(Counted::Stranger, address(number + 100), at(0)).unwrap();
            if number % 1000 == 0 {
                refused += usize::from(rates.address(Counted::WrongKey, address(1), at(0)).is_err());
            }
        }
        assert_eq!(refused, 190);
    }

    #[test]
    fn one_network_is_one_address() {
        let same = |one: &str, other: &str| one_address(one.parse().unwrap()) == one_address(other.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::ffff:2"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(one_address("::1".parse().unwrap()).is_loopback());
    }
}
