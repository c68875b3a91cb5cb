//! Whatever bytes come as a component, the check of plugins ends, and accepts or refuses them.

#![no_main]

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use conclave::wasm::{ComponentError, Engine, EngineConfig, PluginLimits};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;

/// One engine for all runs, as in a host.
static HOST: LazyLock<(Runtime, Engine)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    let engine = Engine::start(EngineConfig {
        limits: PluginLimits {
            component_bytes_max: 4 << 20,
            compile_ms_max: 10_000,
            cpu_slice_ms_max: 50,
            cpu_ms_max: 100,
            ..PluginLimits::default()
        },
        instances_max: 1,
        compiled_max: 1,
        ..EngineConfig::default()
    });
    (runtime, engine.expect("an engine starts"))
});

/// The limits above, with room for a busy machine.
const LONGEST: Duration = Duration::from_secs(20);

fuzz_target!(|bytes: &[u8]| {
    let (runtime, engine) = &*HOST;
    let began = Instant::now();
    match runtime.block_on(engine.check(bytes)) {
        Ok(_) => {}
        Err(ComponentError::Refused(refusal)) => {
            assert!(!refusal.reasons.is_empty(), "refused without a reason");
            let text = refusal.to_string();
            assert!(!text.contains("panicked"), "{text}");
        }
        Err(not_now) => panic!("{not_now}"),
    }
    assert!(began.elapsed() < LONGEST, "took {:?}", began.elapsed());
});
