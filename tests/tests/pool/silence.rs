//! A cluster of which nothing is heard keeps nobody waiting.

use std::time::Duration;

use conclave::pool::{ClusterSettings, HostId, Queue, is_unheard};
use conclave_core::inference::Error;
use conclave_tests::nats::NatsServer;
use tokio::time::Instant;

use crate::fake::{Fake, MODEL};
use crate::rig::{CLUSTER, Host, cluster, errand};

const QUEUED: Duration = Duration::from_secs(2);
const RUNNING: Duration = Duration::from_secs(6);

async fn rig() -> (NatsServer, Host, Fake) {
    let nats = NatsServer::new().await.unwrap();
    let settings = ClusterSettings {
        silence_queued: QUEUED,
        silence_running: RUNNING,
        ..cluster()
    };
    let host = Host::with(&nats.url(), &HostId::generate().unwrap(), settings).await;
    let fake = Fake::new(&nats.url()).await;
    (nats, host, fake)
}

fn source(error: &Error) -> String {
    let source = std::error::Error::source(error).unwrap();
    source.to_string()
}

#[tokio::test]
async fn queued_work_of_a_silent_cluster_fails_soon_and_leaves_the_queue() {
    let (_nats, host, fake) = rig().await;
    fake.beat(&[]).await;
    host.until("the actor", |view| view.actors.len() == 1).await;
    let running = host.begin(errand(MODEL, "tiny", 1));
    fake.until_depth(1).await;
    let error = running.error().await;
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    let why = source(&error);
    assert!(why.contains("executors of cluster `east`"), "{why}");
    fake.until_depth(0).await;

    // While it is silent, nothing is even queued, and whoever asks can tell.
    let error = host.begin(errand(MODEL, "tiny", 2)).error().await;
    assert!(is_unheard(&error), "{error:?}");
    assert!(error.is_retryable(), "{error:?}");
    let counts = host.counts();
    let published = counts.published.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(published, 1);
}

#[tokio::test]
async fn started_work_of_a_silent_cluster_is_waited_for_longer_and_then_cancelled() {
    let (_nats, host, mut fake) = rig().await;
    fake.beat(&[]).await;
    host.until("the actor", |view| view.actors.len() == 1).await;
    let begun = Instant::now();
    let running = host.begin(errand(MODEL, "tiny", 1));
    let work = fake.take().await;
    work.start().await;
    let error = running.error().await;
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(begun.elapsed() > QUEUED * 2, "{:?}", begun.elapsed());
    assert_eq!(fake.cancelled().await[0], work.id());
    fake.until_depth(0).await;
}

#[tokio::test]
async fn a_wave_waits_for_its_job_and_fails_with_it() {
    let (_nats, host, fake) = rig().await;
    let wave = Queue::wave("1").unwrap();
    let running = host.begin_in(wave.clone(), errand(MODEL, "tiny", 1));
    fake.until_depth(1).await;
    // The pool is silent for longer than queued work would wait, and a wave's job may take its time.
    let other = host.begin(errand(MODEL, "tiny", 2)).error().await;
    assert!(other.is_retryable(), "{other:?}");
    assert_eq!(host.view().waiting, 1);
    let failed = host
        .pool
        .fail_queue(CLUSTER, &wave, "the job failed: no such image");
    assert_eq!(failed, 1);
    let error = running.error().await;
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert_eq!(source(&error), "the job failed: no such image");
    fake.until_depth(0).await;
}

#[tokio::test]
async fn the_view_tells_who_runs_what() {
    let (_nats, host, fake) = rig().await;
    fake.beat(&["W"]).await;
    host.until("the actor", |view| view.ready && view.actors.len() == 1)
        .await;
    let view = host.view();
    let actor = &view.actors[0];
    assert_eq!(
        (&*actor.queue, &*actor.node, actor.slots),
        ("pool", "node", 4)
    );
    assert_eq!(actor.running, ["W"]);
    assert!(view.ready);
    assert_eq!(view.depth_max, 10_000);
    let _running = host.begin(errand(MODEL, "tiny", 1));
    host.until("the depth", |view| view.depth == 1 && view.waiting == 1)
        .await;
}
