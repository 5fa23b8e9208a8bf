//! Pages of the board, read without keeping anybody waiting: a few jobs at each look, and so many for a page in all.
//!
//! | Step  | What is looked at                                                                                  |
//! |-------|----------------------------------------------------------------------------------------------------|
//! | begin | the first jobs in the order, which fill the page when nothing rare is asked for                       |
//! | few   | else all jobs with the rarest word, or of the least price, when they are few: they are the whole answer |
//! | go on | else more of the order, up to so many jobs; a page that is not full then says where to go on          |

use clawrk_domain::matching::{Finder, Search};
use clawrk_domain::{JobId, Timestamp};

use super::Market;
use super::orders::{Sort, Spot};

/// How much is looked at.
#[derive(Debug)]
pub(super) struct Bounds {
    /// Jobs, while the market is locked.
    look: usize,
    /// Looks before the few are asked for.
    first_looks: usize,
    /// Looks for one page.
    most_looks: usize,
    /// So many jobs with a word, or of a price, are few.
    few: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { look: 1000, first_looks: 4, most_looks: 20, few: 10_000 }
    }
}

/// What somebody wants to see of the board.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Words that a job must have.
    pub search: Search,
    /// What it must cost.
    pub least_cents: u32,
}

/// A part of the board.
#[derive(Debug)]
pub struct Page {
    /// The jobs, in their order.
    pub spots: Vec<Spot>,
    /// Where to go on, if there may be more.
    pub next: Option<Spot>,
    /// The number of the newest news when it was begun: what came after may be in it, or not.
    pub news: u64,
}

/// What one look found.
struct Glance {
    found: Vec<Spot>,
    /// Where it ended, if not at the end.
    last: Option<Spot>,
    news: u64,
}

impl View {
    fn shows(&self, spot: Spot, finder: &Finder<'_, JobId>) -> bool {
        spot.cents >= self.least_cents && (self.search.is_empty() || finder.finds(&spot.job))
    }
}

impl Market {
    /// The first `limit` jobs of a view in an order, from behind a place on; fewer when they are rare among many.
    pub async fn page(&self, view: &View, sort: Sort, after: Option<Spot>, limit: usize) -> Page {
        let (mut spots, mut at, mut news) = (Vec::new(), after, None);
        for look in 0..self.bounds.most_looks {
            if look == self.bounds.first_looks
                && let Some(few) = self.few(view)
            {
                (spots, at) = (self.chosen(view, sort, after, &few).await, None);
                break;
            }
            let glance = self.glance(view, sort, at, limit + 1 - spots.len());
            news.get_or_insert(glance.news);
            spots.extend(glance.found);
            at = glance.last;
            if at.is_none() || spots.len() > limit {
                break;
            }
            // Others have their turn.
            tokio::task::yield_now().await;
        }
        if spots.len() > limit {
            spots.truncate(limit);
            at = spots.last().copied();
        }
        Page { spots, next: at, news: news.unwrap_or_default() }
    }

    fn glance(&self, view: &View, sort: Sort, after: Option<Spot>, wanted: usize) -> Glance {
        let open = self.read();
        let finder = open.index.finder(&view.search);
        let (news, mut found, mut last) = (self.news.count(), Vec::new(), None);
        for (looks, spot) in open.orders.walk(sort, view.least_cents, after).enumerate() {
            if looks == self.bounds.look || found.len() == wanted {
                return Glance { found, last, news };
            }
            last = Some(spot);
            if view.shows(spot, &finder) {
                found.push(spot);
            }
        }
        Glance { found, last: None, news }
    }

    /// Jobs among which are all that the view shows, where they are few.
    fn few(&self, view: &View) -> Option<Vec<(Timestamp, JobId)>> {
        let open = self.read();
        if let Some(few) = open.index.finder(&view.search).few(self.bounds.few) {
            return Some(few.into_iter().map(|(job, micros)| (Timestamp::from_micros(micros), job)).collect());
        }
        let few = open.orders.few(view.least_cents, self.bounds.few)?;
        Some(few.into_iter().map(|spot| (spot.time, spot.job)).collect())
    }

    /// Those of a few jobs that the view shows and that stand behind a place, in an order.
    async fn chosen(&self, view: &View, sort: Sort, after: Option<Spot>, few: &[(Timestamp, JobId)]) -> Vec<Spot> {
        let mut spots = Vec::new();
        for few in few.chunks(self.bounds.look) {
            self.choose(view, few, |spot| {
                if after.is_none_or(|after| sort.is_behind(spot, after)) {
                    spots.push(spot);
                }
            });
            tokio::task::yield_now().await;
        }
        sort.arrange(&mut spots);
        spots
    }

    fn choose(&self, view: &View, few: &[(Timestamp, JobId)], mut take: impl FnMut(Spot)) {
        let open = self.read();
        let finder = open.index.finder(&view.search);
        let found = few.iter().filter_map(|(time, job)| open.orders.find(*time, *job));
        found.filter(|spot| view.shows(*spot, &finder)).for_each(&mut take);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clawrk_domain::{Brief, Cents, Job, State, UserId};
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn job(number: usize, words: &str, cents: i64) -> Arc<Job> {
        let (time, text) = (Timestamp::from_micros(number as i64 / 3), words.to_owned());
        let brief = Brief {
            checks: Vec::new(),
            attachments: Vec::new(),
            prompt: text.clone(),
            title: text,
            description: None,
            requirements: None,
            criteria: Vec::new(),
            sealed_env: None,
        };
        Arc::new(Job {
            id: format!("{number:012}").parse().unwrap(),
            sender: UserId(uuid::Uuid::nil()),
            brief: Arc::new(brief),
            price: Cents(cents),
            fee: Cents(0),
            time_limit_seconds: 60,
            state: State::Queued,
            attempt_count: 0,
            cancellation_requested: false,
            offers: Vec::new(),
            version: 1,
            created_at: time,
            updated_at: time,
        })
    }

    /// Nobody else is there, so nothing waits.
    fn page(market: &Market, view: &View, sort: Sort, after: Option<Spot>, limit: usize) -> Page {
        let mut page = Box::pin(market.page(view, sort, after, limit));
        loop {
            if let Some(page) = page.as_mut().now_or_never() {
                return page;
            }
        }
    }

    fn jobs() -> impl Strategy<Value = Vec<(u8, i64)>> {
        prop::collection::vec((0_u8..8, 1_i64..6), 0..60)
    }

    proptest! {
        /// However little is looked at for a page, and however the page is found.
        #[test]
        fn all_pages_together_are_what_the_view_shows_in_its_order(
            jobs in jobs(), asked in 0_u8..8, least in 0_u32..6, limit in 1_usize..9, few in 0_usize..20,
            order in 0_usize..3,
        ) {
            let market = Market { bounds: Bounds { look: 4, first_looks: 2, most_looks: 3, few }, ..Market::default() };
            let words = |set: u8| -> String {
                let words = ["sort", "translate", "scrape"].iter().enumerate();
                words.filter(|(at, _)| set & (1 << at) != 0).map(|(_, word)| format!("{word} ")).collect()
            };
            for (number, (set, cents)) in jobs.iter().enumerate() {
                market.changed(&[job(number, &words(*set), *cents)]);
            }
            let sort = [Sort::Newest, Sort::Oldest, Sort::Price][order];
            let mut expected: Vec<_> = jobs.iter().enumerate().collect();
            expected.retain(|(_, (set, cents))| set & asked == asked && *cents >= i64::from(least));
            match sort {
                Sort::Newest => expected.reverse(),
                Sort::Oldest => {}
                Sort::Price => expected.sort_by_key(|(number, (_, cents))| std::cmp::Reverse((*cents, *number))),
            }
            let expected: Vec<String> = expected.into_iter().map(|(number, _)| format!("{number:012}")).collect();

            let view = View { search: Search::of(&words(asked)), least_cents: least };
            let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
            loop {
                let page = page(&market, &view, sort, after, limit);
                prop_assert!(page.spots.len() <= limit);
                found.extend(page.spots.iter().map(|spot| spot.job.to_string()));
                pages += 1;
                let most = 1 + jobs.len() / 4 + expected.len() / limit;
                prop_assert!(pages <= most, "each page is full, or has looked at some");
                let Some(next) = page.next else { break };
                // The place may stand in a cursor meanwhile.
                let read = sort.spot(&sort.cursor(next)).unwrap();
                prop_assert!(!sort.is_behind(read, next) && !sort.is_behind(next, read));
                after = Some(read);
            }
            prop_assert_eq!(&found, &expected);
        }
    }

    #[test]
    fn a_rare_job_is_found_by_its_word_or_price_and_else_by_pages_that_end_early() {
        let bounds = |few| Bounds { look: 10, first_looks: 2, most_looks: 3, few };
        let (nothing, rare) = (View::default(), View { search: Search::of("rare"), least_cents: 0 });
        let dear = View { least_cents: 9, ..View::default() };
        for (few, looks) in [(1, 1), (0, 4)] {
            let market = Market { bounds: bounds(few), ..Market::default() };
            for number in 0..100 {
                let (title, cents) = if number == 5 { ("rare", 9) } else { ("common", 1) };
                market.changed(&[job(number, title, cents)]);
            }
            assert_eq!(page(&market, &nothing, Sort::Newest, None, 25).spots.len(), 25);
            for view in [&rare, &dear] {
                let (mut after, mut pages, mut found) = (None, 0, 0);
                loop {
                    let page = page(&market, view, Sort::Newest, after, 5);
                    (pages, found) = (pages + 1, found + page.spots.len());
                    let Some(next) = page.next else { break };
                    after = Some(next);
                }
                assert_eq!((pages, found), (looks, 1), "{few}");
            }
        }
    }
}
