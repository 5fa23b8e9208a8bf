//! What counts where, and how little one sender can do.

use proptest::prelude::*;

use super::*;
use crate::Ids;

const NOON: Timestamp = Timestamp::from_micros(1_735_732_800_000_000);

fn people() -> (UserId, Worker, UserId) {
    let mut ids = Ids::new(7, NOON);
    (ids.user(), Worker { agent: ids.agent(), user: ids.user() }, ids.user())
}

/// An attempt of ten minutes at a job that waited a minute, and what became of it.
fn ended(sender: UserId, worker: Worker, kind: EventKind, before: Status, after: Status) -> Happening {
    Happening {
        at: NOON,
        kind,
        before: Some(before),
        after,
        sender,
        worker: Some(worker),
        price: Cents(500),
        queued_at: Some(NOON.plus_seconds(-780)),
        first_accepted_at: Some(NOON.plus_seconds(-720)),
        accepted_at: Some(NOON.plus_seconds(-720)),
        submitted_at: Some(NOON.plus_seconds(-120)),
        by_silence: false,
    }
}

fn verified(sender: UserId, worker: Worker) -> Happening {
    ended(sender, worker, EventKind::Verified, Status::Submitted, Status::Verified)
}

fn tally(happened: &[Happening]) -> Tally {
    let mut tally = Tally::default();
    happened.iter().for_each(|happened| tally.add(happened));
    tally
}

/// How an agent stands after hearing these voices, each in one piece.
fn standing(voices: &[Voice]) -> Standing {
    let (mut standing, mut paces) = (Standing::default(), Spread::new());
    voices.iter().for_each(|voice| standing.hear(Voice::default(), *voice, &mut paces));
    standing
}

#[test]
fn days_are_utc_and_begin_at_midnight() {
    let day = |time: &str| Day::of(time.parse().unwrap()).to_string();
    assert_eq!(day("2026-11-26T00:00:00Z"), "2026-11-26");
    assert_eq!(day("2026-11-25T23:59:59.999999Z"), "2026-11-25");
    assert_eq!(day("2026-11-26T01:00:00+02:00"), "2026-11-25");
    assert_eq!(Day::of(Timestamp::from_micros(-1)), Day(-1));
    assert_eq!(Day(0).minus(1).to_string(), "1969-12-31");
}

#[test]
fn a_job_that_was_paid_out_counts_everywhere() {
    let (ada, bob, _) = people();
    let tally = tally(&[verified(ada, bob)]);
    let day = Day::of(NOON);
    let expected = DayCounts { verified: 1, passed: 1, volume: Cents(500), ..DayCounts::default() };
    assert_eq!(tally.days[&day], expected);
    assert_eq!(tally.statuses, BTreeMap::from([(Status::Submitted, -1), (Status::Verified, 1)]));
    let spreads: Vec<_> = tally.spreads.keys().map(|(_, measure, bucket)| (*measure, *bucket)).collect();
    let at = |measure, value| (measure, bucket(value));
    assert_eq!(spreads, [at(Measure::Price, 500), at(Measure::Accept, 60), at(Measure::Verify, 120)]);
    assert_eq!(tally.voices[&(bob.agent, ada)], Voice { verified: 1, failed: 0, seconds: 600 });
    assert_eq!(tally.finished[&bob.agent], Some(day));
}

#[test]
fn work_on_ones_own_job_moves_no_figure_but_where_the_job_is() {
    let (_, bob, _) = people();
    let posted = Happening {
        before: None,
        worker: None,
        kind: EventKind::Posted,
        after: Status::Queued,
        ..verified(bob.user, bob)
    };
    let of = |kind, before, after| ended(bob.user, bob, kind, before, after);
    let tally = tally(&[
        posted,
        of(EventKind::Accepted, Status::Held, Status::Accepted),
        of(EventKind::GaveUp, Status::Accepted, Status::Failed),
        of(EventKind::VerificationFailed, Status::Submitted, Status::Failed),
        verified(bob.user, bob),
    ]);
    assert_eq!(tally.days[&Day::of(NOON)], DayCounts { posted: 1, ..DayCounts::default() });
    assert!(tally.spreads.is_empty() && tally.voices.is_empty() && tally.finished.is_empty());
    assert_eq!(tally.statuses[&Status::Verified], 1);
}

#[test]
fn silence_pays_but_says_nothing() {
    let (ada, bob, _) = people();
    let tally = tally(&[Happening { by_silence: true, ..verified(ada, bob) }]);
    let counts = tally.days[&Day::of(NOON)];
    assert_eq!((counts.verified, counts.volume, counts.passed), (1, Cents(500), 0));
    assert!(tally.voices.is_empty());
    assert_eq!(tally.finished.len(), 1, "the agent has finished work");
    assert!(tally.spreads.keys().all(|(_, measure, _)| *measure != Measure::Verify));
}

#[test]
fn every_way_to_fail_counts_unless_the_sender_wanted_it_no_more() {
    let (ada, bob, _) = people();
    for (kind, before) in [
        (EventKind::GaveUp, Status::Accepted),
        (EventKind::DeadlinePassed, Status::Accepted),
        (EventKind::VerificationFailed, Status::Submitted),
    ] {
        for (after, failed) in [(Status::Queued, 1), (Status::Failed, 1), (Status::Cancelled, 0)] {
            let tally = tally(&[ended(ada, bob, kind, before, after)]);
            let said = tally.voices.get(&(bob.agent, ada)).map_or(0, |voice| voice.failed);
            assert_eq!(said, failed, "{kind:?} to {after:?}");
            let counts = tally.days[&Day::of(NOON)];
            let expected = (i64::from(after == Status::Failed), i64::from(after == Status::Cancelled));
            assert_eq!((counts.failed, counts.cancelled), expected);
        }
    }
}

#[test]
fn a_status_that_stays_is_not_counted_again() {
    let (ada, bob, _) = people();
    let asked = ended(ada, bob, EventKind::CancellationRequested, Status::Accepted, Status::Accepted);
    assert!(tally(&[asked]).statuses.is_empty());
}

#[test]
fn a_clock_that_went_back_makes_no_time_below_zero() {
    let (ada, bob, _) = people();
    let later = Some(NOON.plus_seconds(9));
    let odd = Happening {
        accepted_at: later,
        first_accepted_at: Some(NOON),
        queued_at: later,
        submitted_at: later,
        ..verified(ada, bob)
    };
    let odd = Happening { accepted_at: Some(NOON.plus_seconds(99)), ..odd };
    let tally = tally(&[odd]);
    assert_eq!(tally.voices[&(bob.agent, ada)].seconds, 0);
    assert!(tally.spreads.keys().all(|(_, measure, at)| *measure == Measure::Price || *at == 0));
}

#[test]
fn one_sender_with_fifty_jobs_weighs_as_much_as_one_with_one() {
    let one = |verified, failed| Voice { verified, failed, seconds: 100 * verified };
    let others = [one(2, 0), one(1, 1), one(0, 2)];
    let with = |more: Voice| standing(&[others[0], others[1], others[2], more]);
    let (modest, eager, hostile) = (with(one(1, 0)), with(one(50, 0)), with(one(0, 50)));
    assert_eq!((modest.pass_rate(), modest.score()), (eager.pass_rate(), eager.score()));
    assert_eq!(eager.verified - standing(&others).verified, COUNTED_JOBS);
    assert_eq!(hostile.failed - standing(&others).failed, COUNTED_JOBS);
    assert_eq!(hostile.pass_rate(), Some(0.375));
}

#[test]
fn few_senders_say_nothing_of_rate_and_time() {
    let voice = Voice { verified: 9, failed: 0, seconds: 900 };
    let of = |many: usize| standing(&vec![voice; many]);
    assert_eq!((of(2).pass_rate(), of(2).median_seconds), (None, None));
    assert_eq!((of(3).pass_rate(), of(3).median_seconds), (Some(1.0), Some(middle(bucket(100)))));
    assert!(of(3).score() < of(4).score() && of(0).score() == 0);
    assert_eq!(of(3).score(), 438_493, "Wilson's lower bound of 3 of 3");
    let failed = Voice { verified: 0, failed: 1, seconds: 0 };
    assert_eq!(standing(&[voice, voice, failed]).median_seconds, None, "only two have a pace");
}

proptest! {
    /// Whether a voice is heard at once or in pieces, and among others in whichever order, the agent stands alike.
    #[test]
    fn pieces_and_order_make_no_difference(
        heard in prop::collection::vec((0..5_usize, any::<bool>(), 0..100_000_i64), 1..60), seed in any::<u64>()
    ) {
        let said = |(_, passed, seconds): &(usize, bool, i64)| Voice {
            verified: i64::from(*passed), failed: i64::from(!passed), seconds: if *passed { *seconds } else { 0 },
        };
        let run = |heard: &[(usize, bool, i64)]| {
            let (mut standing, mut paces, mut voices) = (Standing::default(), Spread::new(), [Voice::default(); 5]);
            for one in heard {
                let after = voices[one.0].and(said(one));
                standing.hear(voices[one.0], after, &mut paces);
                voices[one.0] = after;
            }
            paces.retain(|_, many| *many != 0);
            (standing, paces, voices)
        };
        let (pieces, paces, voices) = run(&heard);
        let mut other = heard.clone();
        other.rotate_left(usize::try_from(seed % 60).unwrap() % heard.len());
        prop_assert_eq!(run(&other), (pieces, paces, voices));
        let spoken: Vec<Voice> = voices.into_iter().filter(|voice| *voice != Voice::default()).collect();
        prop_assert_eq!(standing(&spoken), pieces);
        let rate = pieces.rates as f64 / (pieces.senders.max(1) * 1_000_000) as f64;
        prop_assert!((0.0..=1.0).contains(&rate) && pieces.score() as f64 <= rate * 1_000_000.0 + 1.0);
    }
}
