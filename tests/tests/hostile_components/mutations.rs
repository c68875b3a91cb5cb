//! Damaged and mutated components are refused, or are plugins: nothing else becomes of them.
//!
//! The mutations are the same in every run. `tests/fuzz` looks for others.

use std::time::Duration;

use conclave::wasm::{ComponentError, Engine, EngineConfig, PluginLimits};

use crate::component::Parts;

const MUTATIONS: u64 = 400;

/// A check may take its limits of CPU time and a compilation of what is this small.
const LONGEST: Duration = Duration::from_secs(60);

/// The next number of SplitMix64 (Steele, Lea and Flood, 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Changes some bytes: to another, by a bit, cut out, doubled, or to a large number.
fn mutated(sound: &[u8], seed: u64) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    let mut state = seed;
    for _ in 0..=next(&mut state) % 4 {
        let length = bytes.len() as u64;
        // Behind the header, or everything would be refused for that.
        let at = (8 + next(&mut state) % (length - 8)) as usize;
        let end = (at + 1 + (next(&mut state) % 32) as usize).min(bytes.len());
        match next(&mut state) % 6 {
            0 => bytes[at] = next(&mut state) as u8,
            1 | 2 => bytes[at] ^= 1 << (next(&mut state) % 8),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let doubled = bytes[at..end].to_vec();
                bytes.splice(at..at, doubled);
            }
            _ => {
                let large = [0xff, 0xff, 0xff, 0xff, 0x07];
                bytes.splice(at..=at, large);
            }
        }
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mutated_component_is_a_plugin_or_is_refused() {
    let engine = Engine::start(EngineConfig {
        limits: PluginLimits {
            cpu_slice_ms_max: 100,
            cpu_ms_max: 200,
            ..PluginLimits::default()
        },
        instances_max: 1,
        ..EngineConfig::default()
    });
    let engine = engine.unwrap();
    let sound = Parts::default().component();
    engine.check(&*sound).await.unwrap();
    let (mut plugins, mut refused) = (0, 0);
    for seed in 0..MUTATIONS {
        let bytes = mutated(&sound, seed);
        let checked = tokio::time::timeout(LONGEST, engine.check(bytes)).await;
        let checked = checked.unwrap_or_else(|_| unreachable!("mutation {seed} takes too long"));
        match checked {
            Ok(_) => plugins += 1,
            Err(ComponentError::Refused(refusal)) => {
                assert!(!refusal.reasons.is_empty(), "mutation {seed}");
                let text = refusal.to_string();
                assert!(!text.contains("panicked"), "mutation {seed}: {text}");
                refused += 1;
            }
            Err(error) => unreachable!("mutation {seed}: {error}"),
        }
    }
    // Both happen: the mutations are neither too wild nor too tame.
    assert!(plugins > 0 && refused > 0, "{plugins} and {refused}");
    // The engine is as good as before.
    engine.check(&*sound).await.unwrap();
}
