//! The exchange's fee: a share of the price and a flat part, fixed when a job is created.

use crate::{Cents, Policy};

/// The fee on a price: its share rounded half up to a cent, plus the flat part, never above the price.
pub fn fee(price: Cents, policy: &Policy) -> Cents {
    let share = (i128::from(price.0) * i128::from(policy.fee_bps) + 5_000) / 10_000;
    let fee = share + i128::from(policy.fee_flat.0);
    Cents(i64::try_from(fee.min(i128::from(price.0))).expect("at most the price"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_published_examples() {
        let policy = Policy::default();
        for (price, expected) in [(500, 150), (1000, 250), (5000, 1050), (100, 70), (102, 70), (103, 71)] {
            assert_eq!(fee(Cents(price), &policy), Cents(expected), "price {price}");
        }
    }

    #[test]
    fn fee_and_payout_make_the_price_for_every_allowed_price() {
        let policy = Policy::default();
        for price in 100..=100_000 {
            let fee = fee(Cents(price), &policy).0;
            let exact_tenths = price * 2 + 500;
            assert!((10 * fee - exact_tenths).abs() <= 5, "price {price}");
            assert!(10 * fee - exact_tenths > -5, "a half rounds up: price {price}");
            assert!((0..=price).contains(&fee));
        }
    }

    proptest! {
        #[test]
        fn never_above_the_price(price in 1_i64..=100_000, bps in 0_u32..=10_000, flat in 0_i64..=200_000) {
            let policy = Policy { fee_bps: bps, fee_flat: Cents(flat), ..Policy::default() };
            let fee = fee(Cents(price), &policy);
            prop_assert!(fee >= Cents::ZERO && fee <= Cents(price));
        }
    }
}
