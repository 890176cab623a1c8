//! Jitter without randomness: a hash, so that the core stays pure.

/// A number in 0..1 that is always the same for the same words.
pub(crate) fn jitter(words: &[&str]) -> f64 {
    let hash = hash(words);
    ((hash ^ hash >> 32) % 10_000) as f64 / 10_000.0
}

/// FNV-1a: it spreads hosts well enough, and gives the same on every host and in every release.
pub(crate) fn hash(words: &[&str]) -> u64 {
    let bytes = words.iter().flat_map(|word| word.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
