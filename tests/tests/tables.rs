//! The stop rules of `sample-vote` have the accuracy and the cost that theory gives them, through the
//! compiled component.
//!
//! Two answers, each sample right with probability p. The component decides in every state that
//! sampling can reach whether it stops there and who wins; over these decisions, accuracy and mean
//! samples are summed up exactly.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use conclave::wasm::{Components, Engine, EngineConfig, WasmRuntime};
use conclave_core::entry::Entry;
use conclave_core::ids::Digest;
use conclave_core::outcome::Verdict;
use conclave_core::testkit::host::Host;
use conclave_core::testkit::inference::{Script, ScriptedInference};
use conclave_core::testkit::journal::MemoryJournal;
use conclave_tests::binary::shared_dir;
use conclave_tests::components::component;
use conclave_tests::patience::within;
use serde_json::{Value, json};

/// The most samples of the published runs.
const SAMPLES_MAX: usize = 40;

/// The fakes' host knows one strategy and one scorer, each under the digest of its kind.
struct Compiled;

impl Components for Compiled {
    fn bytes(&self, digest: &Digest) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
        let is_strategy = *digest == Digest::of(b"strategy");
        let name = if is_strategy {
            "sample-vote"
        } else {
            "agreement"
        };
        Ok(component(name)?.to_vec())
    }
}

/// What the samples of the next run will be, and how many were asked for.
#[derive(Default)]
struct Plan {
    right: Vec<bool>,
    asked: usize,
}

/// The component on a host of fakes.
struct Sampling {
    host: Host,
    plan: Arc<Mutex<Plan>>,
}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    samples: usize,
    right_wins: bool,
}

impl Sampling {
    async fn start() -> Self {
        let plan = Arc::new(Mutex::new(Plan::default()));
        let next = Arc::clone(&plan);
        let inference = ScriptedInference::new(move |_, _| {
            let plan = &mut *next.lock().unwrap_or_else(PoisonError::into_inner);
            plan.asked += 1;
            let right = plan
                .right
                .get(plan.asked - 1)
                .expect("no more samples are asked for than allowed");
            Script::answer(if *right { "right" } else { "wrong" })
        });
        let engine = Engine::start(EngineConfig {
            instances_max: 4,
            cache_dir: Some(shared_dir("compiled").expect("the target directory is writable")),
            ..EngineConfig::default()
        });
        let engine = Arc::new(engine.expect("the engine starts"));
        let runtime = WasmRuntime::new(engine, Arc::new(Compiled));
        let host = Host::start(
            &MemoryJournal::new(),
            Arc::new(inference),
            Arc::new(runtime),
        )
        .await;
        Self { host, plan }
    }

    /// Runs the component on these samples.
    async fn run(&self, params: &Value, right: &[bool]) -> Run {
        *self.plan.lock().expect("no closure panicked") = Plan {
            right: right.to_vec(),
            asked: 0,
        };
        let id = self
            .host
            .accept(|draft| draft.strategy_params = params.to_string())
            .await;
        let ended = within("the strategy", self.host.follow.wait(&id)).await;
        ended.expect("it ends").expect("it is known");
        let records = self.host.records(&id);
        let Some(Entry::Finished {
            verdict: Verdict::Completed(outcome),
            ..
        }) = records.last().map(|record| &record.entry)
        else {
            unreachable!("{:?}", records.last());
        };
        Run {
            samples: self.plan.lock().expect("no closure panicked").asked,
            right_wins: outcome.winner().candidate.content == "right",
        }
    }
}

/// How many samples were right, and how many wrong.
type State = (usize, usize);

/// What the component does in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    GoesOn,
    Stops { right_wins: bool },
}

type Decisions = BTreeMap<State, Decision>;

fn after((right, wrong): State, sample: bool) -> State {
    if sample {
        (right + 1, wrong)
    } else {
        (right, wrong + 1)
    }
}

/// The shortest way to a state whose decision is not known; behind it, on into what is not known.
fn path_into_the_unknown(known: &Decisions) -> Option<Vec<bool>> {
    let mut paths = VecDeque::from([((0, 0), Vec::new())]);
    while let Some((state, path)) = paths.pop_front() {
        for sample in [true, false] {
            let next = after(state, sample);
            let mut path: Vec<bool> = path.clone();
            path.push(sample);
            match known.get(&next) {
                None => return Some(extended(known, next, path)),
                Some(Decision::GoesOn) => paths.push_back((next, path)),
                Some(Decision::Stops { .. }) => {}
            }
        }
    }
    None
}

fn extended(known: &Decisions, mut state: State, mut path: Vec<bool>) -> Vec<bool> {
    while path.len() < SAMPLES_MAX {
        let is_known = |sample| known.contains_key(&after(state, sample));
        // Towards what is not known, and else along the diagonal, where sampling goes on longest.
        let to_the_diagonal = state.0 <= state.1;
        let away = is_known(to_the_diagonal) && !is_known(!to_the_diagonal);
        let sample = to_the_diagonal != away;
        state = after(state, sample);
        path.push(sample);
    }
    path
}

/// Every decision that sampling by this rule can come to. The rule must see counts only: states that
/// are reached on several ways must be decided the same.
async fn decisions(sampling: &Sampling, params: &Value) -> Decisions {
    let mut known = Decisions::from([((0, 0), Decision::GoesOn)]);
    while let Some(path) = path_into_the_unknown(&known) {
        let run = sampling.run(params, &path).await;
        let mut state = (0, 0);
        for (place, sample) in path[..run.samples].iter().enumerate() {
            state = after(state, *sample);
            let decision = if place + 1 < run.samples {
                Decision::GoesOn
            } else {
                Decision::Stops {
                    right_wins: run.right_wins,
                }
            };
            let before = known.insert(state, decision).unwrap_or(decision);
            // Which answer wins a tie is no matter of counts.
            let same = match state.0 == state.1 {
                true => (before == Decision::GoesOn) == (decision == Decision::GoesOn),
                false => before == decision,
            };
            assert!(same, "{state:?}: {before:?}, then {decision:?}");
        }
    }
    known
}

/// Accuracy and mean samples when a sample is right with probability `p`.
fn expected(decisions: &Decisions, p: f64) -> (f64, f64) {
    let (mut accuracy, mut mean) = (0.0, 0.0);
    let mut reached = BTreeMap::from([((0, 0), 1.0)]);
    for _ in 0..=SAMPLES_MAX {
        let mut next = BTreeMap::new();
        for (state @ (right, wrong), probability) in reached {
            if let Decision::Stops { right_wins } = decisions[&state] {
                mean += probability * (right + wrong) as f64;
                // A tie goes to the answer that was seen first, which is each in half of the ways.
                let share = if right == wrong {
                    0.5
                } else {
                    f64::from(u8::from(right_wins))
                };
                accuracy += probability * share;
                continue;
            }
            for (sample, chance) in [(true, p), (false, 1.0 - p)] {
                *next.entry(after(state, sample)).or_default() += probability * chance;
            }
        }
        reached = next;
    }
    (accuracy, mean)
}

/// The value with as many decimals as the table prints.
fn assert_prints(printed: &str, value: f64, what: &str) {
    let decimals = printed
        .split_once('.')
        .map_or(0, |(_, decimals)| decimals.len());
    assert_eq!(format!("{value:.decimals$}"), printed, "{what}");
}

#[tokio::test]
async fn an_adaptive_stop_has_its_accuracy_and_its_mean_samples() {
    let sampling = Sampling::start().await;
    let one_by_one = json!({"samples": SAMPLES_MAX, "parallel": 1, "stop": {"rule": "beta"}});
    let decisions = decisions(&sampling, &one_by_one).await;
    let table = [
        (0.6, "0.8756", "24.161"),
        (0.7, "0.9851", "15.114"),
        (0.8, "0.9981", "8.718"),
        (0.9, "0.9999", "5.622"),
    ];
    for (p, accuracy, mean) in table {
        let (has_accuracy, has_mean) = expected(&decisions, p);
        assert_prints(accuracy, has_accuracy, &format!("accuracy at {p}"));
        assert_prints(mean, has_mean, &format!("mean samples at {p}"));
    }
    assert_eq!(decisions[&(4, 0)], Decision::Stops { right_wins: true });
    assert_eq!(decisions[&(3, 0)], Decision::GoesOn);

    // A tie goes to the answer that was seen first.
    let alternating = |first: bool| (0..SAMPLES_MAX).map(move |place| (place % 2 == 0) == first);
    for first in [true, false] {
        let run = sampling
            .run(&one_by_one, &alternating(first).collect::<Vec<_>>())
            .await;
        assert_eq!((run.samples, run.right_wins), (SAMPLES_MAX, first));
    }

    // Running several samples at once, as by default, costs none that the rule would have saved.
    let by_default = json!({"samples": SAMPLES_MAX, "stop": {"rule": "beta"}});
    for seed in 1..=12_usize {
        let right: Vec<_> = (0..SAMPLES_MAX)
            .map(|place| (place * place + seed) % (seed + 2) != 0)
            .collect();
        let one_by_one = sampling.run(&one_by_one, &right).await;
        assert_eq!(
            sampling.run(&by_default, &right).await.samples,
            one_by_one.samples,
            "{right:?}"
        );
    }
}

#[tokio::test]
async fn a_plurality_vote_has_its_accuracy() {
    let sampling = Sampling::start().await;
    let table = [
        (5, ["0.6826", "0.8369", "0.9421", "0.9914"]),
        (9, ["0.7334", "0.9012", "0.9804", "0.9991"]),
        (39, ["0.8979", "0.9957", "1.000", "1.000"]),
    ];
    for (samples, accuracies) in table {
        let params = json!({"samples": samples, "stop": {"rule": "none"}});
        let mut wins = Vec::new();
        for right in 0..=samples {
            let plan: Vec<_> = (0..samples).map(|place| place < right).collect();
            let run = sampling.run(&params, &plan).await;
            assert_eq!(run.samples, samples);
            wins.push(run.right_wins);
        }
        for (p, accuracy) in [0.6, 0.7, 0.8, 0.9].into_iter().zip(accuracies) {
            let won = wins.iter().enumerate().filter(|(_, wins)| **wins);
            let has_accuracy: f64 = won.map(|(right, _)| binomial(samples, right, p)).sum();
            assert_prints(accuracy, has_accuracy, &format!("vote of {samples} at {p}"));
        }
    }
}

/// The probability of `right` right samples among `samples`.
fn binomial(samples: usize, right: usize, p: f64) -> f64 {
    let ways: f64 = (0..right)
        .map(|place| (samples - place) as f64 / (right - place) as f64)
        .product();
    let exponent = |count: usize| i32::try_from(count).expect("samples are few");
    ways * p.powi(exponent(right)) * (1.0 - p).powi(exponent(samples - right))
}

#[tokio::test]
async fn a_window_stop_has_its_mean_samples() {
    const SIZE: usize = 5;
    const WINDOWS: usize = SAMPLES_MAX / SIZE;
    let sampling = Sampling::start().await;
    let params = json!({"samples": SAMPLES_MAX, "stop": {"rule": "window", "size": SIZE}});
    let window = |bits: usize| (0..SIZE).map(move |place| bits >> place & 1 == 1);
    let mixed: Vec<usize> = (1..(1 << SIZE) - 1).collect();

    // No mixed window stops, wherever it stands.
    for first in 0..mixed.len() {
        let plan = mixed
            .iter()
            .cycle()
            .skip(first)
            .take(WINDOWS)
            .flat_map(|bits| window(*bits));
        let run = sampling.run(&params, &plan.collect::<Vec<_>>()).await;
        assert_eq!(run.samples, SAMPLES_MAX, "from {first}");
    }
    // A unanimous one does, wherever it stands.
    for unanimous in [0, (1 << SIZE) - 1] {
        for place in 1..=WINDOWS {
            let before = mixed.iter().take(place - 1).flat_map(|bits| window(*bits));
            let rest = mixed
                .iter()
                .cycle()
                .take(WINDOWS - place)
                .flat_map(|bits| window(*bits));
            let plan = before.chain(window(unanimous)).chain(rest);
            let run = sampling.run(&params, &plan.collect::<Vec<_>>()).await;
            assert_eq!(run.samples, SIZE * place, "{unanimous} at {place}");
        }
    }

    for (p, mean) in [
        (0.6_f64, "29.626"),
        (0.7, "22.752"),
        (0.8, "14.610"),
        (0.9, "8.461"),
    ] {
        let goes_on = 1.0 - p.powi(5) - (1.0 - p).powi(5);
        let windows: f64 = (0..WINDOWS)
            .map(|before| goes_on.powi(i32::try_from(before).expect("few")))
            .sum();
        assert_prints(mean, SIZE as f64 * windows, &format!("mean samples at {p}"));
    }
}
