//! A wallet as far as spending from it goes: what it holds, what it owes, and when it asks for more.

use crate::{
    Account, Cents, Change, Ids, Reason, Rejection, Subject, Task, TaskKind, Timestamp, Transfer, UserId, Write,
};

/// What is known of a wallet when something is decided about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Purse {
    /// What it holds; never below zero.
    pub balance: Cents,
    /// What was taken back of its payments and it could not cover. While it owes, nothing is spent from it.
    pub owed: Cents,
    /// A card is charged when a debit leaves less than this.
    pub tops_up_below: Option<Cents>,
}

impl Purse {
    /// Pays what is owed, as far as there is something to pay it with.
    pub(crate) fn settle(&mut self, user: UserId, now: Timestamp, ids: &mut Ids) -> Vec<Write> {
        let amount = self.owed.min(self.balance);
        if amount <= Cents::ZERO {
            return Vec::new();
        }
        self.balance = self.balance - amount;
        self.owed = self.owed - amount;
        let id = ids.transfer();
        let (from, to) = (Account::Wallet(user), Account::Losses);
        let paid = Transfer { id, at: now, from, to, amount, reason: Reason::Settlement(id) };
        vec![Write::Transfer(paid), Write::Owe(user, -amount)]
    }

    /// Carries out what spends from it: first it pays what it owes, and while it owes more than it has nothing else is
    /// paid from it.
    pub(crate) fn spend(
        mut self,
        user: UserId,
        now: Timestamp,
        ids: &mut Ids,
        spending: impl FnOnce(Cents, &mut Ids) -> Result<Change, Rejection>,
    ) -> Result<Change, Rejection> {
        let (owed, available) = (self.owed, self.balance);
        let settled = self.settle(user, now, ids);
        if self.owed > Cents::ZERO {
            return Err(Rejection::WalletFrozen { owed, available });
        }
        let mut change = spending(self.balance, ids)?;
        change.writes.splice(0..0, settled);
        Ok(change)
    }
}

/// The change, and a look at whether the wallet needs more if this leaves it with too little.
pub(crate) fn topped_up(mut change: Change, user: UserId, purse: Purse, now: Timestamp) -> Change {
    let Some(below) = purse.tops_up_below else { return change };
    let of_user = |write: &Write| write.wallet().filter(|(whose, _)| *whose == user).map(|(_, delta)| delta);
    let delta = change.writes.iter().filter_map(of_user).fold(Cents::ZERO, |sum, delta| sum + delta);
    if delta < Cents::ZERO && purse.balance + delta < below {
        change.writes.push(Write::Schedule(Task { kind: TaskKind::TopUp, subject: Subject::User(user), due_at: now }));
    }
    change
}
