//! Values in buckets, so that a median can be told of any number of them.
//!
//! Up to 20 each value has a bucket of its own; from there on a bucket is a tenth as wide as it is high, and its middle
//! stands for all that is in it. So a median is exact up to 20 and at most 5 % off above.

use std::collections::BTreeMap;

/// How many there are: enough for 10¹² and beyond.
const BUCKETS: usize = 300;

/// The least value of each.
static LEAST: [i64; BUCKETS] = {
    let mut least = [0; BUCKETS];
    let mut at = 1;
    while at < BUCKETS {
        let before: i64 = least[at - 1];
        let wide = before / 10;
        least[at] = before + if wide > 1 { wide } else { 1 };
        at += 1;
    }
    least
};

/// The bucket of a value; what is below zero counts as zero.
pub fn bucket(value: i64) -> u32 {
    let at = LEAST.partition_point(|least| *least <= value.max(0));
    u32::try_from(at.saturating_sub(1)).expect("there are few buckets")
}

/// The value that stands for all in a bucket; the last bucket has no end and is stood for by its least.
pub fn middle(bucket: u32) -> i64 {
    let at = usize::try_from(bucket).unwrap_or(usize::MAX).min(BUCKETS - 1);
    let end = LEAST.get(at + 1).copied().unwrap_or(LEAST[at] + 1);
    LEAST[at] + (end - 1 - LEAST[at]) / 2
}

/// How many values there are in each bucket.
pub type Spread = BTreeMap<u32, i64>;

/// The median of what is in the buckets; of two in the middle the lower one.
pub fn median(spread: &Spread) -> Option<i64> {
    let all: i64 = spread.values().sum();
    let mut before = 0;
    let reaches = |(bucket, many): (&u32, &i64)| {
        before += many;
        (2 * before >= all).then(|| middle(*bucket))
    };
    if all > 0 { spread.iter().filter(|(_, many)| **many > 0).find_map(reaches) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_a_value_is_at_most_a_twentieth_off() {
        let (mut value, mut last) = (0_i64, 0);
        while value < 1_000_000_000_000 {
            let (bucket, off) = (bucket(value), (middle(bucket(value)) - value).abs());
            assert!(off * 20 <= value, "{value} is told as {}", middle(bucket));
            assert!(bucket >= last, "buckets are in the order of their values");
            last = bucket;
            value += 1 + value / 37;
        }
        assert!((0..=20).all(|value| middle(bucket(value)) == value));
        assert_eq!((bucket(-5), bucket(i64::MAX)), (0, 299));
    }

    #[test]
    fn a_median_is_the_value_in_the_middle() {
        let of = |values: &[i64]| {
            let mut spread = Spread::new();
            values.iter().for_each(|value| *spread.entry(bucket(*value)).or_default() += 1);
            median(&spread)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7]), Some(7));
        assert_eq!(of(&[3, 9, 1]), Some(3));
        assert_eq!(of(&[1, 2, 3, 4]), Some(2), "of two the lower one");
        assert_eq!(of(&[1, 1, 1, 20, 20]), Some(1));
        assert_eq!(median(&Spread::from([(3, 0), (5, 0)])), None);
        assert_eq!(median(&Spread::from([(3, 0), (5, 1)])), Some(5));
    }
}
