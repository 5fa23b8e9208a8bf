//! How many requests a minute may come with one key, or from one address without one.
//!
//! Every limit is in proportion to `rate_limit_per_minute`. What is counted is kept in this process's memory, of
//! bounded size, minute by minute: `ledger.rs` says how. Nodes on one database tell one another of it, so that limits
//! hold over all of them: `nodes.rs` says how nearly. Which address a request comes from is what its connection says;
//! headers that anybody can write are not asked.

mod ledger;
pub(crate) mod nodes;

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use clawrk_domain::{KeyId, Timestamp};

use crate::Error;
use ledger::{Counting, Ledger};
use nodes::Nodes;

/// The setting's default, which the bases below belong to.
const BASE: u64 = 600;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// A request with a key.
    Key,
    /// A job run, or a verification outside of any, with a key; it may cost an LLM's answer.
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

    /// Its name among nodes.
    const fn letter(self) -> &'static str {
        match self {
            Self::Key => "k",
            Self::Run => "r",
            Self::Page => "p",
            Self::Stranger => "s",
            Self::WrongKey => "w",
        }
    }

    /// How many of so many are worth telling other nodes of.
    const fn worth_telling(self, limit: u32) -> u32 {
        match self {
            Self::WrongKey => 1,
            _ if limit < 20 => 1,
            _ => limit / 20,
        }
    }

    /// The refusal, for people.
    fn refusal(self, limit: u32, seconds: u32) -> String {
        let count = |many: u32, what: &str| format!("{many} {what}{}", if many == 1 { "" } else { "s" });
        let many = match self {
            Self::Key => format!("A key may make {} a minute", count(limit, "request")),
            Self::Run => format!("A key may run, estimate or verify {} a minute", count(limit, "time")),
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

/// What is counted of a key, and of an address, each at its place.
const OF_A_KEY: [Counted; 2] = [Counted::Key, Counted::Run];
const OF_AN_ADDRESS: [Counted; 3] = [Counted::Page, Counted::Stranger, Counted::WrongKey];

/// The limits, and who has used how much of them.
#[derive(Debug)]
pub(crate) struct Rates {
    per_minute: u64,
    keys: Ledger<KeyId, { OF_A_KEY.len() }>,
    addresses: Ledger<IpAddr, { OF_AN_ADDRESS.len() }>,
    nodes: Nodes,
    /// Small numbers as headers have them: made once, since every answer has three.
    numbers: Box<[HeaderValue]>,
}

impl Rates {
    /// The limits in proportion to so many requests a minute with a key, 0 for none; on a node that may not be alone on
    /// its database, or on one that is.
    pub(crate) fn new(requests_per_minute: u32, is_shared: bool) -> Self {
        Self {
            per_minute: requests_per_minute.into(),
            keys: Ledger::new(|key| crc32fast::hash(key.as_str().as_bytes())),
            addresses: Ledger::new(|address| match address {
                IpAddr::V4(address) => crc32fast::hash(&address.octets()),
                IpAddr::V6(address) => crc32fast::hash(&address.octets()),
            }),
            nodes: Nodes::new(is_shared && requests_per_minute > 0),
            numbers: (0..=1000_u32).map(HeaderValue::from).collect(),
        }
    }

    /// Counts a request with a key that counts, and a run of a job besides.
    pub(crate) async fn key(&self, key: KeyId, is_run: bool, now: Timestamp) -> Result<Option<Standing>, Error> {
        let standing = self.count(&self.keys, key, Counted::Key, now).await?;
        if !is_run {
            return Ok(standing);
        }
        let runs = self.count(&self.keys, key, Counted::Run, now).await?;
        Ok(standing.zip(runs).map(|(standing, runs)| standing.tighter(runs)))
    }

    /// Counts something of an address.
    pub(crate) async fn address(&self, what: Counted, peer: IpAddr, now: Timestamp) -> Result<Option<Standing>, Error> {
        self.count(&self.addresses, one_address(peer), what, now).await
    }

    /// Counts one; when this node is too far ahead of what others know, after they have heard of it.
    async fn count<K: Copy + Eq + Hash, const N: usize>(
        &self,
        ledger: &Ledger<K, N>,
        who: K,
        what: Counted,
        now: Timestamp,
    ) -> Result<Option<Standing>, Error> {
        let Some(limit) = self.limit(what) else { return Ok(None) };
        let mut rounds = None;
        loop {
            match ledger.count(who, what.place(), &self.nodes.terms(what, limit), now) {
                Counting::Counted { standing, is_news } => {
                    if is_news {
                        self.nodes.has_news();
                    }
                    return Ok(Some(standing));
                }
                Counting::Full(standing) => {
                    let seconds = standing.reset_seconds;
                    return Err(Error::rate_limited(what.refusal(limit, seconds), seconds, standing));
                }
                // The round to wait for may have ended before it could be waited for: hence another look.
                Counting::Ahead => match &mut rounds {
                    None => rounds = Some(self.nodes.rounds()),
                    Some(rounds) => self.nodes.wait(rounds).await,
                },
            }
        }
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

#[cfg(test)]
mod tests {
    use std::ops::Add;

    use futures_util::FutureExt;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000).plus_seconds(seconds)
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    fn alone(requests_per_minute: u32) -> Rates {
        Rates::new(requests_per_minute, false)
    }

    /// Counts at once: nobody has to wait.
    fn count(rates: &Rates, what: Counted, who: IpAddr, now: Timestamp) -> Result<Option<Standing>, Error> {
        rates.address(what, who, now).now_or_never().unwrap()
    }

    #[test]
    fn a_minute_has_so_many_and_the_next_one_as_many_again() {
        let rates = alone(600);
        let wrong = |seconds| count(&rates, Counted::WrongKey, address(1), at(seconds));
        let reset = i64::from(wrong(0).unwrap().unwrap().reset_seconds);
        for remaining in (0..9).rev() {
            let standing = wrong(0).unwrap().unwrap();
            assert_eq!(standing, Standing { limit: 10, remaining, reset_seconds: reset as u32 });
        }
        assert!(wrong(reset - 1).is_err());
        assert!(count(&rates, Counted::WrongKey, address(2), at(reset - 1)).is_ok(), "another address");
        assert!(count(&rates, Counted::Page, address(1), at(reset - 1)).is_ok(), "another thing counted");
        assert_eq!(wrong(reset).unwrap(), Some(Standing { limit: 10, remaining: 9, reset_seconds: 60 }));
        assert!(wrong(reset - 1000).is_ok(), "a clock that was set back locks nobody out");
    }

    #[test]
    fn the_limits_are_in_proportion_and_nothing_is_counted_without_them() {
        let limits = |setting| {
            let rates = alone(setting);
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
            "A key may run, estimate or verify 1 time a minute; try again in 1 second",
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
        let rates = alone(600);
        for number in 0..400_000 {
            count(&rates, Counted::Stranger, address(number), at(0)).unwrap();
        }
        let kept = rates.addresses.len();
        assert!((ledger::LATELY..=ledger::SHELVES * ledger::LATELY * 2).contains(&kept), "{kept}");
    }

    #[test]
    fn who_is_counted_stays_counted_while_others_come() {
        let rates = alone(600);
        let mut refused = 0;
        for number in 0..200_000 {
            count(&rates, Counted::Stranger, address(number + 100), at(0)).unwrap();
            if number % 1000 == 0 {
                refused += usize::from(count(&rates, Counted::WrongKey, address(1), at(0)).is_err());
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
