//! What a terminal and a pipe show of one deliberation: three agents, one of them cancelled when the
//! vote was sure.

use prost_types::Timestamp;

use super::pb::deliberation::State;
use super::pb::deliberation_event::Event;
use super::pb::generation_finished;
use super::report::report;
use super::story::{Progress, Story};
use super::terminal::Style;
use super::timeline::timeline;
use super::{json, lines, pb};

const START: i64 = 1_700_000_000;

fn at(ms: i64) -> Timestamp {
    Timestamp {
        seconds: START + ms / 1_000,
        nanos: i32::try_from(ms % 1_000).unwrap() * 1_000_000,
    }
}

fn deliberation() -> pb::Deliberation {
    let plugin = |name: &str| pb::PluginSelection {
        name: name.into(),
        version: "0.1.0".into(),
        ..pb::PluginSelection::default()
    };
    let agents = ["ada", "bob", "cy"].map(|id| pb::Agent {
        id: id.into(),
        ..pb::Agent::default()
    });
    pb::Deliberation {
        name: "deliberations/deliberation-1".into(),
        uid: "deliberation-1".into(),
        state: State::Running.into(),
        task: Some(pb::Task {
            id: "t".into(),
            description: "Is 7 prime?".into(),
            agents: agents.to_vec(),
            ..pb::Task::default()
        }),
        strategy: Some(plugin("sample-vote")),
        scorer: Some(plugin("agreement")),
        create_time: Some(at(0)),
        ..pb::Deliberation::default()
    }
}

fn started(job: i32, agent: &str, attempt: i32) -> Event {
    Event::GenerationStarted(pb::GenerationStarted {
        job,
        agent_id: agent.into(),
        model: "small".into(),
        phase: "answer".into(),
        attempt,
        retry_cause: (attempt > 1).then(|| pb::GenerationFailure {
            kind: "unavailable".into(),
            message: "http://h is overloaded (status 503)".into(),
        }),
        ..pb::GenerationStarted::default()
    })
}

fn tokens(job: i32, attempt: i32, text: &str) -> Event {
    Event::Tokens(pb::Tokens {
        job,
        attempt,
        text: text.into(),
    })
}

fn answered(job: i32, agent: &str, text: &str) -> Event {
    Event::GenerationFinished(pb::GenerationFinished {
        job,
        agent_id: agent.into(),
        result: Some(generation_finished::Result::Generation(pb::Generation {
            text: text.into(),
            finish_reason: pb::generation::FinishReason::Stop.into(),
            prompt_tokens: 20,
            completion_tokens: 4,
            ..pb::Generation::default()
        })),
    })
}

fn ended(job: i32, agent: &str, kind: &str, message: &str) -> Event {
    Event::GenerationFinished(pb::GenerationFinished {
        job,
        agent_id: agent.into(),
        result: Some(generation_finished::Result::Failure(
            pb::GenerationFailure {
                kind: kind.into(),
                message: message.into(),
            },
        )),
    })
}

fn ranked(agent: &str, content: &str, value: f64, jobs: &[i32]) -> pb::RankedCandidate {
    pb::RankedCandidate {
        candidate: Some(pb::Candidate {
            agent_id: agent.into(),
            content: content.into(),
            jobs: jobs.to_vec(),
            ..pb::Candidate::default()
        }),
        score: Some(pb::Score {
            value,
            ..pb::Score::default()
        }),
    }
}

fn outcome() -> pb::Outcome {
    let facts = [
        ("answer", "yes"),
        ("samples_planned", "9"),
        ("samples_used", "2"),
        ("votes", r#"{"yes":2}"#),
    ];
    pb::Outcome {
        ranked: vec![
            ranked("ada", "Yes,\nit is.", 1.0, &[1]),
            ranked("bob", "yes", 1.0, &[2]),
        ],
        reasoning: "`yes` has 2 of 2 votes".into(),
        rounds: 1,
        stopped_early: true,
        metadata: facts.map(|(key, value)| (key.into(), value.into())).into(),
        completeness: Some(pb::Completeness {
            agents: 3,
            agents_completed: 2,
            agents_failed: 0,
        }),
    }
}

fn finished() -> pb::Finished {
    pb::Finished {
        state: State::Completed.into(),
        outcome: Some(outcome()),
        usage: Some(pb::Usage {
            generations: 3,
            generations_completed: 2,
            generations_cancelled: 1,
            prompt_tokens: 40,
            completion_tokens: 8,
            wasted_tokens: 1,
            ..pb::Usage::default()
        }),
        ..pb::Finished::default()
    }
}

fn events() -> Vec<pb::DeliberationEvent> {
    let vote = |payload: &str| {
        Event::Progress(pb::Progress {
            kind: "vote".into(),
            payload_json: payload.into(),
        })
    };
    let all = [
        (
            1,
            0,
            Event::Accepted(Box::new(pb::Accepted {
                deliberation: Some(deliberation()),
            })),
        ),
        (3, 100, started(1, "ada", 1)),
        (5, 110, started(2, "bob", 1)),
        (7, 120, started(3, "cy", 1)),
        (0, 200, tokens(1, 1, "Yes,")),
        (0, 300, tokens(3, 1, "No\u{1b}[2J")),
        (8, 600, started(2, "bob", 2)),
        (9, 1_100, answered(1, "ada", "Yes,\nit is.")),
        (11, 1_110, vote(r#"{"answers":{"yes":1},"samples":1}"#)),
        (12, 2_000, answered(2, "bob", "yes")),
        (
            14,
            2_010,
            vote(r#"{"answers":{"no":0,"yes":2},"samples":2}"#),
        ),
        (16, 2_020, ended(3, "cy", "cancelled", "cancelled")),
        (
            17,
            2_030,
            Event::CandidatesProposed(pb::CandidatesProposed {
                call: 1,
                candidates: vec![pb::Candidate::default(); 2],
            }),
        ),
        (
            18,
            2_040,
            Event::CandidatesScored(pb::CandidatesScored {
                call: 1,
                scored: outcome().ranked,
                failure: None,
            }),
        ),
        (20, 2_050, Event::Finished(finished())),
    ];
    all.into_iter()
        .map(|(sequence, ms, event)| pb::DeliberationEvent {
            sequence,
            time: Some(at(ms)),
            event: Some(event),
        })
        .collect()
}

fn told(events: &[pb::DeliberationEvent]) -> Story {
    let mut story = Story::of(deliberation());
    events.iter().for_each(|event| story.apply(event));
    story
}

#[test]
fn every_event_but_tokens_is_one_line() {
    let mut story = Story::of(deliberation());
    let events = events();
    let shown = events.iter().filter_map(|event| {
        story.apply(event);
        lines::line(&story, event)
    });
    let shown: Vec<_> = shown.collect();
    assert!(
        shown.iter().all(|line| !line.contains(['\n', '\u{1b}'])),
        "{shown:?}"
    );
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn ends_and_failures_have_lines_of_their_own() {
    let story = Story::of(deliberation());
    let line = |event| {
        let event = pb::DeliberationEvent {
            event: Some(event),
            ..pb::DeliberationEvent::default()
        };
        lines::line(&story, &event).unwrap()
    };
    assert_eq!(
        line(ended(4, "", "rejected", "too long")),
        "    0.0 s  #4 failed: too long"
    );
    let failure = pb::Failure {
        reason: "DEADLINE_EXCEEDED".into(),
        message: "too late".into(),
    };
    let failed = pb::Finished {
        state: State::Failed.into(),
        failure: Some(failure),
        ..pb::Finished::default()
    };
    assert_eq!(
        line(Event::Finished(failed)),
        "    0.0 s  failed (DEADLINE_EXCEEDED): too late"
    );
    let cancelled = pb::Finished {
        state: State::Cancelled.into(),
        cancel_reason: "a typo".into(),
        ..pb::Finished::default()
    };
    assert_eq!(
        line(Event::Finished(cancelled)),
        "    0.0 s  cancelled: a typo"
    );
    let round = pb::Progress {
        kind: "round".into(),
        payload_json: "{\"n\":1}".into(),
    };
    assert_eq!(line(Event::Progress(round)), "    0.0 s  round {\"n\":1}");
}

#[test]
fn the_story_knows_what_each_generation_came_to() {
    let events = events();
    let story = told(&events[..8]);
    assert_eq!(story.generations[&2].attempt, 2);
    assert_eq!(
        (
            story.generations[&3].tokens,
            &story.generations[&3].progress
        ),
        (1, &Progress::Running)
    );
    assert_eq!(
        (story.generations[&1].tokens, story.after, story.now_ms),
        (4, 9, 1_100)
    );
    assert!(!story.is_finished());
    let story = told(&events);
    assert_eq!(story.generations[&3].progress, Progress::Cancelled);
    assert_eq!(story.votes, [("yes".to_owned(), 2), ("no".to_owned(), 0)]);
    assert!(story.is_finished());
    assert_eq!(story.took_ms(), Some(2_050));
}

#[test]
fn what_was_open_when_the_host_stopped_starts_again() {
    let mut events = events();
    events.truncate(4);
    let event = |ms, event| pb::DeliberationEvent {
        sequence: ms,
        time: Some(at(ms)),
        event: Some(event),
    };
    events.push(event(500, Event::Paused(pb::Paused { wasted_tokens: 1 })));
    let story = told(&events);
    assert!(
        story.paused
            && story
                .generations
                .values()
                .all(|one| one.progress == Progress::Cancelled)
    );
    events.push(event(900, started(1, "ada", 2)));
    let story = told(&events);
    assert!(!story.paused);
    assert_eq!(
        (
            story.generations[&1].started_ms,
            &story.generations[&1].progress
        ),
        (100, &Progress::Running)
    );
}

#[test]
fn the_report_in_a_pipe_is_plain_ascii() {
    let shown = report(&told(&events()), Style::PLAIN);
    assert!(shown.is_ascii(), "{shown}");
    assert!(
        shown.lines().all(|line| line.len() <= Style::PLAIN.width),
        "{shown}"
    );
    insta::assert_snapshot!(shown);
}

#[test]
fn the_report_of_a_failure_says_why() {
    let mut failed = deliberation();
    failed.set_state(State::Failed);
    failed.failure = Some(pb::Failure {
        reason: "ALL_AGENTS_FAILED".into(),
        message: "no generation succeeded".into(),
    });
    failed.end_time = Some(at(1_500));
    insta::assert_snapshot!(report(&Story::of(failed), Style::PLAIN));
}

#[test]
fn the_timeline_fits_its_terminal() {
    let story = told(&events());
    for width in [40, 60, 80, 200] {
        let style = Style {
            color: false,
            unicode: true,
            width,
        };
        let chart = timeline(&story, style);
        assert_eq!(chart.lines().count(), 4);
        let widest = chart
            .lines()
            .map(|line| line.chars().count())
            .max()
            .unwrap();
        assert!(widest <= width.max(56), "{width}: {chart}");
    }
    let unicode = Style {
        color: false,
        unicode: true,
        width: 70,
    };
    insta::assert_snapshot!(timeline(&story, unicode));
    assert_eq!(timeline(&Story::of(deliberation()), Style::PLAIN), "");
}

#[test]
fn many_generations_are_cut() {
    let mut story = Story::of(deliberation());
    for job in 1..=50 {
        let event = Some(started(job, "ada", 1));
        story.apply(&pb::DeliberationEvent {
            sequence: i64::from(job),
            time: Some(at(10)),
            event,
        });
    }
    let chart = timeline(&story, Style::PLAIN);
    assert_eq!(chart.lines().count(), 42);
    assert!(chart.ends_with("  and 10 more\n"), "{chart}");
}

#[test]
fn json_has_the_names_of_the_contract() {
    let events = events();
    let finished = json::event(events.last().unwrap());
    assert_eq!(finished["type"], "finished");
    assert_eq!(
        finished["outcome"]["ranked"][0]["candidate"]["agent_id"],
        "ada"
    );
    assert_eq!(finished["time"], "2023-11-14T22:13:22.050Z");
    let tokens = json::event(&events[4]);
    assert_eq!(
        tokens.to_string(),
        r#"{"attempt":1,"job":1,"text":"Yes,","time":"2023-11-14T22:13:20.200Z","type":"tokens"}"#
    );
    let story = told(&events);
    let whole = json::deliberation(&story.deliberation);
    assert_eq!(
        (&whole["state"], &whole["usage"]["wasted_tokens"]),
        (&"COMPLETED".into(), &1.into())
    );
    assert!(whole.get("cancel_reason").is_none(), "{whole}");
}
