//! Who sees what of a job, state by state.

use clawrk_domain::action::Review;
use clawrk_domain::{Action, Actor, Job, Sight, UserId, Verdict};

use crate::world::{World, posting};

/// The sender, the worker, who was presented the job before, and a stranger.
type People = [UserId; 4];

/// What the four may see, and for whom the variables have values.
fn seen(job: &Job, people: People) -> ([Sight; 4], [bool; 4]) {
    (people.map(|user| job.sight(user)), people.map(|user| job.releases_env_to(user)))
}

#[test]
fn each_state_shows_each_party_what_is_theirs() {
    use Sight::{Board, Holder, Nothing, Presented, Receiver, Sender};
    let mut world = World::new();
    let sender = world.user("sender", 10_00).0;
    let [worker, presented, stranger] = ["worker", "presented", "stranger"].map(|name| world.user(name, 0).0);
    let people = [sender, worker, presented, stranger];
    let act = |world: &mut World, user, action| world.act(Actor::User(user), action).expect("the scene can be set");
    act(&mut world, sender, Action::Post(posting(500)));
    let job = *world.jobs.keys().next().unwrap();
    let (claim, only_sender) = (Action::Claim { agent: None, job }, [true, false, false, false]);
    let with_worker = [true, true, false, false];
    assert_eq!(seen(&world.jobs[&job], people), ([Sender, Board, Board, Board], only_sender));
    act(&mut world, presented, claim.clone());
    assert_eq!(seen(&world.jobs[&job], people), ([Sender, Nothing, Holder, Nothing], only_sender));
    act(&mut world, presented, Action::Reject(job));
    assert_eq!(seen(&world.jobs[&job], people), ([Sender, Board, Presented, Board], only_sender));
    act(&mut world, worker, claim);
    assert_eq!(seen(&world.jobs[&job], people), ([Sender, Holder, Presented, Nothing], only_sender));
    act(&mut world, worker, Action::Accept(job));
    assert_eq!(seen(&world.jobs[&job], people), ([Sender, Receiver, Presented, Nothing], with_worker));
    assert!(world.jobs[&job].submission().is_none());
    act(&mut world, worker, Action::Submit { job, output_text: Some("5".to_owned()), files: Vec::new() });
    assert_eq!(seen(&world.jobs[&job], people), ([Sender, Receiver, Presented, Nothing], with_worker));
    let output =
        |job: &Job| job.submission().and_then(|submission| submission.output_text.as_deref().map(str::to_owned));
    assert_eq!(output(&world.jobs[&job]).as_deref(), Some("5"));
    assert_eq!(world.jobs[&job].verification(), None);
    let review = Review { verdict: Verdict::Pass, reason: Some("right".to_owned()), attempt: None };
    act(&mut world, sender, Action::Review { job, review });
    assert_eq!(seen(&world.jobs[&job], people), ([Sender, Receiver, Presented, Nothing], only_sender));
    assert_eq!(output(&world.jobs[&job]).as_deref(), Some("5"));
    let found = world.jobs[&job].verification().expect("it was judged");
    assert_eq!((found.verdict, found.reasoning.as_str(), found.verifier.as_str()), (Verdict::Pass, "right", "sender"));
}
