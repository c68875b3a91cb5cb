//! What clients saw of many deliberations.

use std::collections::{HashMap, HashSet};

use conclave_tests::client::pb::deliberation_event::Event;
use conclave_tests::client::{Client, pb};
use conclave_tests::patience::within;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The journaled events of each deliberation, as far as they were seen.
pub(crate) type Seen = HashMap<String, Vec<pb::DeliberationEvent>>;

/// A generation: the deliberation and the number in it.
pub(crate) type Job = (String, i32);

/// Watches many deliberations from their start.
pub(crate) struct Watchers {
    seen: watch::Sender<Seen>,
    tasks: JoinSet<()>,
}

impl Watchers {
    /// Starts watching.
    pub(crate) fn of(client: &Client, uids: &[String]) -> Self {
        let seen = watch::Sender::new(Seen::new());
        let mut tasks = JoinSet::new();
        for uid in uids {
            let (client, uid, seen) = (client.clone(), uid.clone(), seen.clone());
            tasks.spawn(async move {
                // A stream that breaks, as it does when the host is killed, has shown what it could.
                let Ok(mut events) = client.watch(&uid, 0).await else {
                    return;
                };
                while let Ok(Some(event)) = events.next().await {
                    if event.sequence > 0 {
                        seen.send_modify(|seen| seen.entry(uid.clone()).or_default().push(event));
                    }
                }
            });
        }
        Self { seen, tasks }
    }

    /// Waits until so many generations have ended.
    pub(crate) async fn until_finished(&self, count: usize) {
        let mut seen = self.seen.subscribe();
        let enough = seen.wait_for(|seen| finished(seen).len() >= count);
        let enough = within(&format!("{count} generations"), enough).await;
        enough.expect("they end").expect("the sender is in self");
    }

    /// All that was seen when every stream has ended.
    pub(crate) async fn all(mut self) -> Seen {
        while within("the streams to end", self.tasks.join_next())
            .await
            .expect("they end")
            .is_some()
        {}
        self.seen.borrow().clone()
    }
}

/// The generations whose result was seen, so that it is durable.
pub(crate) fn finished(seen: &Seen) -> HashSet<Job> {
    let of = |(uid, events): (&String, &Vec<pb::DeliberationEvent>)| {
        let jobs = events.iter().filter_map(|event| match &event.event {
            Some(Event::GenerationFinished(finished)) => Some((uid.clone(), finished.job)),
            _ => None,
        });
        jobs.collect::<Vec<_>>()
    };
    seen.iter().flat_map(of).collect()
}
