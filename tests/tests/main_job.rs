//! The host's main job, from a client's request over plugins and a model server to the outcome.

use std::collections::HashMap;

use conclave_tests::client::pb::deliberation::State;
use conclave_tests::client::pb::deliberation_event::Event;
use conclave_tests::client::pb::{self, generation_finished};
use conclave_tests::client::{answers, failure};
use conclave_tests::draft::{Change as _, draft, vote};
use conclave_tests::host::{Host, Setup};
use conclave_tests::stub_server::StubServer;
use serde_json::json;

/// How many events there are of each kind.
fn kinds(events: &[pb::DeliberationEvent]) -> HashMap<&'static str, usize> {
    let mut kinds = HashMap::new();
    for event in events {
        let kind = match event.event {
            Some(Event::Accepted(_)) => "accepted",
            Some(Event::GenerationStarted(_)) => "started",
            Some(Event::GenerationFinished(_)) => "finished",
            Some(Event::CandidatesProposed(_)) => "proposed",
            Some(Event::CandidatesScored(_)) => "scored",
            Some(Event::Progress(_)) => "progress",
            Some(Event::Finished(_)) => "the end",
            _ => "other",
        };
        *kinds.entry(kind).or_default() += 1;
    }
    kinds
}

#[tokio::test]
async fn a_vote_goes_from_create_over_its_events_to_its_outcome() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let created = client
        .create(vote(&["answer:yes", "answer:yes", "answer:no"]))
        .await
        .unwrap();
    assert_eq!(created.name, format!("deliberations/{}", created.uid));
    let events = client.history(&created.uid).await.unwrap();
    let done = client.wait(&created.uid).await.unwrap();

    assert_eq!(done.state(), State::Completed);
    let outcome = done.outcome.clone().unwrap();
    assert_eq!(answers(&done), ["yes", "yes", "no"]);
    let scores: Vec<_> = outcome
        .ranked
        .iter()
        .map(|one| one.score.clone().unwrap().value)
        .collect();
    assert_eq!(scores, [2.0 / 3.0, 2.0 / 3.0, 1.0 / 3.0]);
    assert_eq!(outcome.metadata["votes"], r#"{"no":1,"yes":2}"#);
    let completeness = outcome.completeness.unwrap();
    assert_eq!(
        (
            completeness.agents,
            completeness.agents_completed,
            completeness.agents_failed
        ),
        (3, 3, 0)
    );
    let usage = done.usage.unwrap();
    assert_eq!(
        (
            usage.generations,
            usage.generations_completed,
            usage.completion_tokens
        ),
        (3, 3, 3)
    );
    assert!(
        usage.prompt_tokens > 0 && usage.wasted_tokens == 0,
        "{usage:?}"
    );
    for (plugin, name) in [(&done.strategy, "sample-vote"), (&done.scorer, "agreement")] {
        let plugin = plugin.as_ref().unwrap();
        assert_eq!(
            (plugin.name.as_str(), plugin.digest.len()),
            (name, 64),
            "{plugin:?}"
        );
        assert!(!plugin.version.is_empty());
    }

    let expected = [
        ("accepted", 1),
        ("started", 3),
        ("finished", 3),
        ("progress", 3),
        ("proposed", 1),
        ("scored", 1),
        ("the end", 1),
    ];
    assert_eq!(kinds(&events), HashMap::from(expected));
    assert!(events.is_sorted_by(|one, next| one.sequence < next.sequence));
    assert!(matches!(events[0].event, Some(Event::Accepted(_))));
    let Some(Event::Finished(last)) = events.last().unwrap().event.clone() else {
        unreachable!("{events:?}");
    };
    assert_eq!(
        (last.outcome, last.usage),
        (done.outcome.clone(), done.usage)
    );
    assert_eq!(events.last().unwrap().sequence, done.sequence);
    assert_eq!(client.get(&created.uid).await.unwrap(), done);
    let behind = client
        .watch(&created.uid, events[3].sequence)
        .await
        .unwrap()
        .rest()
        .await
        .unwrap();
    assert_eq!(behind, events[4..]);
}

#[tokio::test]
async fn agents_revise_each_others_answers_where_the_judge_grades_the_revision_higher() {
    let stub = StubServer::start().await.unwrap();
    for model in ["model-a", "model-b"] {
        let turns = [
            "answer:Draft, grade: 3",
            "answer:It is too short.",
            "answer:Final, grade: 9",
        ];
        stub.script(model, turns.map(|turn| turn.parse().unwrap()).to_vec());
    }
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    // The judge's model repeats its prompt, and with it the grade in the answer.
    let asked = draft(&["model-a", "model-b"])
        .task(|task| task.model = "echo".to_owned())
        .strategy("critique-revise", json!({"rounds": 1}))
        .scorer("judge", json!({}));
    let created = client.create(asked).await.unwrap();
    let events = client.history(&created.uid).await.unwrap();
    let done = client.wait(&created.uid).await.unwrap();

    assert_eq!(failure(&done), ("", ""));
    assert_eq!(answers(&done), ["Final, grade: 9"; 2]);
    let outcome = done.outcome.clone().unwrap();
    assert_eq!(outcome.metadata["revised"], r#"{"a":1,"b":1}"#);
    assert!((outcome.ranked[0].score.clone().unwrap().value - 8.0 / 9.0).abs() < 1e-9);
    let mut phases: HashMap<String, u32> = HashMap::new();
    for event in &events {
        if let Some(Event::GenerationStarted(started)) = &event.event {
            *phases.entry(started.phase.clone()).or_default() += 1;
            assert_eq!(
                started.agent_id.is_empty(),
                started.phase == "judge",
                "{started:?}"
            );
        }
    }
    let expected = [("answer", 2), ("critique", 2), ("revise", 2), ("judge", 4)];
    assert_eq!(
        phases,
        expected
            .map(|(phase, count)| (phase.to_owned(), count))
            .into()
    );
}

#[tokio::test]
async fn each_agent_has_its_own_model_and_prompt_and_only_allowed_metadata() {
    let stub = StubServer::start().await.unwrap();
    let setup = Setup::asking(&stub)
        .unwrap()
        .set("prompt.metadata_allowed", "language,tone");
    let host = setup.start().await.unwrap();
    let client = host.client().await.unwrap();
    let asked = vote(&["plain:echo", "slow:0:echo", "echo"]).task(|task| {
        let metadata = [("language", "Rust"), ("secret", "s3cret"), ("tone", "kind")];
        task.metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        task.agents[0].prompt_template = "{{ agent }} as {{ role }} on {{ task }}".to_owned();
        task.agents[1].prompt_template =
            "{% for key, value in metadata|items %}{{ key }}={{ value }} {% endfor %}{% if metadata.secret is defined %}leaked{% endif %}"
                .to_owned();
    });
    let created = client.create(asked).await.unwrap();
    let events = client.history(&created.uid).await.unwrap();
    let prompts: HashMap<_, _> = events.iter().filter_map(answer_of).collect();
    assert_eq!(prompts["a"], "a as DEV on Is 7 prime?");
    assert_eq!(prompts["b"], "language=Rust tone=kind ");
    assert_eq!(prompts["c"], "Is 7 prime?");
    let mut models: Vec<_> = stub
        .requests()
        .into_iter()
        .map(|request| request.model)
        .collect();
    models.sort();
    assert_eq!(models, ["echo", "plain:echo", "slow:0:echo"]);
    // The client's own metadata comes back to it.
    let done = client.get(&created.uid).await.unwrap();
    assert_eq!(done.task.unwrap().metadata["secret"], "s3cret");
}

fn answer_of(event: &pb::DeliberationEvent) -> Option<(String, String)> {
    match &event.event {
        Some(Event::GenerationFinished(pb::GenerationFinished {
            agent_id,
            result: Some(generation_finished::Result::Generation(generation)),
            ..
        })) => Some((agent_id.clone(), generation.text.clone())),
        _ => None,
    }
}
