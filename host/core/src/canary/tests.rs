//! From records of deliberations to the verdict on a canary.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::channel::{Arm, PluginName, Share};
use crate::entry::{Accepted, Entry, Record};
use crate::ids::{AgentId, DeliberationId, Seq};
use crate::observer::Observer as _;
use crate::outcome::{
    Candidate, Cause, CauseKind, Completeness, Outcome, Proposal, Ranked, Score, Verdict,
};
use crate::plugin::Kind;
use crate::testkit::journal::{accepted as sample, finished};

const CANARY: u64 = 7;

fn name() -> PluginName {
    PluginName::new(Kind::Strategy, "sample-vote")
}

fn trial() -> Trial {
    Trial::new(name(), CANARY, ErrorRate::default())
}

/// A deliberation that was accepted at this time, by a strategy of this draw.
fn accepted(number: u32, at_ms: u64, share: u16, arm: Arm) -> Accepted {
    let Entry::Accepted(mut accepted) =
        sample(&DeliberationId::new(&format!("deliberation-{number:08}"))).entry
    else {
        unreachable!("the first record is the acceptance");
    };
    accepted.accepted_at_ms = at_ms;
    accepted.request.timeout = Duration::from_secs(120);
    accepted.strategy_draw = Some(Draw {
        share: Share::try_from(share).unwrap(),
        arm,
        canary: CANARY,
    });
    *accepted
}

fn start(watch: &Watch, accepted: &Accepted) {
    let record = Record {
        seq: Seq(1),
        at_ms: 0,
        entry: Entry::Accepted(Box::new(accepted.clone())),
    };
    watch.journaled(accepted, &record);
}

fn end(watch: &Watch, accepted: &Accepted, at_ms: u64, verdict: Verdict) {
    watch.journaled(accepted, &finished(Seq(2), at_ms, verdict));
}

fn failed(kind: CauseKind) -> Verdict {
    Verdict::Failed(Cause::new(kind, "it went wrong").by(Kind::Strategy))
}

fn completed(value: f64) -> Verdict {
    let candidate = Candidate {
        agent: AgentId::new("skeptic"),
        content: "yes".to_owned(),
        reasoning: None,
        jobs: Vec::new(),
    };
    let score = Score {
        value,
        confidence: None,
        rationale: None,
    };
    Verdict::Completed(Box::new(Outcome {
        proposal: Proposal {
            ranked: vec![Ranked { candidate, score }],
            reasoning: String::new(),
            rounds: 1,
            stopped_early: false,
            metadata: BTreeMap::new(),
        },
        completeness: Completeness::default(),
    }))
}

/// The verdict that the first trial holds.
fn verdict(watch: &Watch) -> Option<Finding> {
    watch.trials()[0].evidence().verdict().copied()
}

#[tokio::test]
async fn a_canary_that_traps_is_told_once_while_stable_still_runs() {
    let watch = Watch::default();
    watch.start(trial());
    start(&watch, &accepted(0, 0, 1000, Arm::Stable));
    let mut traps = 0;
    while verdict(&watch).is_none() {
        traps += 1;
        let canary = accepted(traps, u64::from(traps), 1000, Arm::Canary);
        start(&watch, &canary);
        end(&watch, &canary, 5, failed(CauseKind::PluginTrapped));
    }
    assert_eq!(traps, 4);
    let regression = watch.regression().await;
    assert_eq!((regression.plugin, regression.canary), (name(), CANARY));
    assert_eq!(regression.finding.test, Test::Traps);
    let second = tokio::time::timeout(Duration::ZERO, watch.regression()).await;
    assert!(second.is_err(), "told twice");
}

#[tokio::test]
async fn after_a_restart_a_trial_goes_on_and_tells_its_verdict_again() {
    let watch = Watch::default();
    watch.start(trial());
    let waits = accepted(0, 0, 1000, Arm::Stable);
    start(&watch, &waits);
    for number in 1..=3 {
        let canary = accepted(number, u64::from(number), 1000, Arm::Canary);
        start(&watch, &canary);
        end(&watch, &canary, 5, failed(CauseKind::StrategyFailed));
    }
    assert_eq!(verdict(&watch), None);

    let restart = |watch: &Watch| {
        let kept = serde_json::to_string(&watch.trials()).unwrap();
        let next = Watch::default();
        let trials: Vec<Trial> = serde_json::from_str(&kept).unwrap();
        trials.into_iter().for_each(|trial| next.start(trial));
        next
    };
    let watch = restart(&watch);
    let canary = accepted(4, 4, 1000, Arm::Canary);
    start(&watch, &canary);
    end(&watch, &canary, 5, failed(CauseKind::StrategyFailed));
    assert_eq!(verdict(&watch), None, "they wait for the first");
    end(&watch, &waits, 500, completed(0.5));
    assert_eq!(watch.regression().await.finding.test, Test::Failures);

    let watch = restart(&watch);
    assert_eq!(watch.regression().await.finding.test, Test::Failures);
    watch.tell_again(&name());
    assert_eq!(watch.regression().await.finding.test, Test::Failures);
    let nearest = watch.nearest(&name()).expect("it is tried");
    assert_eq!(nearest.test, Test::Failures);
    assert!(nearest.is_enough());
    assert_eq!(watch.canary(&name()), Some(CANARY));

    watch.stop(&name());
    assert_eq!(watch.trials(), []);
    assert_eq!(watch.nearest(&name()), None);
    assert_eq!(watch.canary(&name()), None);
}

/// A model server is away for a minute. All deliberations of that time fail, and the canary gives up
/// thirty seconds before stable does: no more often, and not to be held against it.
#[test]
fn a_canary_that_fails_sooner_but_no_more_often_is_not_found_worse() {
    let (watch, mut naive) = (Watch::default(), Evidence::new(ErrorRate::default()));
    watch.start(trial());
    let mut steps = Vec::new();
    for number in 0..1800 {
        let at_ms = u64::from(number) * 100;
        let (arm, age_ms) = match number % 5 {
            0 => (Arm::Canary, 1_000),
            _ => (Arm::Stable, 31_000),
        };
        let away = (60_000..120_000).contains(&at_ms);
        steps.push((at_ms, number, arm, away, None));
        steps.push((at_ms + age_ms, number, arm, away, Some(age_ms)));
    }
    steps.sort_by_key(|step| (step.0, step.1));
    let mut naive_verdict = None;
    for (at_ms, number, arm, away, age_ms) in steps {
        let Some(age_ms) = age_ms else {
            start(&watch, &accepted(number, at_ms, 2000, arm));
            continue;
        };
        let (ending, verdict) = match away {
            true => (Ending::Failed, failed(CauseKind::AllAgentsFailed)),
            false => (Ending::Completed(0.7), completed(0.7)),
        };
        let accepted = accepted(number, at_ms - age_ms, 2000, arm);
        end(&watch, &accepted, age_ms, verdict);
        let draw = accepted.strategy_draw.unwrap();
        naive_verdict = naive_verdict.or(naive.observe(Observation { draw, ending }));
    }
    assert_eq!(verdict(&watch), None);
    let trial = &watch.trials()[0];
    let seen = trial.evidence().finding(Test::Failures);
    assert_eq!((seen.canary.failed, seen.stable.failed), (120, 480));
    assert!(seen.evidence < 1.0, "{seen}");
    let naive = naive_verdict.expect("the order of endings misleads");
    assert_eq!(naive.test, Test::Failures);
}

#[test]
fn a_drop_in_the_score_missed_deadlines_and_impatient_clients_are_found() {
    let cancelled = Verdict::Cancelled("it takes too long".to_owned());
    for (test, bad) in [
        (Test::Scores, completed(0.2)),
        (Test::Cancellations, cancelled),
        (Test::Deadlines, failed(CauseKind::DeadlineExceeded)),
    ] {
        let watch = Watch::default();
        watch.start(trial());
        for number in 0..400 {
            let (arm, verdict) = match number % 4 {
                0 => (Arm::Canary, bad.clone()),
                _ => (Arm::Stable, completed(0.8)),
            };
            let accepted = accepted(number, u64::from(number), 2500, arm);
            start(&watch, &accepted);
            end(&watch, &accepted, 1, verdict);
        }
        let found = verdict(&watch).expect("a verdict");
        assert_eq!(found.test, test, "{found}");
    }
}

#[test]
fn what_is_not_about_the_canary_is_not_counted() {
    let watch = Watch::default();
    watch.start(trial());
    let bad = || failed(CauseKind::PluginTrapped);
    for number in 0..100 {
        let at_ms = u64::from(number);
        let mut other_canary = accepted(number, at_ms, 1000, Arm::Canary);
        other_canary.strategy_draw.as_mut().unwrap().canary = CANARY - 1;
        let mut other_plugin = accepted(number + 100, at_ms, 1000, Arm::Canary);
        other_plugin.strategy.name = "judge".to_owned();
        let mut chosen = accepted(number + 200, at_ms, 1000, Arm::Canary);
        chosen.strategy_draw = None;
        let mut scorer = accepted(number + 300, at_ms, 1000, Arm::Canary);
        scorer.scorer_draw = scorer.strategy_draw.take();
        for accepted in [other_canary, other_plugin, chosen, scorer] {
            start(&watch, &accepted);
            end(&watch, &accepted, 1, bad());
        }
        let unreadable = accepted(number + 400, at_ms, 1000, Arm::Canary);
        start(&watch, &unreadable);
        end(&watch, &unreadable, 1, failed(CauseKind::JournalCorrupt));
    }
    assert_eq!(watch.trials(), [trial()]);
}

#[test]
fn a_scorers_trial_looks_at_the_scorers_draw() {
    let watch = Watch::default();
    let scorer = PluginName::new(Kind::Scorer, "agreement");
    watch.start(Trial::new(scorer, CANARY, ErrorRate::default()));
    let mut accepted = accepted(0, 0, 1000, Arm::Canary);
    accepted.scorer_draw = accepted.strategy_draw.take();
    start(&watch, &accepted);
    let cause = Cause::new(CauseKind::PluginTrapped, "unreachable").by(Kind::Scorer);
    end(&watch, &accepted, 1, Verdict::Failed(cause));
    let finding = watch.trials()[0].evidence().finding(Test::Traps);
    assert_eq!(finding.canary.trapped, 1);
}
