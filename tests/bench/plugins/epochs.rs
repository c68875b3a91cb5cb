//! What it costs that a plugin can be interrupted: the same code with epochs and without.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use wasmtime::{Config, Engine, Instance, Module, Store, UpdateDeadline};

/// As in the host.
const TICK: Duration = Duration::from_millis(2);
/// Runs of each kind, in turn; the quickest of each counts.
const RUNS: usize = 7;

/// What computes: the name, and a module that exports `run`.
const PROGRAMS: [(&str, &str); 2] = [
    (
        "the shortest loop there is",
        r#"(module (func (export "run") (result i32)
            (local $number i32)
            (loop $again
                (local.set $number (i32.add (local.get $number) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $number) (i32.const 200000000))))
            (local.get $number)))"#,
    ),
    (
        "a sieve of primes",
        r#"(module (memory 64) (func (export "run") (result i32)
            (local $prime i32) (local $multiple i32) (local $found i32) (local $round i32)
            (loop $rounds
                (memory.fill (i32.const 0) (i32.const 0) (i32.const 4000000))
                (local.set $prime (i32.const 2))
                (loop $primes
                    (if (i32.eqz (i32.load8_u (local.get $prime))) (then
                        (local.set $found (i32.add (local.get $found) (i32.const 1)))
                        (local.set $multiple (i32.add (local.get $prime) (local.get $prime)))
                        (block $done (loop $multiples
                            (br_if $done (i32.ge_u (local.get $multiple) (i32.const 4000000)))
                            (i32.store8 (local.get $multiple) (i32.const 1))
                            (local.set $multiple (i32.add (local.get $multiple) (local.get $prime)))
                            (br $multiples)))))
                    (local.set $prime (i32.add (local.get $prime) (i32.const 1)))
                    (br_if $primes (i32.lt_u (local.get $prime) (i32.const 4000000))))
                (local.set $round (i32.add (local.get $round) (i32.const 1)))
                (br_if $rounds (i32.lt_u (local.get $round) (i32.const 5))))
            (local.get $found)))"#,
    ),
];

/// How long one program takes.
#[derive(Debug, Serialize)]
pub(crate) struct Epochs {
    pub(crate) what: &'static str,
    pub(crate) without: Duration,
    pub(crate) with: Duration,
}

/// Runs each program with epochs and without, in turn.
pub(crate) fn measure() -> wasmtime::Result<Vec<Epochs>> {
    PROGRAMS
        .into_iter()
        .map(|(what, text)| {
            let module = wat::parse_str(text)?;
            let [plain, interrupted] = [false, true].map(|epochs| {
                let mut config = Config::new();
                config
                    .epoch_interruption(epochs)
                    .cranelift_nan_canonicalization(true);
                Engine::new(&config)
            });
            let (plain, interrupted) = (plain?, interrupted?);
            let modules = [
                Module::new(&plain, &module)?,
                Module::new(&interrupted, &module)?,
            ];
            let ticking = Ticking::start(interrupted);
            let mut least = [Duration::MAX; 2];
            for _ in 0..RUNS {
                for (least, module) in least.iter_mut().zip(&modules) {
                    *least = run(module)?.min(*least);
                }
            }
            drop(ticking);
            let [without, with] = least;
            Ok(Epochs {
                what,
                without,
                with,
            })
        })
        .collect()
}

fn run(module: &Module) -> wasmtime::Result<Duration> {
    let mut store = Store::new(module.engine(), ());
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
    let instance = Instance::new(&mut store, module, &[])?;
    let run = instance.get_typed_func::<(), i32>(&mut store, "run")?;
    let began = Instant::now();
    run.call(&mut store, ())?;
    Ok(began.elapsed())
}

/// Advances an engine's epoch until it is dropped.
struct Ticking(Arc<AtomicBool>);

impl Ticking {
    fn start(engine: Engine) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::park_timeout(TICK);
                engine.increment_epoch();
            }
        });
        Self(stop)
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
