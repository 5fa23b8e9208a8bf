//! Amounts of money.

use std::fmt;
use std::ops::{Add, Neg, Sub};

use serde::{Deserialize, Serialize};

/// An amount in US cents; negative only as a change of a balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cents(pub i64);

impl Cents {
    /// No money.
    pub const ZERO: Self = Self(0);
}

impl Add for Cents {
    type Output = Self;

    fn add(self, rhs: Self) -> Self {
        Self(self.0.checked_add(rhs.0).expect("amounts are bounded far below i64"))
    }
}

impl Sub for Cents {
    type Output = Self;

    fn sub(self, rhs: Self) -> Self {
        Self(self.0.checked_sub(rhs.0).expect("amounts are bounded far below i64"))
    }
}

impl Neg for Cents {
    type Output = Self;

    fn neg(self) -> Self {
        Self(-self.0)
    }
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let cents = self.0.unsigned_abs();
        write!(f, "{sign}${}.{:02}", cents / 100, cents % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::Cents;

    #[test]
    fn prints_dollars() {
        assert_eq!(Cents(500).to_string(), "$5.00");
        assert_eq!(Cents(-7).to_string(), "-$0.07");
        assert_eq!(Cents::ZERO.to_string(), "$0.00");
    }
}
