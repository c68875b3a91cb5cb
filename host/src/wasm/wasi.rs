//! WASI as plugins see it: everything is linked, nothing is granted, and time and chance come from
//! the session.

use std::convert::Infallible;
use std::time::Duration;

use conclave_core::session::Guest;
use rand_core::TryRng;
use tracing::Level;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx};

use super::log::Log;

/// Random bytes that one call may ask for; the host allocates them.
const RANDOM_BYTES_MAX: u64 = 1 << 20;
/// The session counts milliseconds.
const RESOLUTION: Duration = Duration::from_millis(1);

/// The WASI context of one instance. Without a guest (while `describe` runs) clocks stand still and
/// randomness is the same for every instance.
pub(super) fn context(guest: Option<&Guest>, log: &Log) -> WasiCtx {
    let mut random = match guest {
        Some(guest) => Random::Session(guest.clone()),
        None => Random::Fixed(0),
    };
    let mut seed = [0; 16];
    random.fill(&mut seed);
    let clock = Clock(guest.cloned());
    // The builder starts with standard input closed, no arguments, no environment, no directory,
    // and no address that a socket may use.
    WasiCtx::builder()
        .stdout(log.stream(Level::INFO))
        .stderr(log.stream(Level::WARN))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .wall_clock(clock.clone())
        .monotonic_clock(clock)
        .secure_random(random.clone())
        .insecure_random(random)
        .insecure_random_seed(u128::from_le_bytes(seed))
        .max_random_size(RANDOM_BYTES_MAX)
        .build()
}

/// The session's time: that of the last effect that the plugin was told of.
#[derive(Clone)]
struct Clock(Option<Guest>);

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        RESOLUTION
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.as_ref().map_or(0, Guest::unix_ms))
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        nanoseconds(1)
    }

    fn now(&self) -> u64 {
        nanoseconds(self.0.as_ref().map_or(0, Guest::elapsed_ms))
    }
}

pub(super) fn nanoseconds(ms: u64) -> u64 {
    ms.saturating_mul(1_000_000)
}

/// Where random bytes come from.
#[derive(Clone)]
enum Random {
    /// The session's generator, which its seed decides.
    Session(Guest),
    /// Outside a deliberation: a fixed sequence, from this state on.
    Fixed(u64),
}

impl Random {
    fn fill(&mut self, bytes: &mut [u8]) {
        match self {
            Self::Session(guest) => guest.fill_random(bytes),
            Self::Fixed(state) => {
                for chunk in bytes.chunks_mut(8) {
                    let next = split_mix(state).to_le_bytes();
                    chunk.copy_from_slice(&next[..chunk.len()]);
                }
            }
        }
    }
}

/// The next number of SplitMix64 (Steele, Lea and Flood, 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.fill(bytes);
        Ok(())
    }
}
