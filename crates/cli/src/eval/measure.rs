//! How good a ranking is, by the field's usual figures.

use std::collections::HashSet;

/// How far down a ranking is looked.
pub(super) const DEPTH: usize = 100;
const TEN: usize = 10;

/// The places of the jobs that belong to one persona.
pub(super) type Relevant = HashSet<usize>;

/// One ranking's figures, or the means of many: each from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Figures {
    /// Whether the first is right.
    pub(super) p_at_1: f64,
    /// How many of the right ones are among the first ten.
    pub(super) r_at_10: f64,
    /// One over the place of the first right one, 0 where it is not among the first hundred.
    pub(super) mrr: f64,
    /// The discounted gain of the first ten, of the greatest there could be.
    pub(super) ndcg_at_10: f64,
}

impl Figures {
    /// Of a ranking in which these are right, of which there is at least one.
    pub(super) fn of(ranked: &[usize], relevant: &Relevant) -> Self {
        let right = |place: &usize| relevant.contains(place);
        let discount = |rank: usize| 1.0 / ((rank + 2) as f64).log2();
        let first_ten = &ranked[..ranked.len().min(TEN)];
        let gain: f64 =
            first_ten.iter().enumerate().filter(|(_, place)| right(place)).map(|(rank, _)| discount(rank)).sum();
        let greatest: f64 = (0..relevant.len().min(TEN)).map(discount).sum();
        Self {
            p_at_1: f64::from(u8::from(ranked.first().is_some_and(right))),
            r_at_10: first_ten.iter().filter(|place| right(place)).count() as f64 / relevant.len() as f64,
            mrr: ranked.iter().take(DEPTH).position(right).map_or(0.0, |rank| 1.0 / (rank + 1) as f64),
            ndcg_at_10: gain / greatest,
        }
    }
}

impl FromIterator<Figures> for Figures {
    /// The means.
    fn from_iter<I: IntoIterator<Item = Self>>(all: I) -> Self {
        let (mut sum, mut count) = (Self::default(), 0.0);
        for one in all {
            sum.p_at_1 += one.p_at_1;
            sum.r_at_10 += one.r_at_10;
            sum.mrr += one.mrr;
            sum.ndcg_at_10 += one.ndcg_at_10;
            count += 1.0;
        }
        Self {
            p_at_1: sum.p_at_1 / count,
            r_at_10: sum.r_at_10 / count,
            mrr: sum.mrr / count,
            ndcg_at_10: sum.ndcg_at_10 / count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_those_of_the_books() {
        // Right at the second and the fourth of five; a third right one is missing.
        let figures = Figures::of(&[10, 1, 11, 2, 12], &Relevant::from([1, 2, 3]));
        let close = |one: f64, other: f64| (one - other).abs() < 1e-4;
        assert_eq!((figures.p_at_1, figures.mrr), (0.0, 0.5));
        assert!(close(figures.r_at_10, 2.0 / 3.0), "{figures:?}");
        // (1/log2(3) + 1/log2(5)) / (1 + 1/log2(3) + 1/2)
        assert!(close(figures.ndcg_at_10, 0.4982), "{figures:?}");
        assert_eq!(
            Figures::of(&[1], &Relevant::from([1])),
            Figures { p_at_1: 1.0, r_at_10: 1.0, mrr: 1.0, ndcg_at_10: 1.0 }
        );
        assert_eq!(Figures::of(&[], &Relevant::from([1])), Figures::default());
    }

    #[test]
    fn what_comes_behind_the_tenth_counts_for_the_reciprocal_rank_alone() {
        let ranked: Vec<usize> = (0..20).collect();
        let figures = Figures::of(&ranked, &Relevant::from([10]));
        assert_eq!(figures, Figures { mrr: 1.0 / 11.0, ..Figures::default() });
    }
}
