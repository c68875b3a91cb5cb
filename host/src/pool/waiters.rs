//! Who waits for which work here, and what was given up.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use conclave_core::cluster::Placement;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::settings::Queue;
use super::wire::Verdict;

/// Pieces of progress that wait to be taken; a watcher loses what is beyond.
const NEWS_MAX: usize = 256;

/// For how long given up work is remembered.
const DROPPED_FOR: Duration = Duration::from_secs(600);

/// How much of it is remembered.
const DROPPED_MAX: usize = 100_000;

/// What is told of work before its end.
#[derive(Debug)]
pub(super) enum News {
    /// A message of the executor's.
    Progress(Bytes),
    /// An executor says that it runs it.
    Runs(Placement),
}

/// How the wait ends.
#[derive(Debug)]
pub(super) enum End {
    /// By a result.
    Result(Bytes),
    /// There will be none, for this reason.
    Lost(String),
}

/// The ends of the channels to one who waits.
#[derive(Debug)]
pub(super) struct Ears {
    pub(super) news: mpsc::Receiver<News>,
    pub(super) end: oneshot::Receiver<End>,
}

#[derive(Debug)]
struct Waiter {
    queue: Queue,
    /// When its result was looked for in the stream last; at first, when the work was queued. `None` before
    /// that.
    looked: Option<Instant>,
    started: bool,
    news: mpsc::Sender<News>,
    end: oneshot::Sender<End>,
}

/// All who wait for work of one cluster.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waiting: HashMap<String, Waiter>,
    dropped: Dropped,
}

impl Waiters {
    /// Begins to wait; `None` when somebody waits for the same work already.
    pub(super) fn open(&self, id: &str, queue: &Queue) -> Option<Ears> {
        let mut inner = self.lock();
        if inner.waiting.contains_key(id) {
            return None;
        }
        let (news, heard) = mpsc::channel(NEWS_MAX);
        let (end, ended) = oneshot::channel();
        let waiter = Waiter {
            queue: queue.clone(),
            looked: None,
            started: false,
            news,
            end,
        };
        inner.waiting.insert(id.to_owned(), waiter);
        inner.dropped.forget(id);
        Some(Ears {
            news: heard,
            end: ended,
        })
    }

    /// Waits no longer, and remembers that the work was given up.
    pub(super) fn give_up(&self, id: &str) {
        let mut inner = self.lock();
        inner.waiting.remove(id);
        inner.dropped.remember(id);
    }

    /// Remembers work as given up, unless somebody waits for it; whether nobody does.
    pub(super) fn abandon(&self, id: &str) -> bool {
        let mut inner = self.lock();
        let is_abandoned = !inner.waiting.contains_key(id);
        if is_abandoned {
            inner.dropped.remember(id);
        }
        is_abandoned
    }

    /// Waits no longer for what has ended, or never began.
    pub(super) fn close(&self, id: &str) {
        self.lock().waiting.remove(id);
    }

    /// The work is in this queue.
    pub(super) fn queued(&self, id: &str, queue: &Queue) {
        if let Some(waiter) = self.lock().waiting.get_mut(id) {
            waiter.queue = queue.clone();
            waiter.looked = Some(Instant::now());
        }
    }

    /// An executor has started the work.
    pub(super) fn started(&self, id: &str) {
        if let Some(waiter) = self.lock().waiting.get_mut(id) {
            waiter.started = true;
        }
    }

    /// An executor says that it runs this work: tells those that do not know.
    pub(super) fn run_at(&self, ids: &[String], placement: &Placement) {
        let mut inner = self.lock();
        for id in ids {
            if let Some(waiter) = inner.waiting.get_mut(id)
                && !waiter.started
            {
                waiter.started = true;
                // A full channel holds what tells the same.
                let _ = waiter.news.try_send(News::Runs(placement.clone()));
            }
        }
    }

    /// Tells news; whether they were taken. News for nobody are.
    pub(super) fn tell(&self, id: &str, news: Bytes) -> bool {
        let inner = self.lock();
        let Some(waiter) = inner.waiting.get(id) else {
            return true;
        };
        waiter.news.try_send(News::Progress(news)).is_ok()
    }

    /// Ends the wait for this work; whether somebody waited.
    pub(super) fn end(&self, id: &str, end: End) -> bool {
        let waiter = self.lock().waiting.remove(id);
        waiter.is_some_and(|waiter| waiter.end.send(end).is_ok())
    }

    /// Ends the wait for all of which the reason is told: by their queue, and whether they were started.
    /// How many those are.
    pub(super) fn lose(&self, reason: impl Fn(&Queue, bool) -> Option<String>) -> usize {
        let mut lost = 0;
        let mut inner = self.lock();
        let silent = inner
            .waiting
            .extract_if(|_, waiter| reason(&waiter.queue, waiter.started).is_some());
        for (_, waiter) in silent {
            if let Some(reason) = reason(&waiter.queue, waiter.started) {
                lost += 1;
                // Who is not there any more gives it up in this moment.
                let _ = waiter.end.send(End::Lost(reason));
            }
        }
        lost
    }

    /// What an executor shall do with work that was delivered to it again; `None` where nothing is known
    /// of it.
    pub(super) fn verdict(&self, id: &str) -> Option<Verdict> {
        let inner = self.lock();
        if inner.waiting.contains_key(id) {
            return Some(Verdict::Run);
        }
        inner.dropped.holds(id).then_some(Verdict::Drop)
    }

    /// Whether the work was given up a while ago.
    pub(super) fn was_given_up(&self, id: &str) -> bool {
        self.lock().dropped.holds(id)
    }

    /// Work whose result was not looked for in so long, at most so much; it counts as looked for now. What
    /// an executor says that it runs is left out.
    pub(super) fn due(
        &self,
        every: Duration,
        running: &HashSet<String>,
        count_max: usize,
    ) -> Vec<(String, Queue)> {
        let now = Instant::now();
        let mut inner = self.lock();
        let due = inner.waiting.iter_mut().filter(|(id, waiter)| {
            let since = waiter.looked.map(|looked| now.duration_since(looked));
            since.is_some_and(|since| since >= every) && !running.contains(*id)
        });
        due.take(count_max)
            .map(|(id, waiter)| {
                waiter.looked = Some(now);
                (id.clone(), waiter.queue.clone())
            })
            .collect()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work that was given up lately.
#[derive(Debug, Default)]
struct Dropped {
    at: HashMap<Arc<str>, Instant>,
    /// In the order in which it was given up; holds what was forgotten since, too.
    order: VecDeque<(Arc<str>, Instant)>,
}

impl Dropped {
    fn remember(&mut self, id: &str) {
        let now = Instant::now();
        let id: Arc<str> = id.into();
        self.at.insert(id.clone(), now);
        self.order.push_back((id, now));
        while let Some((id, at)) = self.order.front() {
            if self.order.len() <= DROPPED_MAX && now.duration_since(*at) <= DROPPED_FOR {
                break;
            }
            // It may have been given up again later.
            if self.at.get(id) == Some(at) {
                self.at.remove(id);
            }
            self.order.pop_front();
        }
    }

    fn forget(&mut self, id: &str) {
        self.at.remove(id);
    }

    fn holds(&self, id: &str) -> bool {
        let at = self.at.get(id);
        at.is_some_and(|at| at.elapsed() <= DROPPED_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Queue {
        Queue::pool()
    }

    #[tokio::test(start_paused = true)]
    async fn executors_are_told_to_run_what_is_waited_for_and_to_drop_what_was_given_up() {
        let waiters = Waiters::default();
        let _ears = waiters.open("a", &pool()).unwrap();
        assert_eq!(waiters.verdict("a"), Some(Verdict::Run));
        assert_eq!(waiters.verdict("b"), None);
        waiters.give_up("a");
        assert_eq!(waiters.verdict("a"), Some(Verdict::Drop));
        let _ears = waiters.open("a", &pool()).unwrap();
        assert_eq!(waiters.verdict("a"), Some(Verdict::Run));
        waiters.close("a");
        assert_eq!(waiters.verdict("a"), None);

        waiters.give_up("c");
        tokio::time::advance(DROPPED_FOR + Duration::from_secs(1)).await;
        assert_eq!(waiters.verdict("c"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_given_up_is_remembered_up_to_a_bound_the_latest_first() {
        let waiters = Waiters::default();
        for number in 0..=DROPPED_MAX {
            waiters.give_up(&number.to_string());
        }
        assert_eq!(waiters.verdict("0"), None);
        assert_eq!(waiters.verdict("1"), Some(Verdict::Drop));
        let inner = waiters.lock();
        assert_eq!(inner.dropped.at.len(), DROPPED_MAX);
        assert_eq!(inner.dropped.order.len(), DROPPED_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_once_and_a_second_result_is_for_nobody() {
        let waiters = Waiters::default();
        let ears = waiters.open("a", &pool()).unwrap();
        assert!(waiters.open("a", &pool()).is_none());
        assert!(waiters.end("a", End::Result(Bytes::from_static(b"1"))));
        assert!(!waiters.end("a", End::Result(Bytes::from_static(b"2"))));
        let Ok(End::Result(result)) = ears.end.await else {
            unreachable!("it has a result");
        };
        assert_eq!(result, b"1"[..]);
    }

    #[tokio::test(start_paused = true)]
    async fn results_are_looked_for_from_time_to_time_unless_an_executor_has_the_work() {
        let waiters = Waiters::default();
        let _ears = [
            waiters.open("a", &pool()).unwrap(),
            waiters.open("b", &pool()).unwrap(),
        ];
        let every = Duration::from_secs(5);
        let running = HashSet::from(["b".to_owned()]);
        tokio::time::advance(every).await;
        assert!(waiters.due(every, &running, 9).is_empty(), "not queued yet");
        waiters.queued("a", &pool());
        waiters.queued("b", &pool());
        assert!(waiters.due(every, &running, 9).is_empty());
        tokio::time::advance(every).await;
        assert_eq!(
            waiters.due(every, &running, 9),
            [("a".to_owned(), Queue::pool())]
        );
        assert!(waiters.due(every, &running, 9).is_empty());
        tokio::time::advance(every).await;
        assert_eq!(waiters.due(every, &HashSet::new(), 1).len(), 1);
        assert_eq!(waiters.due(every, &HashSet::new(), 9).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_waits_with_a_reason_are_lost() {
        let waiters = Waiters::default();
        let wave = Queue::wave("1").unwrap();
        let lost = waiters.open("a", &wave).unwrap();
        let _kept = waiters.open("b", &pool()).unwrap();
        let count = waiters.lose(|queue, _| (*queue == wave).then(|| "why".to_owned()));
        assert_eq!((count, waiters.len()), (1, 1));
        assert!(matches!(lost.end.await, Ok(End::Lost(reason)) if reason == "why"));
    }
}
