//! A name is swapped a hundred times under load: nothing fails, and nobody runs on two versions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use conclave_tests::client::{Client, pb};
use conclave_tests::host::Host;
use conclave_tests::patience::within;
use conclave_tests::steady::{NAME, steady, version};
use conclave_tests::stub_server::StubServer;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::support::{asked, plugins, ran_on};

const SWAPS: usize = 100;
const VERSIONS: u32 = 4;
const CLIENTS: usize = 6;

/// Deliberations that are accepted between two swaps, at least.
const BETWEEN: usize = 2;

/// A version, and the time in which it may have been stable: from before it was promoted until after
/// the next one was.
#[derive(Debug)]
struct Stable {
    version: String,
    from: Instant,
    until: Option<Instant>,
}

/// A deliberation that was answered.
struct Seen {
    version: String,
    digest: String,
    asked: Instant,
    accepted: Instant,
}

#[derive(Debug, Default)]
struct Load {
    done: AtomicBool,
    accepted: AtomicUsize,
    more: Notify,
}

impl Load {
    /// Creates a deliberation, waits for its outcome, and creates the next.
    async fn of(self: Arc<Self>, client: Client) -> Vec<Seen> {
        let mut seen = Vec::new();
        while !self.done.load(Ordering::Relaxed) {
            let before = Instant::now();
            let created = client.create(asked("answer:yes")).await.unwrap();
            let accepted = Instant::now();
            self.accepted.fetch_add(1, Ordering::Relaxed);
            self.more.notify_one();
            let done = client.wait(&created.uid).await.unwrap();
            let digest = |one: &pb::Deliberation| one.strategy.clone().unwrap().digest;
            assert_eq!(digest(&created), digest(&done), "{}", created.uid);
            seen.push(Seen {
                version: ran_on(&done),
                digest: digest(&done),
                asked: before,
                accepted,
            });
        }
        seen
    }

    /// Waits until so many more are accepted.
    async fn more(&self, count: usize) {
        let wanted = self.accepted.load(Ordering::Relaxed) + count;
        while self.accepted.load(Ordering::Relaxed) < wanted {
            self.more.notified().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_swaps_under_load_are_invisible() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let plugins = plugins(&host).await;
    for number in 0..VERSIONS {
        plugins.push(&steady(number).unwrap(), None).await.unwrap();
    }
    let mut stables = vec![Stable {
        version: version(0),
        from: Instant::now(),
        until: None,
    }];
    let load = Arc::new(Load::default());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(Arc::clone(&load).of(host.client().await.unwrap()));
    }
    for swap in 1..=SWAPS {
        within("more deliberations", load.more(BETWEEN))
            .await
            .unwrap();
        let next = version(u32::try_from(swap).unwrap() % VERSIONS);
        let from = Instant::now();
        plugins.promote(NAME, &next).await.unwrap();
        stables.last_mut().unwrap().until = Some(Instant::now());
        stables.push(Stable {
            version: next,
            from,
            until: None,
        });
    }
    within("more deliberations", load.more(BETWEEN))
        .await
        .unwrap();
    load.done.store(true, Ordering::Relaxed);
    let seen: Vec<Seen> = within("the end of the load", clients.join_all())
        .await
        .unwrap()
        .into_iter()
        .flatten()
        .collect();

    assert!(seen.len() >= SWAPS * BETWEEN, "{}", seen.len());
    for one in &seen {
        let was_stable = stables.iter().any(|stable| {
            stable.version == one.version
                && stable.from <= one.accepted
                && stable.until.is_none_or(|until| one.asked <= until)
        });
        assert!(was_stable, "{} was not stable then", one.version);
    }
    for number in 0..VERSIONS {
        let mut digests: Vec<_> = seen
            .iter()
            .filter(|one| one.version == version(number))
            .map(|one| &one.digest)
            .collect();
        assert!(!digests.is_empty(), "nobody ran on {}", version(number));
        digests.dedup();
        assert_eq!(digests.len(), 1, "a version is one component");
    }
    let promoted = plugins.changes(NAME).await.unwrap();
    let promoted = promoted
        .iter()
        .filter(|one| one.action() == pb::plugin_change::Action::Promoted);
    assert_eq!(
        promoted.count(),
        1 + SWAPS,
        "the first of a name is promoted, too"
    );
}
