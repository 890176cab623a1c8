//! Chance that can be had again: the same numbers for the same seed (SplitMix64).

use std::time::Duration;

/// A sequence of numbers.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        usize::try_from(self.number() % sides as u64).unwrap_or_default()
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.roll(choices.len())]
    }

    /// A time between two numbers of seconds.
    pub fn seconds(&mut self, least: f64, most: f64) -> Duration {
        let share = (self.number() >> 11) as f64 / (1_u64 << 53) as f64;
        Duration::from_secs_f64(least + (most - least) * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        // The first numbers of the reference implementation for this seed.
        let mut dice = Dice::new(1_234_567);
        assert_eq!(dice.number(), 6_457_827_717_110_365_317);
        assert_eq!(dice.number(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn times_stay_within_their_bounds() {
        let mut dice = Dice::new(7);
        for _ in 0..1000 {
            let time = dice.seconds(0.5, 2.0);
            assert!((0.5..2.0).contains(&time.as_secs_f64()));
        }
    }
}
