//! Matching by meaning: which job an agent gets when there is a model, and when the model is away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clawrk_server::config::Embedding;
use clawrk_server::outside::embed::{Embedder, Patience};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::endpoint::{Answer, Fake, impatient};
use crate::support::{TestApp, User};
use crate::tiny;

/// The tiny model, opened from a folder as the server does.
fn in_a_folder() -> Embedder {
    let folder = tempfile::tempdir().unwrap();
    tiny::write(folder.path());
    Embedder::open(&Embedding::Folder(folder.path().to_owned())).unwrap()
}

async fn post(sender: &User, title: &str) -> String {
    let body = json!({"prompt": "as agreed", "title": title, "description": null, "requirements": null,
        "price_cents": 500, "time_limit_seconds": 600, "confirmed": true});
    sender.post("/api/jobs/run", body).await.expect(201)["id"].as_str().unwrap().to_owned()
}

async fn agent(owner: &User, personality: &str) -> String {
    let body = json!({"name": personality, "personality": personality});
    owner.post("/api/agents", body).await.expect(201)["id"].as_str().unwrap().to_owned()
}

async fn matches(owner: &User, agent: &str) -> Vec<Value> {
    let matches = owner.get(&format!("/api/agents/{agent}/matches")).await.expect(200);
    matches.as_array().unwrap().clone()
}

/// The matches, once what each job means is known.
async fn matches_by_meaning(owner: &User, agent: &str) -> Vec<Value> {
    let begun = Instant::now();
    loop {
        let matches = matches(owner, agent).await;
        if matches.iter().all(|found| found["parts"]["dense"].is_number()) {
            return matches;
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{matches:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn pull(owner: &User, agent: &str) -> String {
    let job = owner.post("/api/jobs/pull", json!({"agent_id": agent})).await.expect(200);
    job["id"].as_str().unwrap().to_owned()
}

/// The agent shares no word with the job that is for it, and others were there first.
async fn an_agent_gets_the_job_that_is_near(app: &TestApp) {
    let (ada, bob) = (app.user("ada", 10_000).await, app.user("bob", 0).await);
    let poem = post(&ada, "A haiku about rain").await;
    app.advance(1).await;
    let garden = post(&ada, "Water the flowers").await;
    let books = post(&ada, "Sum up the invoices").await;
    let gardener = agent(&bob, "Horticulture, and nothing else").await;
    let found = matches_by_meaning(&bob, &gardener).await;
    assert_eq!((&found[0]["job_id"], found.len()), (&json!(garden), 3));
    let parts = &found[0]["parts"];
    assert_eq!((&parts["lexical"], &found[0]["terms"]), (&json!(0.0), &json!([])), "no word in common");
    let (dense, waiting) = (parts["dense"].as_f64().unwrap(), parts["waiting"].as_f64().unwrap());
    assert!(dense > 0.99 && dense <= 1.0, "{parts}");
    assert!((found[0]["score"].as_f64().unwrap() - dense / 2.0 - waiting).abs() < 1e-9, "{parts}");
    assert!(found[1..].iter().all(|found| found["parts"]["dense"].as_f64().unwrap() < 0.1), "{found:?}");

    let job = app.app.store.job(garden.parse().unwrap()).await.unwrap().unwrap();
    app.app.market.changed(&[Arc::new(job)]);
    assert_eq!(matches(&bob, &gardener).await, found, "news of a job do not change what it means");

    assert_eq!(pull(&bob, &gardener).await, garden);
    bob.act(&garden, "reject").await.expect(200);
    let another = agent(&bob, "horticulture").await;
    let again = matches_by_meaning(&bob, &another).await;
    assert_eq!((&again[0]["job_id"], again.len()), (&json!(garden), 3), "it came back");
    assert_eq!(pull(&bob, &agent(&bob, "Bookkeeper").await).await, books);
    let nobody = agent(&bob, "Zebras").await;
    assert_eq!(pull(&bob, &nobody).await, poem, "who is near to nothing gets the oldest");
}

#[tokio::test]
async fn with_a_model_in_a_folder_an_agent_gets_the_job_that_is_near_in_meaning() {
    an_agent_gets_the_job_that_is_near(&TestApp::embedding(in_a_folder()).await).await;
}

#[tokio::test]
async fn with_a_model_at_an_address_an_agent_gets_the_job_that_is_near_in_meaning() {
    let fake = Fake::start().await;
    an_agent_gets_the_job_that_is_near(&TestApp::embedding(fake.embedder()).await).await;
    let mut asked: Vec<String> = fake.asked().concat();
    let count = asked.len();
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), count, "no text was sent twice, although a job came back and agents pulled again");
}

#[tokio::test]
async fn a_job_that_the_model_does_not_take_costs_no_other_its_meaning() {
    let fake = Fake::start().await;
    // While it is silent over the first job, the others come, and are read together.
    fake.will([Answer::Silence]);
    let app = TestApp::embedding(fake.embedder()).await;
    let (ada, bob) = (app.user("ada", 10_000).await, app.user("bob", 0).await);
    let mut jobs = Vec::new();
    for title in ["A poem", "An unreadable poem", "Water the flowers", "Verses"] {
        jobs.push(post(&ada, title).await);
    }
    let poet = agent(&bob, "Poet").await;
    let known = |matches: &[Value]| {
        let known = matches.iter().filter(|found| found["parts"]["dense"].is_number());
        known.map(|found| found["job_id"].as_str().unwrap().to_owned()).collect::<Vec<String>>()
    };
    let begun = Instant::now();
    while known(&matches(&bob, &poet).await).len() < 3 {
        assert!(begun.elapsed() < Duration::from_secs(5));
        sleep(Duration::from_millis(5)).await;
    }
    let found = matches(&bob, &poet).await;
    assert!(!known(&found).contains(&jobs[1]) && found.len() == 4, "{found:?}");
    let unreadable = agent(&bob, "I am unreadable, and I write verses").await;
    assert_eq!(matches(&bob, &unreadable).await[0]["parts"]["dense"], json!(null), "by words");
    assert_eq!(pull(&bob, &unreadable).await, jobs[3]);
}

#[tokio::test]
async fn a_model_that_makes_no_sense_for_a_while_is_asked_again() {
    let fake = Fake::start().await;
    // While it is silent over the first job, the others come, and are read together.
    let nonsense = || Answer::Text("{}".to_owned());
    fake.will([Answer::Silence, Answer::Sense, nonsense(), nonsense(), nonsense()]);
    let app = TestApp::embedding(fake.embedder()).await;
    let (ada, bob) = (app.user("ada", 10_000).await, app.user("bob", 0).await);
    let gardener = agent(&bob, "Horticulture").await;
    for title in ["A poem", "Water the flowers", "Rain"] {
        post(&ada, title).await;
    }
    let begun = Instant::now();
    while fake.asked_count() < 5 {
        assert!(begun.elapsed() < Duration::from_secs(5));
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(matches_by_meaning(&bob, &gardener).await.len(), 3);
}

#[tokio::test]
async fn while_the_model_is_away_pulls_go_by_words_and_do_not_wait_for_it() {
    let place = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = place.local_addr().unwrap();
    drop(place);
    let url = format!("http://{address}/v1/embeddings").parse().unwrap();
    let embedder = Embedder::at(url, "tiny".to_owned(), Some("key-canary"), impatient()).unwrap();
    let app = TestApp::embedding(embedder).await;
    let (ada, bob) = (app.user("ada", 10_000).await, app.user("bob", 0).await);
    post(&ada, "Water the flowers").await;
    let poem = post(&ada, "A poem of verses").await;
    let poet = agent(&bob, "Verses").await;
    assert_eq!(pull(&bob, &poet).await, poem);
    bob.act(&poem, "reject").await.expect(200);
    let begun = Instant::now();
    for name in 0..20 {
        let poet = agent(&bob, &format!("Verses {name}")).await;
        assert_eq!(pull(&bob, &poet).await, poem);
        bob.act(&poem, "reject").await.expect(200);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "each waits as if it were the first: {:?}", begun.elapsed());
    assert_eq!(matches(&bob, &poet).await[0]["parts"]["dense"], json!(null));

    Fake::listen(TcpListener::bind(address).await.unwrap());
    let gardener = agent(&bob, "Horticulture").await;
    let begun = Instant::now();
    while !matches(&bob, &gardener).await.iter().all(|found| found["parts"]["dense"].is_number()) {
        assert!(begun.elapsed() < Duration::from_secs(20), "it answers again, and is heard");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_pull_waits_a_moment_for_a_slow_model_and_no_longer() {
    let fake = Fake::start().await;
    let patient = Patience { answer: Duration::from_secs(5), ..impatient() };
    let embedder = Embedder::at(fake.url.clone(), "tiny".to_owned(), Some("key-canary"), patient).unwrap();
    fake.will([Answer::Silence]);
    let app = TestApp::embedding(embedder).await;
    let (ada, bob) = (app.user("ada", 10_000).await, app.user("bob", 0).await);
    let gardener = agent(&bob, "Horticulture").await;
    let begun = Instant::now();
    assert_eq!(bob.post("/api/jobs/pull", json!({"agent_id": gardener})).await.status, 204);
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(250) && took < Duration::from_millis(900), "{took:?}");
    let job = post(&ada, "Rain").await;
    assert_eq!(pull(&bob, &gardener).await, job);
}
