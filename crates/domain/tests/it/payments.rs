//! Payments: whatever Stripe tells, in whatever order and however often, the books come out the same.

use clawrk_domain::payment::{AccountStatus, AutoTopUp, Happened, NewNotice, NoticeEnd, Step, StripeNews};
use clawrk_domain::{
    Account, Action, Actor, Answer, Cents, Lease, NoticeId, Payment, PaymentId, PaymentState, Rejection, Subject, Task,
    TaskKind, UserId,
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::world::{World, posting};

/// A world with a user who can be paid out to and whose card can be charged.
fn world(cents: i64) -> (World, UserId) {
    let mut world = World::new();
    let (user, _) = world.user("ada", cents);
    for news in [
        StripeNews::Customer("cus_1".to_owned()),
        StripeNews::Account("acct_1".to_owned()),
        StripeNews::Status("acct_1".to_owned(), AccountStatus::Active),
        StripeNews::Card("pm_1".to_owned()),
    ] {
        world.act(Actor::Exchange, Action::Stripe(user, news)).unwrap();
    }
    (world, user)
}

fn begun(answer: Answer) -> Payment {
    let Answer::Payment(payment) = answer else { panic!("no payment: {answer:?}") };
    payment
}

fn lease(world: &World, subject: Subject) -> Lease {
    let task = world.tasks.iter().find(|task| task.subject == subject).copied();
    Lease { task: task.expect("there is a task for it"), token: 1 }
}

/// The payment gets a step further, as its task.
fn step(world: &mut World, payment: PaymentId, step: Step) {
    let lease = lease(world, Subject::Payment(payment));
    world.act(Actor::Exchange, Action::Step { lease, step }).unwrap();
}

/// A notice comes, maybe again, and is worked off.
fn tell(world: &mut World, number: u128, happened: Happened) {
    let id = NoticeId(Uuid::from_u128(number));
    let notice = NewNotice { id, event: format!("evt_{number}"), kind: "k".to_owned(), payload: String::new() };
    world.act(Actor::Exchange, Action::Notice(notice)).unwrap();
    if world.tasks.iter().any(|task| task.subject == Subject::Notice(id)) {
        let lease = lease(world, Subject::Notice(id));
        world.act(Actor::Exchange, Action::Heed { lease, happened }).unwrap();
    }
}

/// So much is refunded now, as Stripe says when it is asked.
fn refunded(world: &World, payment: PaymentId, cents: i64) -> Happened {
    Happened::Refunded { payment, seen: world.payments[&payment].version, total: Cents(cents) }
}

fn house(world: &World, account: Account) -> i64 {
    world.house.get(&account).copied().unwrap_or_default().0
}

#[test]
fn a_withdrawal_is_debited_at_once_and_settled_once() {
    let (mut world, user) = world(20_00);
    let withdraw = |world: &mut World, cents| world.act(Actor::User(user), Action::Withdraw(Cents(cents)));
    assert_eq!(
        withdraw(&mut world, 25_00),
        Err(Rejection::BalanceTooLow { required: Cents(25_00), available: Cents(20_00) })
    );
    assert!(matches!(withdraw(&mut world, 4_99), Err(Rejection::Invalid { .. })));
    let payment = begun(withdraw(&mut world, 12_00).unwrap()).id;
    assert_eq!((world.wallets[&user].0, house(&world, Account::InTransit)), (8_00, 12_00));
    step(&mut world, payment, Step::Sending);
    step(&mut world, payment, Step::Unknown("no answer".to_owned()));
    assert_eq!(world.payments[&payment].state, PaymentState::Parked);
    assert_eq!((world.wallets[&user].0, house(&world, Account::InTransit)), (8_00, 12_00), "nothing is guessed");
    step(&mut world, payment, Step::Done("tr_1".to_owned()));
    assert_eq!((house(&world, Account::InTransit), world.payments[&payment].state), (0, PaymentState::Paid));
    assert!(!world.tasks.iter().any(|task| task.subject == Subject::Payment(payment)), "nothing is left to do");

    let refused = begun(withdraw(&mut world, 5_00).unwrap()).id;
    step(&mut world, refused, Step::Sending);
    step(&mut world, refused, Step::Refused { problem: "no".to_owned(), is_final: true });
    assert_eq!((world.wallets[&user].0, house(&world, Account::InTransit)), (8_00, 0), "it is back");
}

#[test]
fn only_what_is_parked_and_no_longer_tried_is_resolved_by_hand() {
    let (mut world, user) = world(20_00);
    let payment = begun(world.act(Actor::User(user), Action::Withdraw(Cents(10_00))).unwrap()).id;
    let resolve = |world: &mut World, reference: Option<&str>| {
        let reference = reference.map(str::to_owned);
        world.act(Actor::Operator, Action::Resolve { payment, reference })
    };
    assert_eq!(resolve(&mut world, None), Err(Rejection::NotParked(PaymentState::Sending)));
    step(&mut world, payment, Step::Sending);
    step(&mut world, payment, Step::Unknown("no answer".to_owned()));
    assert_eq!(resolve(&mut world, None), Err(Rejection::StillTried));
    world.now = world.now.plus_seconds(24 * 3600);
    resolve(&mut world, None).unwrap();
    assert_eq!((world.wallets[&user].0, house(&world, Account::InTransit)), (20_00, 0));
    assert_eq!(resolve(&mut world, Some("tr_1")), Err(Rejection::NotParked(PaymentState::Failed)));
    // The operator was wrong: that is for people, and moves nothing.
    tell(&mut world, 1, Happened::Reversed { payment, reference: "tr_1".to_owned(), total: Cents(10_00) });
    assert!(matches!(world.notices.values().next().unwrap().1, Some(NoticeEnd::Parked(_))));
    assert_eq!((world.wallets[&user].0, house(&world, Account::InTransit)), (20_00, 0));
}

#[test]
fn a_card_is_charged_when_a_debit_leaves_too_little_once_at_a_time_and_five_times_a_day() {
    let (mut world, user) = world(10_00);
    let auto = AutoTopUp { enabled: true, amount: Cents(20_00), threshold: Cents(8_00), off_because: None };
    world.act(Actor::User(user), Action::SetAutoTopUp(auto)).unwrap();
    let charges = |world: &World| world.payments.len();
    let run = |world: &mut World| {
        while let Some(task) = world.tasks.iter().find(|task| task.kind == TaskKind::TopUp).copied() {
            world.act(Actor::Exchange, Action::Run(Lease { task, token: 1 })).unwrap();
        }
    };
    run(&mut world);
    assert_eq!(charges(&world), 0, "there is enough");
    world.act(Actor::User(user), Action::Post(posting(5_00))).unwrap();
    run(&mut world);
    assert_eq!(charges(&world), 1);
    world.act(Actor::User(user), Action::Post(posting(1_00))).unwrap();
    run(&mut world);
    assert_eq!(charges(&world), 1, "one at a time");
    let payment = *world.payments.keys().next().unwrap();
    step(&mut world, payment, Step::Sending);
    step(&mut world, payment, Step::Done("pi_1".to_owned()));
    assert_eq!(world.wallets[&user].0, 24_00);
    for n in 0..8 {
        world.act(Actor::User(user), Action::Post(posting(20_00))).unwrap();
        run(&mut world);
        let under_way = world.payments.values().find(|payment| payment.state == PaymentState::Sending);
        let Some(id) = under_way.map(|payment| payment.id) else { continue };
        step(&mut world, id, Step::Sending);
        step(&mut world, id, Step::Done(format!("pi_a{n}")));
    }
    assert_eq!(charges(&world), 5, "five a day");
    world.now = world.now.plus_seconds(24 * 3600 + 1);
    world.act(Actor::User(user), Action::Post(posting(1_00))).unwrap();
    run(&mut world);
    assert_eq!(charges(&world), 6);
    let last = world.payments.values().find(|payment| payment.state == PaymentState::Sending).unwrap().id;
    step(&mut world, last, Step::Sending);
    step(&mut world, last, Step::Refused { problem: "expired_card".to_owned(), is_final: true });
    assert_eq!(world.auto[&user].off_because.as_deref(), Some("expired_card"));
    assert!(!world.auto[&user].enabled);
}

#[test]
fn a_wallet_that_owes_spends_nothing_until_it_has_paid() {
    let (mut world, user) = world(0);
    let payment = begun(world.act(Actor::User(user), Action::TopUp(Cents(10_00))).unwrap()).id;
    let (reference, intent) = ("cs_1".to_owned(), Some("pi_1".to_owned()));
    tell(&mut world, 1, Happened::Paid { payment, reference, intent, amount: Some(Cents(10_00)) });
    world.act(Actor::User(user), Action::Post(posting(6_00))).unwrap();
    let refunded = refunded(&world, payment, 10_00);
    tell(&mut world, 2, refunded);
    assert_eq!((world.wallets[&user].0, world.owed[&user].0, house(&world, Account::Losses)), (0, 6_00, -6_00));
    let frozen = Err(Rejection::WalletFrozen { owed: Cents(6_00), available: Cents(0) });
    assert_eq!(world.act(Actor::User(user), Action::Post(posting(1_00))), frozen);
    let again = begun(world.act(Actor::User(user), Action::TopUp(Cents(5_00))).unwrap()).id;
    let paid = |payment, n: u128, cents| {
        (10 + n, Happened::Paid { payment, reference: format!("cs_x{n}"), intent: None, amount: Some(Cents(cents)) })
    };
    let (number, happened) = paid(again, 1, 5_00);
    tell(&mut world, number, happened);
    assert_eq!((world.wallets[&user].0, world.owed[&user].0), (0, 1_00), "what comes in settles it first");
    world.act(Actor::Operator, Action::Grant { user, amount: Cents(4_00) }).unwrap();
    assert_eq!((world.wallets[&user].0, world.owed[&user].0, house(&world, Account::Losses)), (3_00, 0, 0));
    world.act(Actor::User(user), Action::Post(posting(1_00))).unwrap();
}

#[test]
fn what_does_not_fit_is_for_people_and_credits_nothing() {
    let (mut world, user) = world(0);
    let payment = begun(world.act(Actor::User(user), Action::TopUp(Cents(10_00))).unwrap()).id;
    for (number, amount) in [(1, Some(Cents(9_99))), (2, None), (3, Some(Cents(10_000_000)))] {
        tell(&mut world, number, Happened::Paid { payment, reference: "cs_1".to_owned(), intent: None, amount });
    }
    assert_eq!((world.wallets[&user].0, world.payments[&payment].state), (0, PaymentState::Open));
}

#[test]
fn a_refund_that_fails_gives_the_money_back_and_whoever_asked_before_that_asks_again() {
    let (mut world, user) = world(0);
    let payment = begun(world.act(Actor::User(user), Action::TopUp(Cents(10_00))).unwrap()).id;
    let (reference, intent) = ("cs_1".to_owned(), Some("pi_1".to_owned()));
    tell(&mut world, 1, Happened::Paid { payment, reference, intent, amount: Some(Cents(10_00)) });
    let refund = refunded(&world, payment, 4_00);
    tell(&mut world, 2, refund);
    assert_eq!(world.wallets[&user].0, 6_00);
    // Two workers ask Stripe: one while the refund stands, one when it has failed.
    let (slow, fast) = (refunded(&world, payment, 4_00), refunded(&world, payment, 0));
    tell(&mut world, 3, fast);
    assert_eq!(world.wallets[&user].0, 10_00);
    tell(&mut world, 4, slow);
    assert_eq!(world.wallets[&user].0, 10_00, "what was true before is not believed");
    let notice = NoticeId(Uuid::from_u128(4));
    let lease = lease(&world, Subject::Notice(notice));
    let happened = refunded(&world, payment, 0);
    world.act(Actor::Exchange, Action::Heed { lease, happened }).unwrap();
    assert_eq!(world.notices[&notice].1, Some(NoticeEnd::Done));
    assert_eq!((world.wallets[&user].0, world.payments[&payment].moved_back), (10_00, Cents::ZERO));
    // The same about a refund of which nothing was heard until it had failed.
    let (slow, fast) = (refunded(&world, payment, 5_00), refunded(&world, payment, 0));
    tell(&mut world, 5, fast);
    tell(&mut world, 6, slow);
    assert_eq!(world.wallets[&user].0, 10_00);
}

/// What happened to a top-up of ten dollars, each thing told once at least.
fn story() -> Vec<fn(PaymentId, &World) -> Happened> {
    vec![
        |payment, _| Happened::Paid {
            payment,
            reference: "cs_1".to_owned(),
            intent: Some("pi_1".to_owned()),
            amount: Some(Cents(10_00)),
        },
        |payment, _| Happened::Charged { payment, intent: "pi_1".to_owned(), amount: Some(Cents(10_00)) },
        |payment, world| refunded(world, payment, 3_00),
        |payment, world| refunded(world, payment, 3_00),
        |payment, _| Happened::Disputed { payment, dispute: "dp_1".to_owned(), amount: Cents(4_00), won: None },
        |payment, _| Happened::Disputed { payment, dispute: "dp_1".to_owned(), amount: Cents(4_00), won: Some(true) },
        |payment, _| Happened::Disputed { payment, dispute: "dp_2".to_owned(), amount: Cents(1_00), won: None },
        |payment, _| Happened::NotPaid { payment, problem: "nobody paid in time".to_owned() },
    ]
}

proptest! {
    #[test]
    fn in_whatever_order_it_is_told_a_payment_ends_the_same(
        order in Just((0..8).chain(0..8).collect::<Vec<usize>>()).prop_shuffle(),
        spent in 0..12_i64,
    ) {
        let (mut world, user) = world(2_00);
        let payment = begun(world.act(Actor::User(user), Action::TopUp(Cents(10_00))).unwrap()).id;
        let story = story();
        let mut costs = 0;
        for (at, told) in order.iter().enumerate() {
            let happened = story[*told](payment, &world);
            tell(&mut world, *told as u128 + 1, happened);
            let price = spent * 100;
            if at as i64 == spent && world.act(Actor::User(user), Action::Post(posting(price.max(100)))).is_ok() {
                let job = world.jobs.values().next_back().unwrap();
                costs = if job.status() == clawrk_domain::Status::Queued { job.price.0 } else { 0 };
            }
        }
        // Two dollars were there, ten came, three were refunded, one is disputed and four were for a while.
        let (balance, owed) = (world.wallets[&user].0, world.owed.get(&user).map_or(0, |owed| owed.0));
        prop_assert_eq!(balance - owed, 2_00 + 10_00 - 3_00 - 1_00 - costs);
        prop_assert!(balance == 0 || owed == 0, "what is there pays what is owed");
        prop_assert_eq!(house(&world, Account::Losses), -owed);
        prop_assert_eq!(world.payments[&payment].moved_back, Cents(4_00));
        let sum: i64 = world.wallets.values().chain(world.escrows.values()).chain(world.house.values()).map(|c| c.0).sum();
        prop_assert_eq!(sum, 0);
        prop_assert!(!world.tasks.iter().any(|task: &Task| matches!(task.kind, TaskKind::Heed | TaskKind::Pay)));
    }
}
