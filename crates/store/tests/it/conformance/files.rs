//! Uploaded files: whose they are, who knows of them, what they count for, and when they go.

use std::sync::atomic::{AtomicU64, Ordering};

use clawrk_domain::action::Posting;
use clawrk_domain::upload::NewUpload;
use clawrk_domain::{Action, Actor, Answer, Ids, JobId, Policy, Rejection, Upload, UploadId, UserId};
use clawrk_store::Outcome;

use crate::races::at_once;
use crate::support::{Harness, posting, seed};

/// A new file of so many bytes, which nobody looks at here.
pub(crate) fn new_file(h: &Harness, count: u64, name: &str, size_bytes: u64) -> Action {
    let id = Ids::new(seed(count), h.clock.now()).upload();
    let content_type = Some("text/plain".to_owned());
    Action::Upload(NewUpload { id, name: name.to_owned(), size_bytes, content_type, sha256: [7; 32] })
}

/// A job with these files.
pub(crate) fn naming(files: &[UploadId]) -> Action {
    Action::Post(Posting { attachments: files.to_vec(), ..posting(500) })
}

pub(crate) async fn uploaded(h: &Harness, owner: UserId, name: &str, size_bytes: u64) -> Upload {
    // What was deleted counts too, so that no id comes twice.
    static NEXT: AtomicU64 = AtomicU64::new(1000);
    let count = NEXT.fetch_add(1, Ordering::SeqCst);
    match h.done(Actor::User(owner), new_file(h, count, name, size_bytes)).await {
        Answer::Upload(file) => file,
        other => panic!("{other:?}"),
    }
}

async fn knows(h: &Harness, user: UserId, file: &Upload) -> bool {
    let found = h.store.upload_known_to(file.id, user).await.unwrap();
    assert!(found.is_none() || found.as_ref() == Some(file), "{found:?}");
    found.is_some()
}

async fn handed_in(h: &Harness, worker: UserId, job: JobId, files: &[UploadId]) {
    h.moved(worker, Action::Submit { job, output_text: None, files: files.to_vec() }).await;
}

pub(super) async fn a_file_is_known_to_its_owner_and_to_whoever_sees_all_of_a_job(h: &Harness) {
    let (ada, bob, eve) = (h.user("ada", 3000).await, h.user("bob", 0).await, h.user("eve", 0).await);
    let (asked, other) = (uploaded(h, ada, "../asked.txt", 7).await, uploaded(h, ada, "other", 0).await);
    assert_eq!((asked.name.as_str(), asked.owner, asked.created_at), ("asked.txt", ada, h.clock.now()));
    assert!(knows(h, ada, &asked).await && !knows(h, bob, &asked).await);
    let job = h.moved(ada, naming(&[asked.id])).await;
    assert_eq!((job.brief.attachments.as_slice(), job.id), ([asked.clone()].as_slice(), h.job(job.id).await.id));
    assert!(!knows(h, bob, &asked).await, "the job is on the board, its files are not");
    h.moved(bob, Action::Claim { agent: None, job: job.id }).await;
    assert!(knows(h, bob, &asked).await && !knows(h, bob, &other).await && !knows(h, eve, &asked).await);
    h.moved(bob, Action::Accept(job.id)).await;
    let result = uploaded(h, bob, "result.txt", 9).await;
    assert!(!knows(h, ada, &result).await, "it was not handed in yet");
    handed_in(h, bob, job.id, &[result.id]).await;
    assert!(knows(h, ada, &result).await && knows(h, bob, &result).await && !knows(h, eve, &result).await);
    // Another worker gets the job, but not what the one before handed in; who is off the job knows its files no more.
    let failed = crate::support::review(job.id, clawrk_domain::Verdict::Fail);
    h.moved(ada, failed).await;
    h.moved(eve, Action::Claim { agent: None, job: job.id }).await;
    assert!(knows(h, eve, &asked).await && !knows(h, eve, &result).await && !knows(h, bob, &asked).await);
    assert!(knows(h, ada, &result).await && knows(h, bob, &result).await);
    h.assert_books_balance().await;
}

pub(super) async fn only_the_owners_files_are_named_and_what_is_named_stays(h: &Harness) {
    let (ada, bob) = (h.user("ada", 3000).await, h.user("bob", 0).await);
    let (file, others) = (uploaded(h, ada, "a", 7).await, uploaded(h, bob, "b", 7).await);
    let unknown = Ids::new(7, h.clock.now()).upload();
    let refused = h.refused(Actor::User(ada), naming(&[file.id, others.id])).await;
    assert_eq!(refused, h.refused(Actor::User(ada), naming(&[unknown])).await, "it is as if it were not there");
    for no_ones in [others.id, unknown] {
        let refused = h.refused(Actor::User(ada), Action::DeleteUpload(no_ones)).await;
        assert_eq!(refused, Rejection::NotFound("upload"));
    }
    let job = h.moved(ada, naming(&[file.id])).await.id;
    assert_eq!(h.refused(Actor::User(ada), Action::DeleteUpload(file.id)).await, Rejection::UploadInUse);
    h.moved(ada, Action::Cancel(job)).await;
    assert_eq!(h.refused(Actor::User(ada), Action::DeleteUpload(file.id)).await, Rejection::UploadInUse);
    h.done(Actor::User(bob), Action::DeleteUpload(others.id)).await;
    assert_eq!(h.store.unknown_uploads(&[others.id, file.id, unknown]).await.unwrap(), [others.id, unknown]);
    h.assert_books_balance().await;
}

pub(super) async fn files_count_for_their_owners_quota_and_for_nobody_elses(h: &Harness) {
    let quota = Policy::default().upload_quota_bytes;
    let (ada, bob) = (h.user("ada", 3000).await, h.user("bob", 0).await);
    let (first, named) = (uploaded(h, ada, "a", quota - 10).await, uploaded(h, ada, "b", 4).await);
    h.moved(ada, naming(&[named.id])).await;
    let refused = h.refused(Actor::User(ada), new_file(h, 70, "c", 7)).await;
    assert_eq!(refused, Rejection::UploadQuota(quota));
    assert_eq!(h.store.uploaded_bytes(ada).await.unwrap(), quota - 6);
    uploaded(h, ada, "d", 6).await;
    h.refused(Actor::User(ada), new_file(h, 71, "e", 1)).await;
    uploaded(h, bob, "f", quota).await;
    h.done(Actor::User(ada), Action::DeleteUpload(first.id)).await;
    assert_eq!(h.store.uploaded_bytes(ada).await.unwrap(), 10, "what a job names counts on");
    h.refused(Actor::User(ada), new_file(h, 72, "g", quota - 9)).await;
    uploaded(h, ada, "h", quota - 10).await;
}

pub(super) async fn of_many_files_at_once_as_many_come_in_as_the_quota_lets(h: &Harness) {
    let quota = Policy::default().upload_quota_bytes;
    let ada = h.user("ada", 0).await;
    let one = |count: u64| h.request(Actor::User(ada), new_file(h, 70 + count, "a", quota / 3));
    let nodes = [h.store.clone(), h.node().await];
    let outcomes = at_once(&nodes, (0..24).map(one).collect()).await;
    let done = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Outcome::Done(_)))).count();
    let refused = |outcome: &&_| matches!(outcome, Ok(Outcome::Rejected(Rejection::UploadQuota(_))));
    assert_eq!((done, outcomes.iter().filter(refused).count()), (3, 21), "{outcomes:?}");
    assert_eq!(h.store.uploaded_bytes(ada).await.unwrap(), quota / 3 * 3);
}

pub(super) async fn files_that_no_job_names_go_once_they_are_old_and_no_sooner(h: &Harness) {
    const DAY: i64 = 24 * 3600;
    let ada = h.user("ada", 3000).await;
    let (named, first) = (uploaded(h, ada, "named", 1).await, uploaded(h, ada, "first", 1).await);
    h.moved(ada, naming(&[named.id])).await;
    h.clock.advance(10);
    let second = uploaded(h, ada, "second", 1).await;
    let third = uploaded(h, ada, "third", 1).await;
    h.clock.advance(DAY - 11);
    assert_eq!(h.store.drop_unused_uploads(DAY, 10).await.unwrap(), []);
    h.clock.advance(1);
    assert_eq!(h.store.drop_unused_uploads(DAY, 10).await.unwrap(), [first.id]);
    h.clock.advance(10);
    let some = h.store.drop_unused_uploads(DAY, 1).await.unwrap();
    assert_eq!(some.len(), 1, "no more at once than was said");
    let rest = h.store.drop_unused_uploads(DAY, 10).await.unwrap();
    let mut both = [some, rest].concat();
    both.sort();
    let mut expected = vec![second.id, third.id];
    expected.sort();
    assert_eq!(both, expected);
    assert_eq!(h.store.unknown_uploads(&[named.id, first.id, second.id]).await.unwrap(), [first.id, second.id]);
    assert_eq!(h.store.uploaded_bytes(ada).await.unwrap(), 1);
    h.assert_books_balance().await;
}
