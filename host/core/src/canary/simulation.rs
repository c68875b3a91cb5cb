//! Many lives of canaries, with seeds: how often a harmless one is found worse, and how soon a bad one.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use crate::channel::{Arm, Draw, Share};

use super::{Ending, ErrorRate, Evidence, Finding, Observation, Test};

/// How deliberations go on one version.
#[derive(Clone, Copy, Debug)]
struct Rates {
    trap: f64,
    fail: f64,
    deadline: f64,
    cancel: f64,
    score: f64,
}

const USUAL: Rates = Rates {
    trap: 0.01,
    fail: 0.03,
    deadline: 0.02,
    cancel: 0.05,
    score: 0.7,
};

/// A place where deliberations come and go.
struct World {
    chance: ChaCha8Rng,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            chance: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// A number from 0 to 1.
    fn number(&mut self) -> f64 {
        f64::from(self.chance.next_u32()) / f64::from(u32::MAX)
    }

    fn arm(&mut self, share: u16) -> Arm {
        if self.number() < f64::from(share) / 1e4 {
            Arm::Canary
        } else {
            Arm::Stable
        }
    }

    fn ending(&mut self, rates: Rates) -> Ending {
        let number = self.number();
        if number < rates.trap {
            Ending::Trapped
        } else if number < rates.trap + rates.fail {
            Ending::Failed
        } else if number < rates.trap + rates.fail + rates.deadline {
            Ending::DeadlineMissed
        } else if number < rates.trap + rates.fail + rates.deadline + rates.cancel {
            Ending::Cancelled
        } else {
            self.answer(rates.score)
        }
    }

    /// An answer with a score about this.
    fn answer(&mut self, score: f64) -> Ending {
        let noise = self.number() + self.number() + self.number() - 1.5;
        Ending::Completed((score + 0.4 * noise).clamp(0.0, 1.0))
    }
}

/// The verdict of a life of `steps` deliberations, watched after every one of them, and when it came.
/// `share` says, for each step, the share of the canary, and `ending` how one ends on a version.
fn life_of(
    seed: u64,
    steps: u32,
    share: impl Fn(u32) -> u16,
    ending: impl Fn(u32, Arm, &mut World) -> Ending,
) -> Option<(u32, Finding)> {
    let mut world = World::new(seed);
    let mut evidence = Evidence::new(ErrorRate::default());
    (0..steps).find_map(|step| {
        let share = share(step);
        let arm = world.arm(share);
        let ending = ending(step, arm, &mut world);
        let share = Share::try_from(share).unwrap();
        let canary = 1;
        let draw = Draw { share, arm, canary };
        let verdict = evidence.observe(Observation { draw, ending })?;
        Some((step + 1, verdict))
    })
}

/// `how` says, for each step, the share of the canary and the rates of the canary and of stable.
fn life(seed: u64, steps: u32, how: impl Fn(u32) -> (u16, Rates, Rates)) -> Option<(u32, Finding)> {
    let share = |step| how(step).0;
    life_of(seed, steps, share, |step, arm, world| {
        let (_, canary, stable) = how(step);
        world.ending(match arm {
            Arm::Canary => canary,
            Arm::Stable => stable,
        })
    })
}

/// How many of so many lives end in a verdict.
fn verdicts(lives: u64, steps: u32, how: impl Fn(u32) -> (u16, Rates, Rates)) -> usize {
    (0..lives)
        .filter(|seed| life(*seed, steps, &how).is_some())
        .count()
}

/// The same of a canary with this share all the time.
fn verdicts_of(
    lives: u64,
    steps: u32,
    share: u16,
    ending: impl Fn(u32, Arm, &mut World) -> Ending,
) -> usize {
    (0..lives)
        .filter(|seed| life_of(*seed, steps, |_| share, &ending).is_some())
        .count()
}

/// The error rate is one in a hundred; a binomial of 1000 lives at that rate exceeds 20 once in a
/// thousand times, and the seeds are fixed.
const LIVES: u64 = 1000;
const VERDICTS_MAX: usize = 20;

#[test]
fn a_canary_that_is_no_worse_is_rarely_found_worse() {
    let found = verdicts(LIVES, 2000, |_| (1000, USUAL, USUAL));
    assert!(found <= VERDICTS_MAX, "{found}");
}

/// Outages, other tasks, and an operator who turns the canary up.
#[test]
fn nor_is_one_whose_world_changes_under_it() {
    let found = verdicts(LIVES, 2000, |step| {
        let wave = (f64::from(step) / 150.0).sin().max(0.0);
        let rates = Rates {
            trap: 0.01 * wave,
            fail: 0.3 * wave,
            deadline: 0.2 * (1.0 - wave),
            cancel: 0.4 * wave * wave,
            score: 0.2 + 0.6 * wave,
        };
        let share = [100, 5000, 1000, 9000, 2500, 10_000, 0, 9999][step as usize / 100 % 8];
        (share, rates, rates)
    });
    assert!(found <= VERDICTS_MAX, "{found}");
}

#[test]
fn a_better_canary_is_hardly_ever_found_worse() {
    let better = Rates {
        trap: 0.002,
        fail: 0.01,
        deadline: 0.01,
        cancel: 0.04,
        score: 0.8,
    };
    let found = verdicts(LIVES, 2000, |_| (3000, better, USUAL));
    assert!(found <= 1, "{found}");
}

/// Stable has no answer to the hardest fifth of the tasks, in each of the ways there are; the canary
/// has a poor one, and answers the others as well as stable.
#[test]
fn nor_is_one_that_answers_what_stable_does_not() {
    let nothing = [
        Ending::Trapped,
        Ending::Failed,
        Ending::DeadlineMissed,
        Ending::Cancelled,
    ];
    for none in nothing {
        let found = verdicts_of(100, 2000, 2000, |_, arm, world| {
            let hardness = world.number();
            match arm {
                Arm::Stable if hardness > 0.8 => none,
                _ => world.answer(0.9 - 0.6 * hardness),
            }
        });
        assert!(found <= 1, "{none:?}: {found}");
    }
}

/// The scores of all tasks rise and fall together, and stable has no answer to a third of them.
#[test]
fn nor_is_one_that_answers_more_while_the_scores_move() {
    for none in [Ending::Failed, Ending::Cancelled] {
        let found = verdicts_of(100, 4000, 5000, |step, arm, world| {
            let score = [0.8, 0.1][step as usize / 500 % 2];
            match arm {
                Arm::Stable if world.number() < 0.3 => none,
                _ => Ending::Completed(score + 0.1 * world.number()),
            }
        });
        assert!(found <= 1, "{none:?}: {found}");
    }
}

/// In how many deliberations nine of ten such canaries are found worse, and which test most verdicts
/// name.
fn found_within(share: u16, canary: Rates, stable: Rates) -> (u32, Test) {
    let mut verdicts: Vec<_> = (0..100)
        .filter_map(|seed| life(seed, 20_000, |_| (share, canary, stable)))
        .map(|(step, verdict)| (step, verdict.test))
        .collect();
    verdicts.sort_by_key(|(step, _)| *step);
    let named = |test: &Test| verdicts.iter().filter(|(_, it)| it == test).count();
    let most = Test::ALL.into_iter().max_by_key(named);
    let ninth = verdicts.get(89).expect("nine of ten are found");
    (ninth.0, most.expect("there are tests"))
}

#[test]
fn a_bad_canary_is_found_soon() {
    let stable = Rates {
        trap: 0.001,
        ..USUAL
    };
    let worse = |change: fn(&mut Rates)| {
        let mut rates = stable;
        change(&mut rates);
        rates
    };
    let cases = [
        (1000, worse(|it| it.trap = 1.0), Test::Traps, 80),
        (1000, worse(|it| it.trap = 0.1), Test::Traps, 900),
        (100, worse(|it| it.trap = 0.5), Test::Traps, 1500),
        (1000, worse(|it| it.fail = 0.25), Test::Failures, 900),
        (5000, worse(|it| it.fail = 0.1), Test::Failures, 2000),
        (1000, worse(|it| it.deadline = 0.25), Test::Deadlines, 700),
        (1000, worse(|it| it.cancel = 0.3), Test::Cancellations, 700),
        (1000, worse(|it| it.score = 0.5), Test::Scores, 800),
        (5000, worse(|it| it.score = 0.6), Test::Scores, 1200),
        (10_000, worse(|it| it.trap = 1.0), Test::TrapsAlone, 4),
        (10_000, worse(|it| it.trap = 0.1), Test::TrapsAlone, 200),
    ];
    for (share, canary, test, within) in cases {
        let (found, named) = found_within(share, canary, stable);
        println!("{share}, {canary:?}: {found} by {named:?}");
        assert!(found <= within, "{share}, {canary:?}: {found}");
        assert_eq!(named, test, "{share}, {canary:?}");
    }
}

#[test]
fn a_canary_that_turns_bad_after_a_long_good_time_is_found() {
    let bad = Rates { trap: 0.2, ..USUAL };
    let (before, steps) = (20_000, 22_000);
    let how = |step| (1000, if step < before { USUAL } else { bad }, USUAL);
    for seed in 0..10 {
        let (step, verdict) = life(seed, steps, how).expect("a verdict");
        assert!(step > before, "{seed}: {verdict}");
    }
}
