//! What has come to the board and left it lately, numbered, for those who follow it.
//!
//! The news are kept up to so many and so many bytes, and each once, however many follow. A follower remembers a number
//! and asks for what came after it; when that is no longer kept, or the number is not this market's, it is told so and
//! begins anew. So followers who are slow, or away, cost nothing.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use clawrk_domain::JobId;
use clawrk_domain::matching::Marks;
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::View;
use crate::random;

/// A job came or left.
#[derive(Debug)]
pub struct Event {
    /// Its number: 1 more than that of the one before.
    pub number: u64,
    /// Which job.
    pub job: JobId,
    /// The job as the board shows it; none when it left.
    pub body: Option<Arc<RawValue>>,
    cents: u32,
    marks: Marks,
}

impl Event {
    /// That a job with these terms came, or left; its number is given when it is added.
    pub(super) fn new(job: JobId, cents: u32, marks: Marks, body: Option<Arc<RawValue>>) -> Self {
        Self { number: 0, job, body, cents, marks }
    }

    /// Whether it is about a job that the view shows.
    pub fn concerns(&self, view: &View) -> bool {
        self.cents >= view.least_cents && view.search.finds(&self.marks)
    }

    fn bytes(&self) -> usize {
        let body = self.body.as_ref().map_or(0, |body| body.get().len());
        size_of::<Self>() + self.marks.bytes() + body
    }
}

/// What came after a number, and the number to ask with next.
pub type After = (Vec<Arc<Event>>, u64);

/// The news of one market.
#[derive(Debug)]
pub struct News {
    /// Tells this market's numbers from another's: no other market has it, nor this one after a restart.
    epoch: String,
    kept: RwLock<Kept>,
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// How many there have been: the number of the newest.
    count: u64,
}

impl Default for News {
    fn default() -> Self {
        Self { epoch: hex::encode(random::unique()), kept: RwLock::default(), last: watch::Sender::new(0) }
    }
}

impl News {
    /// How many are kept.
    pub const MOST: usize = 8192;
    /// Bytes, at most.
    const MOST_BYTES: usize = 8 << 20;
    /// How many are looked at together.
    const LOOK: usize = 256;
    /// Bytes of bodies that are handed out together, unless one alone has more.
    const TOGETHER_BYTES: usize = 64 << 10;

    /// Adds one; whoever follows is told by [`News::tell`].
    pub(super) fn add(&self, event: Event) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += event.bytes();
        kept.count += 1;
        let number = kept.count;
        kept.events.push_back(Arc::new(Event { number, ..event }));
        while kept.events.len() > Self::MOST || kept.bytes > Self::MOST_BYTES {
            let Some(oldest) = kept.events.pop_front() else { break };
            kept.bytes -= oldest.bytes();
        }
    }

    /// Tells those who follow, if there are more than they were told of.
    pub(super) fn tell(&self) {
        self.last.send_if_modified(|last| {
            let count = self.count();
            std::mem::replace(last, count) != count
        });
    }

    /// The number of the newest.
    pub fn count(&self) -> u64 {
        self.kept.read().unwrap_or_else(PoisonError::into_inner).count
    }

    /// Tells of the newest number whenever there are more.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// A number as it is handed out.
    pub fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.epoch)
    }

    /// The number that was handed out as this; none if it was not, or by another market.
    pub fn number(&self, id: &str) -> Option<u64> {
        let (epoch, number) = id.split_once('-')?;
        let number = number.parse().ok().filter(|number| *number <= self.count())?;
        (epoch == self.epoch).then_some(number)
    }

    /// Some of what came after a number and concerns a view; none when not all of it is kept any more.
    pub fn after(&self, number: u64, view: &View) -> Option<After> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let first = kept.count - kept.events.len() as u64;
        let skipped = usize::try_from(number.checked_sub(first)?).ok()?;
        if skipped > kept.events.len() {
            return None;
        }
        let (mut number, mut events, mut bytes) = (number, Vec::new(), 0);
        for event in kept.events.iter().skip(skipped).take(Self::LOOK) {
            if event.concerns(view) {
                bytes += event.body.as_ref().map_or(0, |body| body.get().len());
                if bytes > Self::TOGETHER_BYTES && !events.is_empty() {
                    break;
                }
                events.push(Arc::clone(event));
            }
            number = event.number;
        }
        Some((events, number))
    }
}

#[cfg(test)]
mod tests {
    use clawrk_domain::matching::{Reading, Search, Text};
    use serde_json::value::to_raw_value;

    use super::*;

    fn event(title: &str, cents: u32, bytes: usize) -> Event {
        let reading = Reading::of(&Text { title, description: None, requirements: None });
        let body = to_raw_value(&"x".repeat(bytes)).unwrap();
        Event::new("000000000000".parse().unwrap(), cents, Marks::of(&reading), Some(body.into()))
    }

    fn numbers(after: &After) -> Vec<u64> {
        after.0.iter().map(|event| event.number).collect()
    }

    #[test]
    fn what_came_after_a_number_is_told_in_order_or_not_at_all() {
        let (news, all) = (News::default(), View::default());
        assert_eq!(news.after(0, &all).map(|after| after.1), Some(0));
        for _ in 0..News::MOST + 10 {
            news.add(event("count", 1, 1));
        }
        let most = News::MOST as u64;
        assert!(news.after(9, &all).is_none(), "the tenth is forgotten");
        assert!(news.after(most + 11, &all).is_none(), "there has been no such number");
        assert_eq!(news.after(most + 10, &all).map(|after| after.1), Some(most + 10));
        let (mut at, mut told) = (10, Vec::new());
        while let Some(after) = news.after(at, &all).filter(|after| after.1 > at) {
            told.extend(numbers(&after));
            at = after.1;
        }
        assert_eq!(told, (11..=most + 10).collect::<Vec<_>>());
    }

    #[test]
    fn news_of_many_bytes_are_kept_for_less_long_and_handed_out_one_by_one() {
        let (news, all) = (News::default(), View::default());
        for _ in 0..200 {
            news.add(event("large", 1, 100_000));
        }
        assert!(news.kept.read().unwrap().bytes <= News::MOST_BYTES);
        assert!(news.after(100, &all).is_none());
        assert_eq!(numbers(&news.after(150, &all).unwrap()), [151]);
        let kept = news.kept.read().unwrap();
        assert_eq!(kept.bytes, kept.events.iter().map(|event| event.bytes()).sum::<usize>());
    }

    #[test]
    fn a_view_is_told_of_its_jobs_alone_and_how_far_it_has_come() {
        let news = News::default();
        for (title, cents) in [("sort numbers", 5), ("sort", 9), ("Numbers, sorted", 9)] {
            news.add(event(title, cents, 1));
        }
        for (words, least_cents, told) in
            [("", 0, vec![1, 2, 3]), ("sorting", 9, vec![2, 3]), ("number sort", 0, vec![1, 3]), ("x", 0, vec![])]
        {
            let after = news.after(0, &View { search: Search::of(words), least_cents }).unwrap();
            assert_eq!((numbers(&after), after.1), (told, 3), "{words}");
        }
    }

    #[test]
    fn a_number_is_known_again_and_nobody_elses() {
        let (news, other) = (News::default(), News::default());
        news.add(event("x", 1, 1));
        assert_eq!(news.number(&news.id(1)), Some(1));
        assert_eq!(news.number(&news.id(0)), Some(0));
        let epoch = news.id(0)[..24].to_owned();
        for id in
            [other.id(0), news.id(2), epoch.clone(), format!("{epoch}-"), format!("{epoch}--1"), format!("{epoch}-1-1")]
        {
            assert_eq!(news.number(&id), None, "{id}");
        }
        assert_eq!(news.number(""), None);
    }

    #[test]
    fn followers_are_told_once_of_what_is_new_and_of_nothing_else() {
        let news = News::default();
        let mut follow = news.watch();
        news.tell();
        assert!(!follow.has_changed().unwrap());
        news.add(event("x", 1, 1));
        news.tell();
        assert_eq!(*follow.borrow_and_update(), 1);
    }
}
