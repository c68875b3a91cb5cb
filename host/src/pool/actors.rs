//! What is heard of a cluster's executors.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use conclave_core::cluster::Placement;
use tokio::time::Instant;

use super::settings::Queue;
use super::wire::Heartbeat;

/// Actors beat every second. One that was not heard for so long is not shown, and its work may be
/// somebody else's.
const GONE_AFTER: Duration = Duration::from_secs(10);

/// For how long an actor's list of what it runs is believed.
const FRESH_FOR: Duration = Duration::from_millis(3_500);

/// How much the latest beat weighs in the rate at which work ends.
const RATE_WEIGHT: f64 = 0.3;

/// An actor as it was heard last.
#[derive(Clone, Debug, PartialEq)]
pub struct ActorView {
    /// The Ray job that it belongs to.
    pub submission_id: String,
    /// Its Ray id.
    pub actor: String,
    /// The Ray id of its node.
    pub node: String,
    /// The address of its node.
    pub node_ip: String,
    /// The queue that it takes work of.
    pub queue: String,
    /// How much it can run at a time.
    pub slots: u32,
    /// The ids of what it runs, of all hosts.
    pub running: Vec<String>,
    /// How much has ended there since its start.
    pub done: u64,
    /// The executor's version.
    pub version: String,
    /// How long ago that was.
    pub age: Duration,
}

#[derive(Debug)]
struct Actor {
    beat: Heartbeat,
    heard: Instant,
    /// Work that ends there in a second.
    rate: f64,
}

/// All that are heard.
#[derive(Debug)]
pub(super) struct Actors(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    actors: HashMap<(String, String), Actor>,
    /// When a queue's executors were heard last.
    heard: HashMap<String, Instant>,
    /// Since when all can be heard that beat.
    listening: Instant,
}

impl Default for Actors {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            actors: HashMap::new(),
            heard: HashMap::new(),
            listening: Instant::now(),
        }))
    }
}

impl Actors {
    /// Takes note of a sign of life; where what it runs, runs.
    pub(super) fn hear(&self, beat: Heartbeat, cluster: &str) -> (Vec<String>, Placement) {
        let now = Instant::now();
        let placement = Placement {
            cluster: cluster.to_owned(),
            submission_id: beat.place.submission_id.clone(),
            actor: Some(beat.place.actor.clone()),
            node: Some(beat.place.node.clone()),
        };
        let running = beat.running.clone();
        let mut inner = self.lock();
        inner.heard.insert(beat.queue.clone(), now);
        let key = (beat.place.submission_id.clone(), beat.place.actor.clone());
        let before = inner.actors.get(&key);
        let rate = before.map_or(0.0, |before| before.rate_with(&beat, now));
        let actor = Actor {
            beat,
            heard: now,
            rate,
        };
        inner.actors.insert(key, actor);
        (running, placement)
    }

    /// All that beats can be heard from now on.
    pub(super) fn listen(&self) {
        self.lock().listening = Instant::now();
    }

    /// Forgets actors that are gone, and queues that nobody asks for.
    pub(super) fn forget_gone(&self) {
        let mut inner = self.lock();
        inner
            .actors
            .retain(|_, actor| actor.heard.elapsed() <= GONE_AFTER);
        inner
            .heard
            .retain(|_, heard| heard.elapsed() <= Duration::from_secs(3_600));
    }

    /// For how long nothing was heard of the queue's executors. `None` for a wave of which nothing was
    /// ever heard: its job starts, and somebody else watches that.
    pub(super) fn silence(&self, queue: &Queue) -> Option<Duration> {
        let inner = self.lock();
        let heard = inner.heard.get(queue.as_str()).copied();
        let since = match (heard, queue.is_pool()) {
            (Some(heard), _) => heard.max(inner.listening),
            (None, true) => inner.listening,
            (None, false) => return None,
        };
        Some(since.elapsed())
    }

    /// Whether somebody takes work of the queue: `None` while it was not listened for long enough.
    pub(super) fn is_served(&self, queue: &Queue) -> Option<bool> {
        let inner = self.lock();
        let heard = inner.heard.get(queue.as_str());
        if heard.is_some_and(|heard| heard.elapsed() <= FRESH_FOR) {
            return Some(true);
        }
        (inner.listening.elapsed() > FRESH_FOR).then_some(false)
    }

    /// What runs now, as far as executors have told lately.
    pub(super) fn running(&self) -> HashSet<String> {
        let inner = self.lock();
        let fresh = inner
            .actors
            .values()
            .filter(|actor| actor.heard.elapsed() <= FRESH_FOR);
        fresh
            .flat_map(|actor| actor.beat.running.iter().cloned())
            .collect()
    }

    /// How much work ends in a second.
    pub(super) fn rate(&self) -> f64 {
        self.lock().actors.values().map(|actor| actor.rate).sum()
    }

    /// All actors that were heard lately, in the order of their ids.
    pub(super) fn view(&self) -> Vec<ActorView> {
        let inner = self.lock();
        let mut actors: Vec<_> = inner.actors.values().map(Actor::view).collect();
        actors.sort_by(|one, other| {
            let key = |actor: &ActorView| (actor.submission_id.clone(), actor.actor.clone());
            key(one).cmp(&key(other))
        });
        actors
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Actor {
    fn rate_with(&self, beat: &Heartbeat, now: Instant) -> f64 {
        let ended = beat.done.saturating_sub(self.beat.done);
        let seconds = now.duration_since(self.heard).as_secs_f64().max(0.1);
        let latest = ended as f64 / seconds;
        self.rate + RATE_WEIGHT * (latest - self.rate)
    }

    fn view(&self) -> ActorView {
        let beat = &self.beat;
        ActorView {
            submission_id: beat.place.submission_id.clone(),
            actor: beat.place.actor.clone(),
            node: beat.place.node.clone(),
            node_ip: beat.node_ip.clone(),
            queue: beat.queue.clone(),
            slots: beat.slots,
            running: beat.running.clone(),
            done: beat.done,
            version: beat.version.clone(),
            age: self.heard.elapsed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::time::advance;

    use super::*;

    fn beat(queue: &str, actor: &str, done: u64) -> Heartbeat {
        serde_json::from_value(json!({
            "v": 1, "queue": queue, "submission_id": "job", "actor": actor, "node": "n",
            "slots": 4, "running": ["W"], "done": done,
        }))
        .unwrap()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_pool_is_silent_from_the_start_and_a_wave_from_its_last_sign_of_life() {
        let actors = Actors::default();
        let wave = Queue::wave("1").unwrap();
        advance(4 * SECOND).await;
        assert_eq!(actors.silence(&Queue::pool()), Some(4 * SECOND));
        assert_eq!(actors.silence(&wave), None);
        actors.hear(beat("pool", "a", 0), "east");
        actors.hear(beat("wave-1", "b", 0), "east");
        advance(2 * SECOND).await;
        assert_eq!(actors.silence(&Queue::pool()), Some(2 * SECOND));
        assert_eq!(actors.silence(&wave), Some(2 * SECOND));
        // NATS came back: who beats has a chance to be heard.
        actors.listen();
        assert_eq!(actors.silence(&Queue::pool()), Some(Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn actors_are_shown_while_they_live() {
        let actors = Actors::default();
        actors.hear(beat("pool", "b", 0), "east");
        let (running, placement) = actors.hear(beat("pool", "a", 0), "east");
        assert_eq!(running, ["W"]);
        assert_eq!(placement.cluster, "east");
        let names: Vec<_> = actors.view().into_iter().map(|actor| actor.actor).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(actors.running().contains("W"));
        advance(5 * SECOND).await;
        actors.hear(beat("pool", "a", 0), "east");
        advance(6 * SECOND).await;
        assert!(actors.running().is_empty());
        actors.forget_gone();
        assert_eq!(actors.view().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_follows_what_ends() {
        let actors = Actors::default();
        for second in 0..30 {
            actors.hear(beat("pool", "a", second * 50), "east");
            advance(SECOND).await;
        }
        assert!((actors.rate() - 50.0).abs() < 1.0, "{}", actors.rate());
    }

    #[tokio::test(start_paused = true)]
    async fn whether_a_queue_is_served_is_known_after_a_few_beats() {
        let actors = Actors::default();
        let wave = Queue::wave("1").unwrap();
        assert_eq!(actors.is_served(&wave), None);
        advance(4 * SECOND).await;
        assert_eq!(actors.is_served(&wave), Some(false));
        actors.hear(beat("wave-1", "a", 0), "east");
        assert_eq!(actors.is_served(&wave), Some(true));
    }
}
