//! The source of everything that looks random: SplitMix64, whose every step is integer arithmetic, so that a seed means
//! the same catalogue on every machine. Draws are a pure function of seed, stream and index: nothing may depend on what
//! was drawn before for another product.

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

/// What a sequence of draws is for. Two streams of the same product have nothing in common.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Shape,
    Price,
    Product,
    Features,
    Styles,
    Photos,
    Skus,
    Related,
    Order,
    Site,
    Repair,
    Damage,
}

/// What SplitMix64 adds to its state at each step.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A sequence of draws.
#[derive(Clone)]
pub(crate) struct Random(SplitMix64);

impl Random {
    /// The sequence for `index` (a product, a slot) of a stream.
    pub(crate) fn new(seed: u64, stream: Stream, index: u32) -> Self {
        let stream = mix(seed.wrapping_add(STEP.wrapping_mul(stream as u64 + 1)));
        // Mixed once more, or the sequence of one index would be that of the next, one step behind.
        Self(SplitMix64::seed_from_u64(mix(stream ^ u64::from(index))))
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `end`. (`rand`'s own ranges may change from version to version.) The bias of the multiplication is
    /// under 1 in 80 for the widest range there is (50 million products), and far under 1 in 10,000 for all the others.
    pub(crate) fn below(&mut self, end: u32) -> u32 {
        (((self.bits() >> 32) * u64::from(end)) >> 32) as u32
    }

    /// True once in `times`.
    pub(crate) fn one_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }

    /// One of `choices`, which may not be empty.
    pub(crate) fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len() as u32) as usize]
    }
}

/// What SplitMix64 makes of a state.
fn mix(state: u64) -> u64 {
    SplitMix64::seed_from_u64(state.wrapping_sub(STEP)).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_below_their_end_and_reach_all_of_it() {
        let mut random = Random::new(42, Stream::Shape, 7);
        let mut seen = [false; 6];
        for _ in 0..200 {
            seen[random.below(6) as usize] = true;
        }
        assert_eq!(seen, [true; 6]);
    }
}
