//! The one home of randomness: the operating system's.

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
