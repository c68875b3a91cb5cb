//! What a guest can observe of chance, time and arithmetic: the same in every run of one
//! deliberation, or a replay could diverge.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use conclave_sdk::{Context, Level};

use crate::misbehave::count;

/// Keys `context-random` (three numbers), `hash-seed` (of WASI's randomness), `map-order` (of a
/// map with such a seed), `elapsed-ms`, `system-time` and `monotonic-step` (in nanoseconds).
pub(crate) fn chance_and_time(ctx: &Context) -> Vec<(String, String)> {
    let random: Vec<u32> = (0..3).map(|_| ctx.random()).collect();
    let map: HashMap<u32, ()> = (0..16).map(|key| (key, ())).collect();
    let order: Vec<u32> = map.into_keys().collect();
    let start = Instant::now();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    facts([
        ("context-random", format!("{random:?}")),
        ("hash-seed", RandomState::new().hash_one(0).to_string()),
        ("map-order", format!("{order:?}")),
        ("elapsed-ms", ctx.elapsed().as_millis().to_string()),
        (
            "system-time",
            now.map_or_else(|error| error.to_string(), |now| now.as_nanos().to_string()),
        ),
        ("monotonic-step", start.elapsed().as_nanos().to_string()),
    ])
}

/// Keys `elapsed`, `monotonic` and `system`: how far each clock went while the plugin computed for
/// some hundred milliseconds and called all that is no effect.
pub(crate) fn clocks(ctx: &Context) -> Vec<(String, String)> {
    let read = || (ctx.elapsed(), Instant::now(), SystemTime::now());
    let (elapsed, monotonic, system) = read();
    for _ in 0..10 {
        count(20_000_000);
        // A timer that is due at once is polled, and waits for nothing.
        sleep(Duration::ZERO);
        ctx.log(Level::Debug, "what is the time?");
        black_box(ctx.random());
        black_box(RandomState::new());
    }
    let (elapsed_then, monotonic_then, system_then) = read();
    let went = |time: Duration| time.as_nanos().to_string();
    facts([
        ("elapsed", went(elapsed_then - elapsed)),
        ("monotonic", went(monotonic_then - monotonic)),
        (
            "system",
            system_then
                .duration_since(system)
                .map_or_else(|error| error.to_string(), went),
        ),
    ])
}

#[expect(
    clippy::disallowed_methods,
    reason = "a guest that sleeps by itself is what is tested"
)]
fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}

/// Keys `nan-<operation>` (the bits of the NaN that it gives) and `relaxed-madd` (the bits of a
/// relaxed multiply and add whose rounding differs with and without fusion).
pub(crate) fn arithmetic() -> Vec<(String, String)> {
    let (zero, other_zero) = black_box((0.0_f64, 0.0_f64));
    let (infinity, other_infinity) = black_box((f64::INFINITY, f64::INFINITY));
    let payload = black_box(f64::from_bits(0x7FF8_0000_DEAD_BEEF));
    let bits = |value: f64| format!("{:016x}", black_box(value).to_bits());
    facts([
        ("nan-division", bits(zero / other_zero)),
        ("nan-subtraction", bits(infinity - other_infinity)),
        ("nan-product", bits(zero * infinity)),
        ("nan-root", bits((zero - 1.0).sqrt())),
        ("nan-payload", bits(payload + 1.0)),
        ("nan-operands", bits(payload + zero / other_zero)),
        ("relaxed-madd", relaxed_madd()),
    ])
}

/// 1 + 2^-23 squared, less its rounded square: 0 in two steps, the rest of the product if fused.
#[cfg(target_family = "wasm")]
fn relaxed_madd() -> String {
    use std::arch::wasm32::{f32x4_extract_lane, f32x4_relaxed_madd, f32x4_splat};

    #[target_feature(enable = "relaxed-simd")]
    fn madd(a: f32, b: f32) -> f32 {
        f32x4_extract_lane::<0>(f32x4_relaxed_madd(
            f32x4_splat(a),
            f32x4_splat(a),
            f32x4_splat(b),
        ))
    }
    let a = black_box(1.0 + f32::EPSILON);
    format!("{:08x}", madd(a, -black_box(a * a)).to_bits())
}

/// A native build, which only checks, has no such instruction.
#[cfg(not(target_family = "wasm"))]
fn relaxed_madd() -> String {
    String::new()
}

fn facts<const N: usize>(facts: [(&str, String); N]) -> Vec<(String, String)> {
    let facts = facts.into_iter();
    facts.map(|(key, value)| (key.to_owned(), value)).collect()
}
