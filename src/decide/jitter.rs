//! Jitter without randomness: a hash, so that the core stays pure.

/// A number in 0..1 that is always the same for the same words.
pub(crate) fn jitter(words: &[&str]) -> f64 {
    // FNV-1a: it spreads hosts well enough, and gives the same on every host and in every release.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in words.iter().flat_map(|word| word.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 32;
    (hash % 10_000) as f64 / 10_000.0
}
