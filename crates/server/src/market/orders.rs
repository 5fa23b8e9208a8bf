//! The orders in which the board is read, and places in them: two sets, each a few words of memory a job.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::str::FromStr;

use clawrk_domain::{JobId, Rejection, Timestamp};
use clawrk_store::Place;

/// An order of the board.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// The newest first.
    #[default]
    Newest,
    /// The oldest first.
    Oldest,
    /// The highest price first, the newest of one price.
    Price,
}

/// A place in any order of the board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// What the job's sender pays.
    pub cents: u32,
    /// When it was posted.
    pub time: Timestamp,
    /// The job there.
    pub job: JobId,
}

/// The same, ordered by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Timed {
    time: Timestamp,
    job: JobId,
    cents: u32,
}

impl From<Spot> for Timed {
    fn from(Spot { cents, time, job }: Spot) -> Self {
        Self { time, job, cents }
    }
}

impl From<Timed> for Spot {
    fn from(Timed { time, job, cents }: Timed) -> Self {
        Self { cents, time, job }
    }
}

impl Sort {
    /// All of them, and their names.
    const ALL: [(Self, &str); 3] = [(Self::Newest, "newest"), (Self::Oldest, "oldest"), (Self::Price, "price")];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The cursor of a place in this order.
    pub fn cursor(self, spot: Spot) -> String {
        let place = Place { time: spot.time, job: spot.job };
        match self {
            Self::Price => format!("{}.{}.{place}", self.name(), spot.cents),
            _ => format!("{}.{place}", self.name()),
        }
    }

    /// The place of a cursor of this order.
    pub fn spot(self, cursor: &str) -> Result<Spot, Rejection> {
        let refuse = || Rejection::invalid("after", "must be a cursor from a Link header");
        let (name, place) = cursor.split_once('.').ok_or_else(refuse)?;
        let sort: Self = name.parse().map_err(|_| refuse())?;
        if sort != self {
            let problem = format!("is a cursor of the order {name}, and the sort is {}", self.name());
            return Err(Rejection::invalid("after", problem));
        }
        let (cents, place) = match sort {
            Self::Price => place.split_once('.').ok_or_else(refuse)?,
            _ => ("0", place),
        };
        let Place { time, job } = place.parse().map_err(|()| refuse())?;
        Ok(Spot { cents: cents.parse().map_err(|_| refuse())?, time, job })
    }

    /// Brings places into this order.
    pub(super) fn arrange(self, spots: &mut [Spot]) {
        spots.sort_unstable_by(|one, other| self.compare(*one, *other));
    }

    /// Whether a place is behind another one.
    pub(super) fn is_behind(self, spot: Spot, other: Spot) -> bool {
        self.compare(spot, other).is_gt()
    }

    fn compare(self, one: Spot, other: Spot) -> std::cmp::Ordering {
        let by_time = (one.time, one.job).cmp(&(other.time, other.job));
        match self {
            Self::Newest => by_time.reverse(),
            Self::Oldest => by_time,
            Self::Price => other.cmp(&one),
        }
    }
}

impl FromStr for Sort {
    type Err = Rejection;

    fn from_str(name: &str) -> Result<Self, Rejection> {
        let found = Self::ALL.into_iter().find(|(_, its)| *its == name);
        found.map(|(sort, _)| sort).ok_or_else(|| Rejection::invalid("sort", "must be newest, oldest or price"))
    }
}

/// The open jobs in each order.
#[derive(Debug, Default)]
pub(super) struct Orders {
    by_time: BTreeSet<Timed>,
    by_price: BTreeSet<Spot>,
}

impl Orders {
    pub(super) fn insert(&mut self, spot: Spot) {
        self.by_time.insert(spot.into());
        self.by_price.insert(spot);
    }

    pub(super) fn remove(&mut self, spot: Spot) {
        self.by_time.remove(&spot.into());
        self.by_price.remove(&spot);
    }

    /// The place of a job that was posted then, if it is open.
    pub(super) fn find(&self, time: Timestamp, job: JobId) -> Option<Spot> {
        let found = self.by_time.range(Timed { time, job, cents: 0 }..).next()?;
        ((found.time, found.job) == (time, job)).then(|| (*found).into())
    }

    /// The jobs in an order, from behind a place on. By price, none below the least.
    pub(super) fn walk(&self, sort: Sort, least: u32, after: Option<Spot>) -> Box<dyn Iterator<Item = Spot> + '_> {
        // No job is twice in the order of time, so what it costs tells which side of the place is meant.
        let edge = |cents| after.map_or(Bound::Unbounded, |spot| Bound::Excluded(Timed { cents, ..spot.into() }));
        match sort {
            Sort::Newest => {
                Box::new(self.by_time.range((Bound::Unbounded, edge(0))).rev().map(|timed| (*timed).into()))
            }
            Sort::Oldest => {
                Box::new(self.by_time.range((edge(u32::MAX), Bound::Unbounded)).map(|timed| (*timed).into()))
            }
            Sort::Price if after.is_some_and(|spot| spot.cents < least) => Box::new(std::iter::empty()),
            Sort::Price => {
                let before = after.map_or(Bound::Unbounded, Bound::Excluded);
                let dear = self.by_price.range((Bound::Unbounded, before)).rev();
                Box::new(dear.take_while(move |spot| spot.cents >= least).copied())
            }
        }
    }

    /// The jobs of that price and above, if they are not more than so many.
    pub(super) fn few(&self, least: u32, most: usize) -> Option<Vec<Spot>> {
        let dear: Vec<Spot> = self.walk(Sort::Price, least, None).take(most + 1).collect();
        (dear.len() <= most).then_some(dear)
    }
}
