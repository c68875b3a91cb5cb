//! All randomness that a plugin sees: generators over the deliberation's seed (ChaCha with eight
//! rounds, one stream for each plugin call and use), so that a replay draws the same numbers.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use crate::ids::{Actor, JobId};

/// The generators of one plugin call.
#[derive(Debug)]
pub(super) struct Chance {
    contract: ChaCha8Rng,
    wasi: ChaCha8Rng,
}

impl Chance {
    pub(super) fn new(seed: u64, actor: Actor) -> Self {
        let stream = u64::from(actor.0) * 2;
        Self {
            contract: generator(seed, stream),
            wasi: generator(seed, stream + 1),
        }
    }

    /// `context.random-u32`: 0 to 2^31-1.
    pub(super) fn random_u32(&mut self) -> u32 {
        self.contract.next_u32() >> 1
    }

    /// The bytes that WASI gives.
    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        self.wasi.fill_bytes(bytes);
    }
}

/// A number of 0 to 1 that spreads the retries of different generations.
pub(super) fn jitter(seed: u64, job: JobId, attempt: u32) -> f64 {
    let stream = (1 << 63) | (u64::from(job.0) << 32) | u64::from(attempt);
    f64::from(generator(seed, stream).next_u32()) / f64::from(u32::MAX)
}

fn generator(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(stream);
    generator
}
