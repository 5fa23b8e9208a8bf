//! Users, agents and keys.

use clawrk_domain::action::{AgentFields, NewUser};
use clawrk_domain::key::NewKey;
use clawrk_domain::{Action, Actor, Answer, Cents, KeyId, Rejection, Scopes, UserId, Verdict};

use crate::support::{Harness, new_user, review, submission};

pub(super) async fn users_come_with_a_wallet_and_a_default_agent(h: &Harness) {
    let new =
        NewUser { email: Some(" Ada@Example.ORG ".to_owned()), is_admin: true, ..new_user(" Ada ", Some(Cents(700))) };
    let Answer::User(ada) = h.done(Actor::Operator, Action::CreateUser(new)).await else { panic!("no user") };
    let (stored, balance) = h.store.user(ada.id).await.unwrap().unwrap();
    assert_eq!((&stored, balance), (&ada, Cents(700)));
    assert_eq!(
        (stored.name.as_str(), stored.email.as_deref(), stored.is_admin),
        ("Ada", Some("ada@example.org"), true)
    );
    let agents = h.store.agents(ada.id).await.unwrap();
    assert_eq!(agents.len(), 1);
    assert!(agents[0].is_default && agents[0].name == "default" && agents[0].personality.is_none());
    assert!(agents[0].is_default);
    assert_eq!(h.store.users_named("ada@example.org").await.unwrap(), [(ada.clone(), Cents(700))]);
    assert_eq!(h.store.users_named("Ada").await.unwrap().len(), 1);
    assert_eq!(h.store.users_named("ada").await.unwrap(), []);
    h.done(Actor::Operator, Action::Grant { user: ada.id, amount: Cents(5) }).await;
    assert_eq!(h.balance(ada.id).await, 705);
    let nobody = UserId(uuid::Uuid::nil());
    let refused = h.refused(Actor::Operator, Action::Grant { user: nobody, amount: Cents(5) }).await;
    assert_eq!(refused, Rejection::NotFound("user"));
    assert!(h.store.user(nobody).await.unwrap().is_none());
    h.store.ping().await.unwrap();
    h.assert_books_balance().await;
}

pub(super) async fn an_email_address_belongs_to_one_user(h: &Harness) {
    let with = |email: &str| NewUser { email: Some(email.to_owned()), ..new_user("Ada", None) };
    h.done(Actor::Operator, Action::CreateUser(with("ada@example.org"))).await;
    let refused = h.refused(Actor::Operator, Action::CreateUser(with("ADA@example.org"))).await;
    assert_eq!(refused, Rejection::EmailTaken);
    h.done(Actor::Operator, Action::CreateUser(with("bob@example.org"))).await;
    for _ in 0..2 {
        h.done(Actor::Operator, Action::CreateUser(new_user("nobody's address", None))).await;
    }
}

pub(super) async fn agents_are_created_changed_and_deleted(h: &Harness) {
    let ada = h.user("ada", 0).await;
    let fields = AgentFields {
        name: " poet ".to_owned(),
        personality: Some("writes verse".to_owned()),
        avatar_url: Some("https://a.example/p.png".to_owned()),
    };
    let Answer::Agent(poet) = h.done(Actor::User(ada), Action::CreateAgent(fields)).await else { panic!("no agent") };
    assert!(h.store.agents(ada).await.unwrap().contains(&poet));
    h.clock.advance(1);
    let second = h.agent(ada, "second").await;
    let change = Action::UpdateAgent { agent: poet.id, name: None, personality: Some(None), avatar_url: None };
    let Answer::Agent(changed) = h.done(Actor::User(ada), change).await else { panic!("no agent") };
    assert_eq!((changed.name.as_str(), &changed.personality, changed.avatar_url.is_some()), ("poet", &None, true));
    let default = h.default_agent(ada).await;
    let rename =
        Action::UpdateAgent { agent: default, name: Some("zed".to_owned()), personality: None, avatar_url: None };
    h.done(Actor::User(ada), rename).await;
    let ids = |agents: Vec<clawrk_domain::Agent>| agents.into_iter().map(|agent| agent.id).collect::<Vec<_>>();
    assert_eq!(ids(h.store.agents(ada).await.unwrap()), [default, poet.id, second.id]);
    h.done(Actor::User(ada), Action::DeleteAgent(poet.id)).await;
    assert_eq!(ids(h.store.agents(ada).await.unwrap()), [default, second.id]);
    let gone = h.refused(Actor::User(ada), Action::DeleteAgent(poet.id)).await;
    assert_eq!(gone, Rejection::NotFound("agent"));
    let default = h.refused(Actor::User(ada), Action::DeleteAgent(default)).await;
    assert_eq!(default, Rejection::DefaultAgent);
}

pub(super) async fn names_are_unique_among_living_agents(h: &Harness) {
    let (ada, bob) = (h.user("ada", 0).await, h.user("bob", 0).await);
    let poet = h.agent(ada, "poet").await;
    let named =
        |name: &str| Action::CreateAgent(AgentFields { name: name.to_owned(), personality: None, avatar_url: None });
    let taken = Rejection::NameTaken { name: "poet".to_owned() };
    assert_eq!(h.refused(Actor::User(ada), named(" poet")).await, taken);
    let other = h.agent(ada, "Poet").await;
    let rename =
        Action::UpdateAgent { agent: other.id, name: Some("poet".to_owned()), personality: None, avatar_url: None };
    assert_eq!(h.refused(Actor::User(ada), rename).await, taken);
    h.agent(bob, "poet").await;
    h.done(Actor::User(ada), Action::DeleteAgent(poet.id)).await;
    h.agent(ada, "poet").await;
}

pub(super) async fn an_agent_at_work_stays(h: &Harness) {
    let (ada, bob) = (h.user("ada", 1000).await, h.user("bob", 0).await);
    let agent = h.agent(bob, "worker").await.id;
    let job = h.post(ada, 500).await;
    h.moved(bob, Action::Claim { agent: Some(agent), job }).await;
    for step in [Action::Accept(job), submission(job)] {
        assert_eq!(h.refused(Actor::User(bob), Action::DeleteAgent(agent)).await, Rejection::AgentEngaged);
        h.moved(bob, step).await;
    }
    assert_eq!(h.refused(Actor::User(bob), Action::DeleteAgent(agent)).await, Rejection::AgentEngaged);
    h.moved(ada, review(job, Verdict::Pass)).await;
    h.done(Actor::User(bob), Action::DeleteAgent(agent)).await;
    assert_eq!(h.job(job).await.receiver().unwrap().agent, agent);
    assert_eq!(h.balance(bob).await, 350);
}

pub(super) async fn keys_are_made_used_and_revoked(h: &Harness) {
    let (ada, bob) = (h.user("ada", 0).await, h.user("bob", 0).await);
    let id: KeyId = "abcdefghijkl".parse().unwrap();
    let expires_at = Some(h.clock.now().plus_seconds(60));
    let new = NewKey { id, hash: [7; 32], name: "laptop".to_owned(), scopes: Scopes::USER, expires_at };
    let Answer::Key(key) = h.done(Actor::User(ada), Action::CreateKey(new)).await else { panic!("no key") };
    assert_eq!(h.store.key(id).await.unwrap(), Some(key.clone()));
    assert_eq!(h.store.keys(ada).await.unwrap(), std::slice::from_ref(&key));
    let (early, late) = (h.clock.now(), h.clock.now().plus_seconds(9));
    h.done(Actor::Exchange, Action::TouchKeys(vec![(id, late), (id, early)])).await;
    assert_eq!(h.store.key(id).await.unwrap().unwrap().last_used_at, Some(late));
    assert_eq!(h.refused(Actor::User(bob), Action::RevokeKey(id)).await, Rejection::NotFound("API key"));
    h.done(Actor::User(ada), Action::RevokeKey(id)).await;
    assert_eq!(h.store.key(id).await.unwrap(), None);
    assert_eq!(h.store.keys(ada).await.unwrap(), []);
    assert_eq!(h.refused(Actor::User(ada), Action::RevokeKey(id)).await, Rejection::NotFound("API key"));
}
