//! The host is killed under load, stopped, and started again: nothing accepted is lost, nothing is
//! paid for twice, and there is one outcome.

mod stop;
mod watchers;

use std::collections::{HashMap, HashSet};

use conclave_tests::client::pb::deliberation::State;
use conclave_tests::client::pb::deliberation_event::Event;
use conclave_tests::client::{pb, reason};
use conclave_tests::draft::{Change as _, draft};
use conclave_tests::host::Host;
use conclave_tests::stub_server::{self, StubServer};
use serde_json::json;
use tokio::task::JoinSet;
use tonic::Code;

use crate::watchers::{Job, Seen, Watchers, finished};

const DELIBERATIONS: usize = 20;
const GENERATIONS: usize = 8;
const KILLS: usize = 4;

/// Asks for a number of generations, two at a time.
fn vote(samples: usize, parallel: usize) -> pb::Deliberation {
    draft(&["answer:yes", "answer:no", "answer:yes"]).strategy(
        "sample-vote",
        json!({"samples": samples, "parallel": parallel, "stop": {"rule": "none"}}),
    )
}

/// Numbers that look random and are the same in every run (splitmix64).
struct Dice(u64);

impl Dice {
    /// A number from 1 to `most`.
    fn roll(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        1 + usize::try_from(mixed % most as u64).unwrap_or_default()
    }
}

/// Which generation a request to the model server was for: `{deliberation}-{job}-{attempt}`.
fn job_of(request: &stub_server::Recorded) -> Option<Job> {
    let id = request.request_id.as_deref()?;
    let (job, _) = id.rsplit_once('-')?;
    let (uid, job) = job.rsplit_once('-')?;
    Some((uid.to_owned(), job.parse().ok()?))
}

/// Whether no generation was sent again behind its result: each attempt is journaled, durable, before
/// it leaves the host.
fn paid_once(events: &[pb::DeliberationEvent]) {
    let mut ended = HashSet::new();
    for event in events {
        match &event.event {
            Some(Event::GenerationStarted(started)) => {
                let id = started.job;
                assert!(!ended.contains(&id), "{id} was sent again: {events:?}");
            }
            Some(Event::GenerationFinished(end)) => {
                ended.insert(end.job);
            }
            _ => {}
        }
    }
    assert_eq!(ended.len(), GENERATIONS);
}

/// What was known when the host was killed.
struct Kill {
    seen: Seen,
    requests: usize,
}

#[tokio::test]
async fn killed_under_load_again_and_again_it_finishes_everything_once_and_pays_nothing_twice() {
    let stub = StubServer::start().await.unwrap();
    stub.hold();
    let mut dice = Dice(7);
    let mut host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let mut uids = Vec::new();
    for _ in 0..DELIBERATIONS {
        uids.push(client.create(vote(GENERATIONS, 2)).await.unwrap().uid);
    }

    let mut kills: Vec<Kill> = Vec::new();
    let mut target = 0;
    for _ in 0..KILLS {
        let watchers = Watchers::of(&host.client().await.unwrap(), &uids);
        let released = 10 + dice.roll(20);
        stub.release_next(released);
        target += dice.roll(released);
        watchers.until_finished(target).await;
        let setup = host.kill().unwrap();
        let seen = watchers.all().await;
        target = finished(&seen).len();
        let requests = stub.requests().len();
        kills.push(Kill { seen, requests });
        host = setup.start().await.unwrap();
    }
    stub.release();
    let client = host.client().await.unwrap();
    let whole = Watchers::of(&client, &uids).all().await;

    for uid in &uids {
        let done = client.get(uid).await.unwrap();
        assert_eq!(done.state(), State::Completed, "{done:?}");
        let usage = done.usage.unwrap();
        assert_eq!(
            usage.generations_completed as usize, GENERATIONS,
            "{usage:?}"
        );
        let events = &whole[uid];
        let ends = events
            .iter()
            .filter(|event| matches!(event.event, Some(Event::Finished(_))));
        assert_eq!(ends.count(), 1);
        assert!(events.is_sorted_by(|one, next| one.sequence < next.sequence));
        paid_once(events);
        for kill in &kills {
            let before = kill.seen.get(uid).map_or(&[][..], |events| events);
            assert!(
                events.starts_with(before),
                "history was changed: {before:?} {events:?}"
            );
        }
    }
    let requests = stub.requests();
    for kill in &kills {
        let paid = finished(&kill.seen);
        for request in &requests[kill.requests..] {
            let job = job_of(request).unwrap();
            assert!(!paid.contains(&job), "{job:?} was paid for twice");
        }
    }
    assert!(
        target > 0 && target < DELIBERATIONS * GENERATIONS,
        "the kills met no load"
    );
}

#[tokio::test]
async fn an_accepted_request_id_is_one_deliberation_across_a_kill() {
    let stub = StubServer::start().await.unwrap();
    stub.hold();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let key = |number: usize| format!("key-{number}");
    let mut submits = JoinSet::new();
    for number in 0..DELIBERATIONS {
        let client = client.clone();
        submits.spawn(async move { (number, client.create_as(&key(number), vote(2, 1)).await) });
    }
    // Some are answered, and the others may have been accepted or not.
    let mut accepted = HashMap::new();
    while accepted.len() < DELIBERATIONS / 3 {
        let (number, created) = submits.join_next().await.unwrap().unwrap();
        accepted.insert(number, created.unwrap().uid);
    }
    let host = host.kill().unwrap().start().await.unwrap();
    while let Some(submitted) = submits.join_next().await {
        if let (number, Ok(created)) = submitted.unwrap() {
            accepted.insert(number, created.uid);
        }
    }

    let client = host.client().await.unwrap();
    let mut all = HashSet::new();
    for number in 0..DELIBERATIONS {
        let again = client.create_as(&key(number), vote(2, 1)).await.unwrap();
        if let Some(uid) = accepted.get(&number) {
            assert_eq!(&again.uid, uid, "{number}");
        }
        all.insert(again.uid);
    }
    assert_eq!(all.len(), DELIBERATIONS);
    let conflict = client.create_as(&key(0), vote(3, 1)).await.unwrap_err();
    assert_eq!(
        (conflict.code(), reason(&conflict).as_str()),
        (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED")
    );
    stub.release();
    for uid in &all {
        assert_eq!(client.wait(uid).await.unwrap().state(), State::Completed);
    }
    // No other deliberation was made: each generation was sent for one of these.
    let asked: HashSet<_> = stub
        .requests()
        .iter()
        .filter_map(job_of)
        .map(|(uid, _)| uid)
        .collect();
    assert_eq!(asked, all);
}
