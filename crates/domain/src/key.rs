//! API keys: what the exchange keeps of them, and what they allow.

use std::fmt;
use std::str::FromStr;

use crate::{KeyId, Timestamp, UserId};

/// One thing that a key may allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// See what is the user's own.
    Read,
    /// Own agents and work with them.
    Work,
    /// Post jobs, review them, and spend the wallet.
    Spend,
    /// Run the exchange.
    Admin,
}

impl Scope {
    /// Every scope, in the order they are shown.
    pub const ALL: [Self; 4] = [Self::Read, Self::Work, Self::Spend, Self::Admin];

    /// The scope's name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Work => "work",
            Self::Spend => "spend",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(())
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// What a user needs to do everything with what is theirs.
    pub const USER: Self = Self(Scope::Read.bit() | Scope::Work.bit() | Scope::Spend.bit());
    /// Everything.
    pub const ALL: Self = Self(Self::USER.0 | Scope::Admin.bit());

    /// The set as a small number, for storage.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set that [`Self::bits`] gave; unknown bits are dropped.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// Whether the scope is in the set.
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Whether every scope of `other` is in this set.
    pub const fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes in the order they are shown.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

/// What is kept of an API key: never the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The key's public part, by which it is found.
    pub id: KeyId,
    /// Whose key.
    pub user: UserId,
    /// What the user calls it.
    pub name: String,
    /// SHA-256 of the whole key.
    pub hash: [u8; 32],
    /// What it allows.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to about a minute.
    pub last_used_at: Option<Timestamp>,
}

/// A key to be made: its secret part is made outside and only its hash comes in.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// The key's public part.
    pub id: KeyId,
    /// SHA-256 of the whole key.
    pub hash: [u8; 32],
    /// What the user calls it.
    pub name: String,
    /// What it allows.
    pub scopes: Scopes,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(bits: u8) -> Scopes {
        Scopes::from_bits(bits)
    }

    #[test]
    fn a_scope_is_known_by_its_name_alone() {
        let names = Scope::ALL.map(Scope::as_str);
        assert_eq!(names, ["read", "work", "spend", "admin"]);
        for (scope, name) in Scope::ALL.into_iter().zip(names) {
            assert_eq!((scope.to_string().as_str(), name.parse()), (name, Ok(scope)));
        }
        assert_eq!("Read".parse::<Scope>(), Err(()));
    }

    #[test]
    fn a_set_of_scopes_has_exactly_those_it_was_made_of() {
        for bits in 0..16 {
            let set = scopes(bits);
            let made_of: Vec<Scope> = set.iter().collect();
            assert_eq!(made_of.iter().copied().collect::<Scopes>(), set);
            assert_eq!((set.bits(), set.is_empty(), made_of.len()), (bits, bits == 0, bits.count_ones() as usize));
            for (scope, bit) in Scope::ALL.into_iter().zip(0..) {
                assert_eq!(set.has(scope), bits >> bit & 1 == 1, "{bits} {scope}");
                assert_eq!(set.has(scope), made_of.contains(&scope), "{bits} {scope}");
            }
            for other in 0..16 {
                let all = scopes(other).iter().all(|scope| set.has(scope));
                assert_eq!(set.covers(scopes(other)), all, "{bits} {other}");
            }
        }
        // Twice is once, and what is no scope is dropped.
        assert_eq!([Scope::Work, Scope::Work].into_iter().collect::<Scopes>().bits(), 2);
        assert_eq!((scopes(0xff), scopes(0xf0)), (Scopes::ALL, Scopes::default()));
        assert_eq!(Scopes::USER.iter().collect::<Vec<_>>(), [Scope::Read, Scope::Work, Scope::Spend]);
    }
}
