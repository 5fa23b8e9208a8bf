//! Users, agents and keys: what may come, change and go.

use clawrk_domain::action::{AgentFields, NewUser};
use clawrk_domain::key::NewKey;
use clawrk_domain::{
    Action, Actor, Agent, AgentId, Answer, ApiKey, Cents, Change, Command, Facts, Ids, JobId, KeyId, Lease, Policy,
    Rejection, Scopes, Subject, Task, TaskKind, Timestamp, UserId, Write, decide, limits,
};

const NOW: Timestamp = Timestamp::from_micros(1_735_689_600_000_000);

fn ids(seed: u128) -> Ids {
    Ids::new(seed, NOW)
}

fn user() -> UserId {
    ids(1).user()
}

fn told(actor: Actor, action: Action, facts: Facts) -> Result<Change, Rejection> {
    decide(&Command { seed: 7, actor, action }, &Policy::default(), Facts { now: Some(NOW), ..facts })
}

fn agent(seed: u128, name: &str) -> Agent {
    Agent {
        id: ids(seed).agent(),
        owner: user(),
        name: name.to_owned(),
        personality: None,
        avatar_url: None,
        is_default: false,
        created_at: NOW,
    }
}

fn create(name: &str, agents: Vec<Agent>) -> Result<Change, Rejection> {
    let fields = AgentFields { name: name.to_owned(), personality: None, avatar_url: None };
    told(Actor::User(user()), Action::CreateAgent(fields), Facts { agents, ..Facts::default() })
}

fn rename(agent: &Agent, name: &str, agents: &[Agent]) -> Result<Change, Rejection> {
    let action =
        Action::UpdateAgent { agent: agent.id, name: Some(name.to_owned()), personality: None, avatar_url: None };
    let facts = Facts { agent: Some(agent.clone()), agents: agents.to_vec(), ..Facts::default() };
    told(Actor::User(user()), action, facts)
}

fn new_key(name: &str, expires_at: Option<Timestamp>) -> NewKey {
    NewKey { id: ids(9).key(), hash: [7; 32], name: name.to_owned(), scopes: Scopes::USER, expires_at }
}

fn key(seed: u128) -> ApiKey {
    ApiKey {
        id: ids(seed).key(),
        user: user(),
        name: "key".to_owned(),
        hash: [0; 32],
        scopes: Scopes::USER,
        created_at: NOW,
        expires_at: None,
        last_used_at: None,
    }
}

#[test]
fn a_name_is_unique_among_ones_own_agents_and_may_stay_ones_own() {
    let agents = [agent(1, "ada"), agent(2, "bob")];
    let taken = || Rejection::NameTaken { name: "bob".to_owned() };
    assert_eq!(create(" bob ", agents.to_vec()).unwrap_err(), taken());
    assert!(create("eve", agents.to_vec()).is_ok());
    assert_eq!(rename(&agents[0], "bob", &agents).unwrap_err(), taken());
    let kept = rename(&agents[1], " bob ", &agents).unwrap();
    assert!(matches!(kept.answer, Answer::Agent(agent) if agent.name == "bob"));
    assert!(rename(&agents[0], "eve", &agents).is_ok());
}

#[test]
fn anothers_agent_is_no_agent() {
    let mut others = agent(1, "ada");
    others.owner = ids(5).user();
    assert_eq!(rename(&others, "eve", &[]).unwrap_err(), Rejection::NotFound("agent"));
}

#[test]
fn a_user_may_have_so_many_agents_and_keys_and_no_more() {
    let agents = |count| (0..count).map(|n| agent(100 + n as u128, &format!("agent {n}"))).collect();
    assert!(create("one more", agents(limits::AGENTS - 1)).is_ok());
    assert_eq!(create("one more", agents(limits::AGENTS)).unwrap_err(), Rejection::TooManyAgents);
    let with = |count: usize| {
        let keys = (0..count).map(|n| key(100 + n as u128)).collect();
        told(Actor::User(user()), Action::CreateKey(new_key("ci", None)), Facts { keys, ..Facts::default() })
    };
    assert!(with(limits::KEYS - 1).is_ok());
    assert_eq!(with(limits::KEYS).unwrap_err(), Rejection::TooManyKeys);
}

#[test]
fn only_an_agent_that_is_neither_the_default_one_nor_at_work_may_go() {
    let delete = |agent: Agent, agent_engaged| {
        let action = Action::DeleteAgent(agent.id);
        told(Actor::User(user()), action, Facts { agent: Some(agent), agent_engaged, ..Facts::default() })
    };
    let some = agent(1, "ada");
    let gone = delete(some.clone(), false).unwrap();
    assert!(matches!(&gone.writes[..], [Write::DeleteAgent(agent, NOW)] if *agent == some));
    assert_eq!(delete(some.clone(), true).unwrap_err(), Rejection::AgentEngaged);
    assert_eq!(delete(Agent { is_default: true, ..some }, false).unwrap_err(), Rejection::DefaultAgent);
}

#[test]
fn a_key_expires_in_the_future_and_allows_something() {
    let make = |new| told(Actor::User(user()), Action::CreateKey(new), Facts::default());
    let made = make(new_key(" ci ", Some(Timestamp::from_micros(NOW.micros() + 1)))).unwrap();
    assert!(matches!(made.answer, Answer::Key(key) if key.name == "ci" && key.hash == [7; 32] && key.user == user()));
    let field = |refused: Result<Change, Rejection>| match refused.unwrap_err() {
        Rejection::Invalid { field, .. } => field,
        other => panic!("{other}"),
    };
    assert_eq!(field(make(new_key("ci", Some(NOW)))), "expires_at");
    assert_eq!(field(make(NewKey { scopes: Scopes::default(), ..new_key("ci", None) })), "scopes");
    assert_eq!(field(make(new_key(" ", None))), "name");
}

#[test]
fn one_may_revoke_a_living_key_of_ones_own_and_no_other() {
    let keys = || vec![key(1), key(2)];
    let revoke =
        |id: KeyId| told(Actor::User(user()), Action::RevokeKey(id), Facts { keys: keys(), ..Facts::default() });
    for own in keys() {
        let change = revoke(own.id).unwrap();
        assert!(matches!(&change.writes[..], [Write::RevokeKey(id, NOW)] if *id == own.id));
    }
    assert_eq!(revoke(key(3).id).unwrap_err(), Rejection::NotFound("API key"));
}

#[test]
fn the_use_of_keys_is_noted_in_the_order_of_the_keys() {
    let (one, two) = (key(1).id.min(key(2).id), key(1).id.max(key(2).id));
    let used = vec![(two, NOW), (one, NOW.plus_seconds(2)), (one, NOW.plus_seconds(1))];
    let change = told(Actor::Exchange, Action::TouchKeys(used), Facts::default()).unwrap();
    let noted: Vec<_> = change.writes.iter().map(|write| format!("{write:?}")).collect();
    let expected = [(one, NOW.plus_seconds(1)), (one, NOW.plus_seconds(2)), (two, NOW)];
    assert_eq!(noted, expected.map(|(key, time)| format!("{:?}", Write::TouchKey(key, time))));
}

#[test]
fn a_user_comes_with_an_agent_and_what_they_are_given() {
    let new = NewUser {
        name: " Ada ".to_owned(),
        email: Some("Ada@Example.ORG".to_owned()),
        is_admin: true,
        grant: Some(Cents(500)),
        key: Some(new_key("first", None)),
    };
    let facts = |email_taken| Facts { email_taken, ..Facts::default() };
    let change = told(Actor::Operator, Action::CreateUser(new.clone()), facts(false)).unwrap();
    let Answer::User(user) = &change.answer else { panic!("{:?}", change.answer) };
    assert_eq!((user.name.as_str(), user.email.as_deref(), user.is_admin), ("Ada", Some("ada@example.org"), true));
    let [Write::CreateUser(_), Write::CreateAgent(agent), Write::Transfer(grant), Write::CreateKey(key)] =
        &change.writes[..]
    else {
        panic!("{:?}", change.writes)
    };
    assert_eq!((agent.owner, agent.is_default, key.user), (user.id, true, user.id));
    assert_eq!(grant.wallet(), Some((user.id, Cents(500))));
    assert_eq!(told(Actor::Operator, Action::CreateUser(new), facts(true)).unwrap_err(), Rejection::EmailTaken);
}

#[test]
fn nobody_is_granted_balance_who_is_not_there_or_beyond_the_bounds() {
    let grant = |user_exists, cents| {
        let action = Action::Grant { user: user(), amount: Cents(cents) };
        told(Actor::Operator, action, Facts { user_exists, ..Facts::default() })
    };
    for (cents, fits) in [(0, false), (1, true), (100_000_000_000, true), (100_000_000_001, false)] {
        assert_eq!(grant(true, cents).is_ok(), fits, "{cents}");
    }
    assert_eq!(grant(false, 1).unwrap_err(), Rejection::NotFound("user"));
}

#[test]
fn a_task_runs_under_its_current_lease_only() {
    let job: JobId = ids(1).job();
    let lease = Lease { task: Task { kind: TaskKind::ExpireHold, subject: Subject::Job(job), due_at: NOW }, token: 1 };
    let refused = told(Actor::Exchange, Action::Run(lease), Facts::default());
    assert_eq!(refused.unwrap_err(), Rejection::LeaseLost);
    let current = Facts { lease_is_current: true, ..Facts::default() };
    assert_eq!(told(Actor::Exchange, Action::Run(lease), current).unwrap_err(), Rejection::NotFound("job"));
}

#[test]
fn an_action_names_the_agent_and_the_job_it_is_about_and_says_whether_it_spends() {
    let (agent, job): (AgentId, JobId) = (ids(1).agent(), ids(1).job());
    let update = Action::UpdateAgent { agent, name: None, personality: None, avatar_url: None };
    let claim = |agent| Action::Claim { agent, job };
    for (action, expected) in [
        (update, Some(Some(agent))),
        (Action::DeleteAgent(agent), Some(Some(agent))),
        (Action::Pull { agent: Some(agent), candidates: Vec::new() }, Some(Some(agent))),
        (claim(Some(agent)), Some(Some(agent))),
        (claim(None), Some(None)),
        (Action::Accept(job), None),
    ] {
        assert_eq!(action.agent(), expected, "{action:?}");
    }
    let task = Task { kind: TaskKind::CloseReview, subject: Subject::Job(job), due_at: NOW };
    for action in [Action::Pay(job), claim(None), Action::Run(Lease { task, token: 1 })] {
        assert_eq!(action.job(), Some(job), "{action:?}");
    }
    assert!(Action::Pay(job).spends() && Action::Post(crate::world::posting(100)).spends());
    assert!(!Action::Cancel(job).spends() && !claim(None).spends());
}
