//! Randomness as a component, so that tests and simulations can replay it.

use std::sync::{Mutex, PoisonError};

/// A source of random bytes.
pub trait Entropy: Send + Sync + std::fmt::Debug {
    /// Fills a buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// The operating system's randomness.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

#[expect(clippy::disallowed_methods, reason = "this is the component that the rest takes its randomness from")]
impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system provides randomness on every platform that is supported");
    }
}

/// A repeatable sequence (SplitMix64). Never for secrets.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<u64>);

impl SeededEntropy {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in buffer.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            for (byte, random) in chunk.iter_mut().zip(z.to_le_bytes()) {
                *byte = random;
            }
        }
    }
}

/// A number below `bound`, close enough to even for pauses and picks.
pub(crate) fn below(entropy: &dyn Entropy, bound: u64) -> u64 {
    let mut bytes = [0u8; 8];
    entropy.fill(&mut bytes);
    u64::from_le_bytes(bytes) % bound.max(1)
}

/// An id of nanoid's alphabet: 64 characters, so that a byte's low six bits pick one evenly.
pub(crate) fn make_id(entropy: &dyn Entropy, size: usize) -> String {
    const ALPHABET: &[u8; 64] = b"useandom-26T198340PX75pxJACKVERYMINDBUSHWOLF_GQZbfghjklqvwyzrict";
    let mut bytes = vec![0u8; size];
    entropy.fill(&mut bytes);
    bytes.iter().map(|b| char::from(ALPHABET.get(usize::from(b & 63)).copied().unwrap_or(b'0'))).collect()
}

/// A ULID: 48 bits of time, 80 of randomness.
/// The smallest token of an instant.
pub(crate) fn earliest_ulid(now_ms: i64) -> String {
    ulid::Ulid::from_parts(u64::try_from(now_ms).unwrap_or(0), 0).to_string()
}

pub(crate) fn make_ulid(entropy: &dyn Entropy, now_ms: i64) -> String {
    let mut bytes = [0u8; 16];
    entropy.fill(&mut bytes);
    ulid::Ulid::from_parts(u64::try_from(now_ms).unwrap_or(0), u128::from_le_bytes(bytes)).to_string()
}
