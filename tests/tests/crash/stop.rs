//! The host is told to stop: what runs ends or rests, what comes is refused, and nothing is lost.

use conclave_tests::client::pb::deliberation::State;
use conclave_tests::client::pb::deliberation_event::Event;
use conclave_tests::client::{Client, answers, reason};
use conclave_tests::draft;
use conclave_tests::host::{Host, Setup};
use conclave_tests::patience::within;
use conclave_tests::stub_server::{self, StubServer};
use tonic::{Code, Status};

use crate::{job_of, vote};

#[tokio::test]
async fn sigterm_pauses_what_runs_and_the_next_start_resumes_it() {
    let stub = StubServer::start().await.unwrap();
    stub.hold();
    let host = Setup::asking(&stub).unwrap().start().await.unwrap();
    let client = host.client().await.unwrap();
    let uid = client.create(vote(3, 1)).await.unwrap().uid;
    let mut events = client.watch(&uid, 0).await.unwrap();
    stub.release_next(1);
    events
        .until("a result", |event| {
            matches!(event, Event::GenerationFinished(_))
        })
        .await
        .unwrap();
    within(
        "the second generation",
        stub.until(|requests| requests.len() == 2),
    )
    .await
    .unwrap();

    let (status, setup) = host.stop().await.unwrap();
    assert!(status.success(), "{status}");
    let aborted = stub.until(|requests| requests[1].state == stub_server::State::Aborted);
    within("the model server to be told", aborted)
        .await
        .unwrap();
    let mut last = None;
    let lost = loop {
        match events.next().await {
            Ok(event) => last = event,
            Err(status) => break status,
        }
    };
    assert!(matches!(last.unwrap().event, Some(Event::Paused(_))));
    assert_eq!(lost.code(), Code::Unavailable);

    let host = setup.start().await.unwrap();
    stub.release();
    let client = host.client().await.unwrap();
    let done = client.wait(&uid).await.unwrap();
    assert_eq!(answers(&done), ["yes", "yes", "no"]);
    let jobs: Vec<_> = stub
        .requests()
        .iter()
        .filter_map(job_of)
        .map(|(_, job)| job)
        .collect();
    assert_eq!(
        jobs,
        [1, 2, 2, 3],
        "the first is not sent again, the second is"
    );
    let events = client.history(&uid).await.unwrap();
    let pauses = events
        .iter()
        .filter(|event| matches!(event.event, Some(Event::Paused(_))));
    assert_eq!(pauses.count(), 1);
}

/// A host that has been told to stop while it runs something.
struct Stopping {
    stub: StubServer,
    host: Host,
    client: Client,
    /// What it has accepted; all of it waits for the stub.
    accepted: Vec<String>,
    /// What it says to who comes now.
    refusal: Status,
}

impl Stopping {
    /// It lets what runs go on for longer than a test waits: nothing here ends by the clock.
    async fn start() -> Self {
        let stub = StubServer::start().await.expect("the stub starts");
        stub.hold();
        let setup = Setup::asking(&stub).expect("there is a place for data");
        let setup = setup.set("server.shutdown_grace_seconds", "3600");
        let host = setup.start().await.expect("the host starts");
        let client = host.client().await.expect("the host serves");
        let running = client.create(draft::vote(&["answer:yes"])).await;
        let mut accepted = vec![running.expect("it is sound").uid];
        host.terminate().expect("it runs");
        // It takes work until it has seen the signal.
        let refusal = Box::pin(async {
            loop {
                match client.create(draft::vote(&["answer:yes"])).await {
                    Ok(created) => accepted.push(created.uid),
                    Err(status) => break status,
                }
            }
        });
        let refusal = within("a refusal after SIGTERM", refusal).await;
        Self {
            refusal: refusal.expect("it comes"),
            stub,
            host,
            client,
            accepted,
        }
    }
}

#[tokio::test]
async fn after_sigterm_what_runs_finishes_within_the_grace_and_what_comes_is_refused() {
    let Stopping {
        stub,
        host,
        client,
        accepted,
        refusal,
    } = Stopping::start().await;
    assert_eq!(
        (refusal.code(), reason(&refusal).as_str()),
        (Code::Unavailable, "HOST_NOT_READY"),
        "{refusal}"
    );

    // Whoever waits for what runs is served to its end.
    let mut watched = Vec::new();
    for uid in &accepted {
        assert_eq!(client.get(uid).await.unwrap().state(), State::Running);
        watched.push(client.watch(uid, 0).await.unwrap());
    }
    stub.release();
    for events in watched {
        let events = events.rest().await.unwrap();
        let Some(Event::Finished(end)) = events.last().and_then(|last| last.event.as_ref()) else {
            unreachable!("{events:?}");
        };
        assert_eq!(end.state(), State::Completed, "{end:?}");
    }
    let (status, setup) = host.ended().await.unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(stub.requests().len(), accepted.len());

    let host = setup.start().await.unwrap();
    let client = host.client().await.unwrap();
    for uid in &accepted {
        let done = client.get(uid).await.unwrap();
        assert_eq!(answers(&done), ["yes"], "{done:?}");
    }
    assert_eq!(stub.requests().len(), accepted.len(), "nothing is resumed");
}

#[tokio::test]
async fn a_second_sigterm_ends_the_host_at_once_and_the_next_start_resumes_what_ran() {
    let Stopping {
        stub,
        host,
        accepted,
        ..
    } = Stopping::start().await;
    host.terminate().unwrap();
    let (status, setup) = host.ended().await.unwrap();
    assert_eq!(status.code(), Some(143), "{status}");

    let host = setup
        .set("server.shutdown_grace_seconds", "0")
        .start()
        .await
        .unwrap();
    stub.release();
    let client = host.client().await.unwrap();
    for uid in &accepted {
        let done = client.wait(uid).await.unwrap();
        assert_eq!(answers(&done), ["yes"], "{done:?}");
    }
}
