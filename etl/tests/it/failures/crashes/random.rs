//! Random numbers from a seed that is printed, so that a failure can be repeated.

use std::env;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// Of the seed in the environment, or of a random one.
pub(super) fn seeded() -> StdRng {
    let given = env::var("ATELIER_CRASH_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed = given.unwrap_or_else(|| rand::random_range(0..1_000_000));
    println!("to repeat this run: ATELIER_CRASH_SEED={seed}");
    StdRng::seed_from_u64(seed)
}
