//! The one home of randomness: the operating system's.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::TryRng;
use rand::rngs::SysRng;

/// So many random bytes.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).expect("a machine without randomness cannot keep secrets");
    bytes
}

/// A seed for a command: every id that it makes is computed from it.
pub fn seed() -> u128 {
    u128::from_le_bytes(bytes())
}

/// A name that no other call gives, in this process and most likely in any: random once, then counted on in large
/// steps, so that it costs nothing. It can be guessed: it is no secret.
pub fn unique() -> [u8; 12] {
    static START: LazyLock<u128> = LazyLock::new(seed);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    const ODD_STEP: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;
    let steps = u128::from(COUNT.fetch_add(1, Ordering::Relaxed)).wrapping_mul(ODD_STEP);
    let name = START.wrapping_add(steps).to_le_bytes();
    std::array::from_fn(|at| name[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unique_names_are() {
        let names: std::collections::HashSet<_> = (0..10_000).map(|_| unique()).collect();
        assert_eq!(names.len(), 10_000);
    }
}
