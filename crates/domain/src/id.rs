//! Ids, and the one place where they are made: a stream computed from a command's seed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Timestamp;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            /// Reads the hyphenated lower-case form only, so that one thing has one name.
            fn from_str(text: &str) -> Result<Self, MalformedId> {
                let id = Uuid::try_parse(text).map_err(|_| MalformedId)?;
                if id.as_hyphenated().to_string() == text { Ok(Self(id)) } else { Err(MalformedId) }
            }
        }
    };
}

uuid_id!(
    /// A user: UUIDv7.
    UserId
);
uuid_id!(
    /// An agent: UUIDv7.
    AgentId
);
uuid_id!(
    /// A transfer of the ledger: UUIDv7.
    TransferId
);
uuid_id!(
    /// An uploaded file: UUIDv7.
    UploadId
);

uuid_id!(
    /// A payment to or from the outside: UUIDv7.
    PaymentId
);
uuid_id!(
    /// A notice of Stripe's, as it is kept: UUIDv7.
    NoticeId
);

impl UploadId {
    /// When it was made, to the millisecond; none for an id that nobody here made.
    pub fn made_at(&self) -> Option<Timestamp> {
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        let seconds = i64::try_from(seconds).ok()?;
        Some(Timestamp::from_micros(seconds.checked_mul(1_000_000)? + i64::from(nanos / 1000)))
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 12]);

        impl $name {
            /// The id as text: 12 characters of `[0-9A-Za-z]`.
            pub fn as_str(&self) -> &str {
                std::str::from_utf8(&self.0).expect("made of ASCII only")
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            fn from_str(text: &str) -> Result<Self, MalformedId> {
                let bytes: [u8; 12] = text.as_bytes().try_into().map_err(|_| MalformedId)?;
                if bytes.iter().all(u8::is_ascii_alphanumeric) { Ok(Self(bytes)) } else { Err(MalformedId) }
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

text_id!(
    /// A job: 12 URL-safe characters that begin with the time, so that what is new stands together; 30 random bits for
    /// each millisecond.
    JobId
);
text_id!(
    /// An API key's public part: 12 characters, 71 random bits.
    KeyId
);

/// The random end of a job's id; before it there is room for the time until the year 2065.
const RANDOM_BITS: u32 = 30;

/// A number as 12 letters that are in the order of the numbers; a higher end that does not fit is dropped.
fn letters(mut number: u128) -> [u8; 12] {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut letters = [0; 12];
    for letter in letters.iter_mut().rev() {
        *letter = ALPHABET[(number % 62) as usize];
        number /= 62;
    }
    letters
}

/// The text is no id of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a well-formed id")]
pub struct MalformedId;

/// A stream of fresh ids: the same seed and time give the same ids, other seeds give others.
#[derive(Debug)]
pub struct Ids {
    state: [u64; 2],
    now: Timestamp,
}

impl Ids {
    /// Starts the stream. The seed carries all of the ids' randomness (128 bits of it).
    pub fn new(seed: u128, now: Timestamp) -> Self {
        Self { state: [(seed >> 64) as u64, seed as u64], now }
    }

    /// A fresh user id.
    pub fn user(&mut self) -> UserId {
        UserId(self.uuid())
    }

    /// A fresh agent id.
    pub fn agent(&mut self) -> AgentId {
        AgentId(self.uuid())
    }

    /// A fresh transfer id.
    pub fn transfer(&mut self) -> TransferId {
        TransferId(self.uuid())
    }

    /// A fresh id for an uploaded file.
    pub fn upload(&mut self) -> UploadId {
        UploadId(self.uuid())
    }

    /// A fresh payment id.
    pub fn payment(&mut self) -> PaymentId {
        PaymentId(self.uuid())
    }

    /// No payment that was begun at this time or later has a smaller id.
    pub fn first_payment_at(time: Timestamp) -> PaymentId {
        let millis = u64::try_from(time.millis()).unwrap_or(0);
        PaymentId(Uuid::from_u128(u128::from(millis) << 80))
    }

    /// A fresh id for a notice.
    pub fn notice(&mut self) -> NoticeId {
        NoticeId(self.uuid())
    }

    /// A fresh job id.
    pub fn job(&mut self) -> JobId {
        let millis = u128::try_from(self.now.millis()).unwrap_or(0);
        JobId(letters(millis << RANDOM_BITS | u128::from(self.next() >> (64 - RANDOM_BITS))))
    }

    /// A fresh key id.
    pub fn key(&mut self) -> KeyId {
        KeyId(letters((u128::from(self.next()) << 64) | u128::from(self.next())))
    }

    fn uuid(&mut self) -> Uuid {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.next().to_be_bytes());
        random[8..].copy_from_slice(&self.next().to_be_bytes()[..2]);
        let millis = u64::try_from(self.now.millis()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    /// The next 64 bits; each output is mixed once more so that a zero seed is no special case.
    fn next(&mut self) -> u64 {
        let output = xoroshiro128(&mut self.state);
        if self.state == [0, 0] {
            self.state = [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9];
        }
        splitmix64(output)
    }
}

/// xoroshiro128++ as published: the next output and the next state.
fn xoroshiro128(state: &mut [u64; 2]) -> u64 {
    let [a, mut b] = *state;
    let output = a.wrapping_add(b).rotate_left(17).wrapping_add(a);
    b ^= a;
    *state = [a.rotate_left(49) ^ b ^ (b << 21), b.rotate_left(28)];
    output
}

/// The first output of SplitMix64 as published, from this seed.
fn splitmix64(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_stream_of_distinct_ids() {
        let now = Timestamp::from_micros(1_735_689_600_000_000);
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..1000 {
            let (mut one, mut two) = (Ids::new(seed, now), Ids::new(seed, now));
            for _ in 0..3 {
                assert_eq!(one.job(), two.job());
                assert!(seen.insert(one.user().to_string()));
                two.user();
            }
        }
    }

    #[test]
    fn the_generators_give_the_numbers_that_were_published_with_them() {
        let mut state = [1, 2];
        let outputs: [u64; 5] = std::array::from_fn(|_| xoroshiro128(&mut state));
        let published = [
            393_217,
            669_327_710_093_319,
            1_732_421_326_133_921_491,
            11_394_790_081_659_126_983,
            9_555_452_776_773_192_676,
        ];
        assert_eq!(outputs, published);
        assert_eq!(splitmix64(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(splitmix64(1_234_567), 6_457_827_717_110_365_317);
    }

    #[test]
    fn every_letter_of_a_keys_id_is_random() {
        let mut ids = Ids::new(1, Timestamp::from_micros(0));
        let keys: Vec<KeyId> = std::iter::repeat_with(|| ids.key()).take(1000).collect();
        for place in 0..12 {
            let letters: std::collections::BTreeSet<u8> =
                keys.iter().map(|key| key.as_str().as_bytes()[place]).collect();
            assert_eq!(letters.len(), 62, "place {place}");
        }
    }

    #[test]
    fn uuids_are_version_7_and_carry_the_time() {
        let now = Timestamp::from_micros(1_735_689_600_000_000);
        let id = Ids::new(7, now).agent();
        assert_eq!(id.0.get_version_num(), 7);
        assert!(id.to_string().starts_with("01941f29-7c00-7"));
    }

    #[test]
    fn later_jobs_stand_behind_earlier_ones() {
        let at = |seconds: i64, seed| Ids::new(seed, Timestamp::from_micros(seconds * 1_000_000)).job();
        let (mut before, end) = (at(1_735_689_600, 0), 2_996_000_000);
        for seconds in (1_735_689_601..end).step_by(10_000_019) {
            let job = at(seconds, u128::MAX - seconds as u128);
            assert!(before < job && before.as_str() < job.as_str(), "{before} {job}");
            before = job;
        }
    }

    #[test]
    fn ids_read_back_and_nothing_else_does() {
        let id = Ids::new(1, Timestamp::from_micros(0)).job();
        assert_eq!(id.as_str().parse::<JobId>(), Ok(id));
        for bad in ["", "short", "twelve-chars", "thirteenchars", "ünïcödé!"] {
            assert!(bad.parse::<JobId>().is_err(), "{bad}");
        }
        assert!("01941F29-7C00-7000-8000-000000000000".parse::<UserId>().is_err());
    }
}
