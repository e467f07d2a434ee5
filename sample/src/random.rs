//! The source of everything that looks random: SplitMix64, whose every step is integer arithmetic, so that
//! a seed means the same catalogue on every machine. A stream is a pure function of (seed, stream, index):
//! nothing may depend on what was drawn before for another product.

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

/// 2⁶⁴ divided by the golden ratio, the step of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A sequence of draws.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The sequence for `index` (a product, a slot) of a stream.
    pub(crate) fn new(seed: u64, stream: Stream, index: u32) -> Self {
        let stream = mix(seed.wrapping_add(STEP.wrapping_mul(stream as u64 + 1)));
        // Mixed once more, or the sequence of one index would be that of the next, one step behind.
        Self(mix(stream ^ u64::from(index)))
    }

    /// 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number below `end`. The bias of the multiplication is under 1 in 80 for the widest range there is
    /// (50 million products), and far under 1 in 10,000 for all the others.
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

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_splitmix64() {
        // The first numbers of the reference implementation for the seed 1234567.
        let mut random = Random(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([random.bits(), random.bits(), random.bits()], expected);
    }

    #[test]
    fn draws_stay_below_their_end_and_reach_all_of_it() {
        let mut random = Random::new(42, Stream::Shape, 7);
        let mut seen = [false; 6];
        for _ in 0..200 {
            seen[random.below(6) as usize] = true;
        }
        assert_eq!(seen, [true; 6]);
    }
}
