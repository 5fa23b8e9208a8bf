//! What nodes on one database tell one another of their counts, so that limits hold over all of them.
//!
//! A few times a second a node tells of what was counted here, has grown and is worth telling, and adds what others
//! tell. What it tells comes back to it, too, behind all that was told before. A key or an address that has used a
//! third of its limit here, which others have not heard of, waits for that; it takes a fraction of a second. So
//!
//! - whoever asks one node has all of its limit there, and
//! - whoever asks `n` nodes at once, as fast as can be, has at most `1 + n / 3` of it: twice the limit on three nodes.
//!
//! A count is told once: whoever does not hear of it, counts without it. When what is told does not come back within
//! a second, because the database is away or busy, the node goes on alone and nobody waits, until something comes
//! back. The same goes for what finds no place among so many others that are counted at the same time.
//!
//! What is told are addresses, the public parts of keys, and numbers, as in `clawrk1 5f0c3c6a9d1e2b47 17
//! w/192.0.2.1/28333333/3 k/0123456789AB/28333334/30`: a node's name, the number of its round, and what was counted:
//! the thing, who, the minute and how many. Whatever else is heard is ignored.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clawrk_domain::{KeyId, Timestamp};
use clawrk_store::BROADCAST_BYTES;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::ledger::{News, Terms};
use super::{Counted, OF_A_KEY, OF_AN_ADDRESS, Rates, one_address};
use crate::error::causes;
use crate::{App, random};

/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(200);
/// For how long it is waited for that what was told comes back.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a node that is alone tries to be heard.
const AGAIN: Duration = Duration::from_secs(1);
/// What every text begins with; a node of another kind would have another word.
const KIND: &str = "clawrk1";

/// How this node stands with the others.
#[derive(Debug)]
pub(super) struct Nodes {
    /// Tells its own texts from those of others.
    name: String,
    /// Whether there may be others.
    is_shared: bool,
    /// Whether what it tells comes back.
    is_heard: AtomicBool,
    news: Notify,
    /// Its last round that came back.
    came_back: watch::Sender<u64>,
    /// Its last round that is over, in whatever way.
    over: watch::Sender<u64>,
}

impl Nodes {
    pub(super) fn new(is_shared: bool) -> Self {
        Self {
            name: hex::encode(random::bytes::<8>()),
            is_shared,
            is_heard: AtomicBool::new(false),
            news: Notify::new(),
            came_back: watch::Sender::new(0),
            over: watch::Sender::new(0),
        }
    }

    pub(super) fn terms(&self, what: Counted, limit: u32) -> Terms {
        Terms {
            limit,
            worth_telling: if self.is_shared { what.worth_telling(limit) } else { u32::MAX },
            ahead: if self.is_heard.load(Ordering::Relaxed) { (limit / 3).max(1) } else { u32::MAX },
        }
    }

    /// There is something to tell.
    pub(super) fn has_news(&self) {
        self.news.notify_one();
    }

    pub(super) fn rounds(&self) -> watch::Receiver<u64> {
        self.over.subscribe()
    }

    /// Waits until a round is over, or it is clear that none will be.
    pub(super) async fn wait(&self, rounds: &mut watch::Receiver<u64>) {
        if timeout(PATIENCE, rounds.changed()).await.is_err() {
            self.is_heard.store(false, Ordering::Relaxed);
        }
    }
}

impl Rates {
    /// A node has told something, perhaps this one; or anybody else who may connect to the database.
    pub(crate) fn hear(&self, text: &str, now: Timestamp) {
        let Some((name, round, counts)) = parts(text) else { return };
        if name == self.nodes.name {
            self.nodes.came_back.send_replace(round);
            return;
        }
        for (what, who, minute, count) in counts.filter_map(count_of) {
            let (place, limit) = (what.place(), self.limit(what).unwrap_or(0));
            if OF_A_KEY.contains(&what)
                && let Ok(who) = who.parse()
            {
                self.keys.hear(&News { who, place, minute, count }, limit, now);
            } else if OF_AN_ADDRESS.contains(&what)
                && let Ok(who) = who.parse::<IpAddr>()
            {
                self.addresses.hear(&News { who: one_address(who), place, minute, count }, limit, now);
            }
        }
    }

    /// What is to be told now; it is on its way until it is [`Self::settle`]d.
    fn take_news(&self, now: Timestamp) -> Told {
        Told { keys: self.keys.take_news(now), addresses: self.addresses.take_news(now) }
    }

    fn settle(&self, told: &Told) {
        self.keys.settle(&told.keys);
        self.addresses.settle(&told.addresses);
    }

    /// The news in as few texts as they fit in; one without any when there are none.
    fn texts(&self, round: u64, told: &Told) -> Vec<String> {
        let counts = told.keys.iter().map(|news| word(OF_A_KEY[news.place], news));
        let counts = counts.chain(told.addresses.iter().map(|news| word(OF_AN_ADDRESS[news.place], news)));
        let head = format!("{KIND} {} {round}", self.nodes.name);
        let mut texts = vec![head.clone()];
        for count in counts {
            let last = texts.last_mut().expect("there is one from the start");
            if last.len() + 1 + count.len() <= BROADCAST_BYTES {
                last.push(' ');
                last.push_str(&count);
            } else {
                texts.push(format!("{head} {count}"));
            }
        }
        texts
    }
}

/// What is told in one round.
struct Told {
    keys: Vec<News<KeyId>>,
    addresses: Vec<News<IpAddr>>,
}

/// Tells the other nodes what is counted here, for as long as the server runs.
pub(crate) async fn tell(app: App) {
    let nodes = &app.rates.nodes;
    if !nodes.is_shared {
        return;
    }
    // The first one says nothing but that somebody is there.
    for round in 1.. {
        let was_heard = nodes.is_heard.load(Ordering::Relaxed);
        let is_heard = tell_once(&app, round).await;
        if was_heard && !is_heard {
            tracing::warn!("other nodes do not hear what is counted here: each keeps to the limits by itself for now");
        }
        nodes.is_heard.store(is_heard, Ordering::Relaxed);
        nodes.over.send_replace(round);
        sleep(PAUSE).await;
        let news = nodes.news.notified();
        if is_heard {
            news.await;
        } else {
            // Whether there is news or not: it may be heard again.
            let _ = timeout(AGAIN, news).await;
        }
    }
}

/// One round; whether it came back.
async fn tell_once(app: &App, round: u64) -> bool {
    let news = app.rates.take_news(app.store.clock().now());
    let told = app.store.broadcast(app.rates.texts(round, &news)).await;
    let is_heard = told.is_ok() && came_back(&app.rates.nodes, round).await;
    if let Err(error) = told {
        tracing::debug!(cause = causes(&error), "nothing can be told to other nodes");
    }
    // Even if nobody heard of it: told again, it might be counted twice.
    app.rates.settle(&news);
    is_heard
}

async fn came_back(nodes: &Nodes, round: u64) -> bool {
    let mut came_back = nodes.came_back.subscribe();
    timeout(PATIENCE, came_back.wait_for(|last| *last == round)).await.is_ok_and(|heard| heard.is_ok())
}

fn word<K: std::fmt::Display>(what: Counted, news: &News<K>) -> String {
    format!("{}/{}/{}/{}", what.letter(), news.who, news.minute, news.count)
}

/// The name of the node that told it, the number of its round, and what it counted.
fn parts(text: &str) -> Option<(&str, u64, impl Iterator<Item = &str>)> {
    // PostgreSQL sees to it, and nothing here should rest on that.
    if text.len() > BROADCAST_BYTES {
        return None;
    }
    let mut words = text.split(' ');
    if words.next()? != KIND {
        return None;
    }
    Some((words.next()?, words.next()?.parse().ok()?, words))
}

fn count_of(word: &str) -> Option<(Counted, &str, i32, u32)> {
    let mut parts = word.split('/');
    let what = parts.next()?;
    let what = OF_A_KEY.into_iter().chain(OF_AN_ADDRESS).find(|each| each.letter() == what)?;
    let count = (what, parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    if parts.next().is_none() { Some(count) } else { None }
}

#[cfg(test)]
mod tests {
    use clawrk_domain::Ids;
    use futures_util::FutureExt;

    use super::*;
    use crate::rates::Standing;
    use crate::rates::ledger::{LATELY, SHELVES};

    fn node() -> Rates {
        Rates::new(600, true)
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000).plus_seconds(seconds)
    }

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    fn key(number: u128) -> KeyId {
        Ids::new(number, at(0)).key()
    }

    /// How many are left after one more; none when it is refused.
    fn wrong_key(rates: &Rates, who: IpAddr) -> Option<u32> {
        let counted = rates.address(Counted::WrongKey, who, at(0)).now_or_never().expect("nobody has to wait");
        counted.ok().flatten().map(|standing| standing.remaining)
    }

    fn with_key(rates: &Rates, who: KeyId, is_run: bool) -> Standing {
        rates.key(who, is_run, at(0)).now_or_never().expect("nobody has to wait").unwrap().unwrap()
    }

    /// One round of the first node, which the others hear, and itself as well; the texts.
    fn round(from: &Rates, to: &[&Rates]) -> Vec<String> {
        let told = from.take_news(at(0));
        let texts = from.texts(1, &told);
        to.iter().chain([&from]).for_each(|rates| texts.iter().for_each(|text| rates.hear(text, at(0))));
        from.settle(&told);
        texts
    }

    #[test]
    fn nodes_add_what_others_count_and_leave_out_their_own() {
        let (here, there, third) = (node(), node(), node());
        for left in (6..10).rev() {
            assert_eq!(wrong_key(&here, address(1)), Some(left));
        }
        for _ in 0..30 {
            with_key(&here, key(1), true);
        }
        let texts = round(&here, &[&there, &third]);
        assert_eq!(texts.len(), 1);
        assert!(!texts[0].contains("clawrk_") && texts[0].starts_with("clawrk1 "), "{texts:?}");
        assert_eq!(wrong_key(&here, address(1)), Some(5), "its own is not counted again");
        assert_eq!(wrong_key(&there, address(1)), Some(5));
        assert_eq!(with_key(&there, key(1), false).remaining, 569);
        assert!(there.key(key(1), true, at(0)).now_or_never().unwrap().is_err(), "runs are told of, too");
        assert_eq!(with_key(&there, key(2), false).remaining, 599, "another key");
        // Whatever the others tell, what was heard of them is not told on.
        round(&there, &[&here, &third]);
        assert_eq!(wrong_key(&here, address(1)), Some(3));
        assert_eq!(wrong_key(&third, address(1)), Some(4));
    }

    #[test]
    fn of_requests_that_are_few_nothing_is_told_and_of_wrong_keys_everything() {
        let here = node();
        let counts = |texts: Vec<String>| texts.iter().map(|text| text.split(' ').count() - 3).sum::<usize>();
        for _ in 0..29 {
            with_key(&here, key(1), false);
        }
        assert_eq!(counts(round(&here, &[])), 0);
        with_key(&here, key(1), false);
        assert_eq!(counts(round(&here, &[])), 1);
        wrong_key(&here, address(1));
        assert_eq!(counts(round(&here, &[])), 1);
        assert_eq!(counts(round(&here, &[])), 0);
        let alone = Rates::new(600, false);
        assert!((0..10).all(|_| wrong_key(&alone, address(1)).is_some()));
        assert_eq!(counts(round(&alone, &[])), 0, "on SQLite nobody is told anything");
    }

    #[test]
    fn many_counts_go_in_texts_that_are_not_too_long() {
        let (here, there) = (node(), node());
        let networks: Vec<IpAddr> = (0..400).map(|n| format!("2001:db8:{n:x}:ffff::1").parse().unwrap()).collect();
        assert!(networks.iter().all(|who| wrong_key(&here, *who).is_some()));
        let texts = round(&here, &[&there]);
        assert!(texts.len() > 1 && texts.iter().all(|text| text.len() <= BROADCAST_BYTES), "{}", texts.len());
        let told = networks.iter().filter(|who| wrong_key(&there, **who) == Some(8)).count();
        let counts: usize = texts.iter().map(|text| text.split(' ').count() - 3).sum();
        assert_eq!(told, counts);
        assert!(told > 300, "{told}");
    }

    #[test]
    fn what_is_no_count_is_ignored() {
        let there = node();
        let here = node();
        wrong_key(&here, address(1));
        let good = round(&here, &[]).remove(0);
        let (head, count) = good.rsplit_once(' ').unwrap();
        let minute = count.split('/').nth(2).unwrap();
        let name = &there.nodes.name;
        let mut texts = vec![
            String::new(),
            " ".repeat(100),
            "clawrk1".to_owned(),
            good.replace("clawrk1", "clawrk2"),
            format!("clawrk1 other {count}"),
            format!("clawrk1 other -1 {count}"),
            format!("clawrk1 {name} 18446744073709551616"),
            format!("{good} {}", "x".repeat(BROADCAST_BYTES)),
        ];
        let long = format!("w/{}/{minute}/5", "0.".repeat(1000));
        for count in [
            "",
            "/",
            "////",
            "w",
            "w/0.0.0.1",
            &long,
            &format!("w/0.0.0.1/{minute}"),
            &format!("w/0.0.0.1/{minute}/"),
            &format!("w/0.0.0.1/{minute}/-1"),
            &format!("w/0.0.0.1/{minute}/4294967296"),
            &format!("w/0.0.0.1/{minute}/5/5"),
            &format!("w/0.0.0.1/{minute}0000/5"),
            &format!("w/0.0.0.1/-{minute}/5"),
            &format!("w/0.0.0.1\0/{minute}/5"),
            &format!("w/0.0.0.1:80/{minute}/5"),
            &format!("x/0.0.0.1/{minute}/5"),
            &format!("wk/0.0.0.1/{minute}/5"),
            &format!("k/0.0.0.1/{minute}/5"),
            &format!("w/0123456789AB/{minute}/5"),
        ] {
            texts.push(format!("{head} {count}"));
        }
        texts.iter().for_each(|text| there.hear(text, at(0)));
        assert_eq!((there.addresses.len(), there.keys.len()), (0, 0), "nothing of it is kept");
        assert_eq!(wrong_key(&there, address(1)), Some(9));
        // A good one beside it is heard all the same, and a huge one is a full minute and no more.
        there.hear(&format!("{head} nonsense w/0.0.0.1/{minute}/2"), at(0));
        assert_eq!(wrong_key(&there, address(1)), Some(6));
        there.hear(&format!("{head} w/0.0.0.1/{minute}/4294967295"), at(0));
        assert_eq!(wrong_key(&there, address(1)), None);
    }

    #[test]
    fn whatever_is_told_takes_up_bounded_memory() {
        let there = node();
        let minute = at(0).micros() / 60_000_000;
        for text in 0..2000_u32 {
            let counts = (0..250).map(|n| format!(" w/{}/{minute}/1", address(text * 250 + n)));
            there.hear(&format!("clawrk1 other {text}{}", counts.collect::<String>()), at(0));
        }
        let kept = there.addresses.len();
        assert!(kept <= SHELVES * LATELY * 2, "{kept}");
        assert!(kept > 65_536, "{kept}");
    }

    #[tokio::test]
    async fn nobody_waits_long_for_others_who_do_not_hear() {
        let here = node();
        here.nodes.is_heard.store(true, Ordering::Relaxed);
        let mut taken = 0;
        while here.address(Counted::WrongKey, address(1), at(0)).now_or_never().is_some_and(|counted| counted.is_ok()) {
            taken += 1;
        }
        assert_eq!(taken, 3);
        // Nobody tells anything here.
        let standing = here.address(Counted::WrongKey, address(1), at(0)).await.unwrap().unwrap();
        assert_eq!(standing.remaining, 6);
        for left in (0..6).rev() {
            assert_eq!(wrong_key(&here, address(1)), Some(left));
        }
        assert_eq!(wrong_key(&here, address(1)), None);
    }

    #[tokio::test]
    async fn who_is_ahead_goes_on_when_a_round_is_over() {
        let here = node();
        here.nodes.is_heard.store(true, Ordering::Relaxed);
        let ask = || here.address(Counted::WrongKey, address(1), at(0));
        for _ in 0..3 {
            ask().await.unwrap();
        }
        let over = async {
            tokio::task::yield_now().await;
            round(&here, &[]);
            here.nodes.over.send_replace(1);
        };
        let (counted, ()) = tokio::join!(ask(), over);
        assert_eq!(counted.unwrap().unwrap().remaining, 6);
        assert!(here.nodes.is_heard.load(Ordering::Relaxed));
    }
}
