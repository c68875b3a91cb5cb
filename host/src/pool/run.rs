//! One errand on its way through a cluster: queued, waited for, and handed over or given up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conclave_core::chain::Chain;
use conclave_core::endpoint::AllowedOrigins;
use conclave_core::inference::{Error, Request};
use tokio::time::{Instant, sleep, timeout};

use super::cancel::{Order, Orders};
use super::cluster::Cluster;
use super::counts::count;
use super::outcome::{hand_over, unavailable, unheard};
use super::settings::{Bounds, Queue, is_token};
use super::store::NotQueued;
use super::telling::Telling;
use super::waiters::{Ears, End, News};
use super::wire::{self, Work};
use crate::errand::{Answers, Errand};
use crate::openai;
use crate::telemetry::TraceHeaders;

/// How often work is queued anew when what was there is gone in the same moment.
const TRIES: usize = 4;

/// How often it is looked whether somebody serves a queue.
const LOOK: Duration = Duration::from_millis(100);

/// How long one look into a stream may take, whatever the client waits for.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// An errand for one queue.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) cluster: &'a Arc<Cluster>,
    pub(super) queue: &'a Queue,
    pub(super) errand: &'a Errand,
    pub(super) orders: &'a Orders,
    pub(super) allowed: &'a AllowedOrigins,
    pub(super) bounds: Bounds,
    pub(super) ready_timeout: Duration,
}

impl Run<'_> {
    /// Runs it; dropping the future gives the work up.
    pub(super) async fn run(self, trace: TraceHeaders, answers: &dyn Answers) -> Result<(), Error> {
        let (cluster, errand) = (self.cluster, self.errand);
        let id = errand.work_id();
        let work = self.message(&id, trace)?;
        let resumed = is_resumed(&errand.request) || cluster.waiters.was_given_up(&id);
        let Some(ears) = cluster.waiters.open(&id, self.queue) else {
            return Err(unavailable(errand, "the same work is waited for already"));
        };
        let mut waiting = Waiting::new(&self, &id);
        // What a host before has queued must not run for nobody if this one fails.
        waiting.is_queued = resumed;
        if !errand.own && !self.allowed.permits(&errand.endpoint) {
            return Err(openai::not_allowed(&errand.endpoint));
        }
        let begun = match self.begin(&mut waiting, &work, resumed).await {
            Err(error) if error.is_retryable() && !cluster.is_connected() => {
                waiting.is_tried_again = true;
                return Err(Cluster::away(errand));
            }
            begun => begun?,
        };
        let mut telling = Telling::new(answers, cluster.names.cluster(), errand.choices);
        let end = match begun {
            Begun::Ended(result) => End::Result(result),
            Begun::Adopted => {
                telling.join();
                listen(ears, cluster, &id, &mut telling).await
            }
            Begun::Queued => listen(ears, cluster, &id, &mut telling).await,
        };
        match end {
            End::Result(result) => {
                waiting.end();
                if wire::is_dead(&result) {
                    count(&cluster.counts.dead);
                }
                hand_over(&result, errand, &telling, cluster.names.cluster())
            }
            End::Lost(reason) => Err(unavailable(errand, reason)),
        }
    }

    fn message(&self, id: &str, trace: TraceHeaders) -> Result<Bytes, Error> {
        let errand = self.errand;
        if !is_token(id) {
            return Err(rejected(
                errand,
                400,
                format!("`{id}` is no name for work on a cluster"),
            ));
        }
        let body = openai::encode(errand)?;
        let request_id = ("x-request-id", Some(errand.request.id.to_string()));
        let trace = [
            ("traceparent", trace.traceparent),
            ("tracestate", trace.tracestate),
        ];
        let headers = trace.into_iter().chain([request_id]);
        let headers: BTreeMap<_, _> = headers
            .filter_map(|(name, text)| text.map(|text| (name, text)))
            .collect();
        let work = Work {
            id,
            endpoint: &errand.endpoint.to_string(),
            headers: &headers,
            choices: errand.choices,
            timeout: errand.request.timeout,
            bounds: self.bounds,
            body: &body,
        };
        let message = work.encode();
        message
            .map(Bytes::from)
            .map_err(|error| rejected(errand, 400, format!("the work cannot be written: {error}")))
    }

    /// Queues the work, unless it is found where a host that ended since had left it.
    async fn begin(
        &self,
        waiting: &mut Waiting<'_>,
        work: &Bytes,
        resumed: bool,
    ) -> Result<Begun, Error> {
        let (cluster, errand) = (self.cluster, self.errand);
        cluster.ready(self.ready_timeout, errand).await?;
        if !resumed && let Some(silence) = cluster.silence(self.queue, false) {
            return Err(unheard(errand, silence));
        }
        let mut may_be_there = resumed;
        for _ in 0..TRIES {
            if may_be_there && let Some(begun) = self.find(waiting).await? {
                count(&cluster.counts.adopted);
                return Ok(begun);
            }
            // From here on it may be in the queue.
            waiting.is_queued = true;
            let subject = cluster.names.work(self.queue, waiting.id);
            match cluster.store.publish(subject, work.clone()).await {
                Ok(sequence) => {
                    waiting.queued(self.queue, sequence);
                    count(&cluster.counts.published);
                    return Ok(Begun::Queued);
                }
                Err(NotQueued::IsThere) => may_be_there = true,
                Err(problem) => return Err(self.not_queued(problem, waiting, work)),
            }
        }
        Err(unavailable(errand, "its place in the queue is taken"))
    }

    /// Finds work of before: its result, or itself. Removes what is of no use.
    async fn find(&self, waiting: &mut Waiting<'_>) -> Result<Option<Begun>, Error> {
        let (names, store, id) = (&self.cluster.names, &self.cluster.store, waiting.id);
        let queued = self.asked(store.queued(names, id)).await?;
        // Only now: work has its result in the stream before it leaves the queue.
        let result = self.asked(store.result(names, id)).await?;
        let is_useless = match (&result, &queued) {
            (Some(result), _) if !wire::is_cancelled(result) => {
                return Ok(Some(Begun::Ended(result.clone())));
            }
            (Some(_), _) => true,
            (None, Some(queued)) => !self.is_served(&queued.queue).await,
            (None, None) => false,
        };
        if result.is_some() {
            let (stream, subject) = (names.results_stream(), names.result(id));
            self.asked(store.remove(&stream, &subject, None)).await?;
        }
        let Some(queued) = queued else {
            return Ok(None);
        };
        if is_useless {
            let (stream, subject) = (names.work_stream(), names.work(&queued.queue, id));
            let removal = store.remove(&stream, &subject, Some(queued.sequence));
            self.asked(removal).await?;
            return Ok(None);
        }
        waiting.queued(&queued.queue, queued.sequence);
        Ok(Some(Begun::Adopted))
    }

    /// Whether work in this queue is worth waiting for: it is where it would be put now, or somebody is
    /// heard who takes it from there.
    async fn is_served(&self, queue: &Queue) -> bool {
        loop {
            if queue == self.queue {
                return true;
            }
            if let Some(is_served) = self.cluster.actors.is_served(queue) {
                return is_served;
            }
            sleep(LOOK).await;
        }
    }

    async fn asked<T, E: std::fmt::Display>(
        &self,
        asked: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Error> {
        let failed = |why: String| {
            let why = format!("NATS does not tell what became of the work: {why}");
            unavailable(self.errand, why)
        };
        match timeout(LOOK_MAX, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(elapsed) => Err(failed(elapsed.to_string())),
        }
    }

    fn not_queued(&self, problem: NotQueued, waiting: &mut Waiting<'_>, work: &Bytes) -> Error {
        let (cluster, errand) = (self.cluster, self.errand);
        if !matches!(problem, NotQueued::Failed(_)) {
            waiting.is_queued = false;
        }
        match problem {
            NotQueued::Full => cluster.full(errand),
            NotQueued::TooLarge => {
                let (bytes, most) = (work.len(), cluster.client.max_payload());
                let told = format!(
                    "it has {bytes} bytes as a message, and NATS takes {most}: shorten it, or raise \
                     `max_payload` of the NATS server"
                );
                rejected(errand, 413, told)
            }
            NotQueued::NoStream => {
                cluster.miss_streams();
                let cluster = cluster.names.cluster();
                unavailable(errand, format!("the queue of cluster `{cluster}` is gone"))
            }
            NotQueued::IsThere => unavailable(errand, "its place in the queue is taken"),
            NotQueued::Failed(source) => {
                let why = Chain(&*source);
                unavailable(errand, format!("NATS does not take the work: {why}"))
            }
        }
    }
}

/// Whether an attempt was begun before, by a host that ended since.
#[must_use]
pub fn is_resumed(request: &Request) -> bool {
    request.id.attempt > request.retries.saturating_add(1)
}

/// Hears of the work until its end.
async fn listen(mut ears: Ears, cluster: &Cluster, id: &str, telling: &mut Telling<'_>) -> End {
    loop {
        tokio::select! {
            // What came before the end is told before it.
            biased;
            Some(news) = ears.news.recv() => match news {
                News::Progress(message) => if telling.take(&message) {
                    cluster.waiters.started(id);
                },
                News::Runs(placement) => telling.placed(&placement),
            },
            end = &mut ears.end => {
                return end.unwrap_or_else(|_| End::Lost("the pool has stopped".to_owned()));
            }
        }
    }
}

fn rejected(errand: &Errand, status: u16, message: String) -> Error {
    Error::Rejected {
        endpoint: errand.endpoint.clone(),
        status,
        message,
    }
}

/// How work begins.
#[derive(Debug)]
enum Begun {
    /// It is queued.
    Queued,
    /// It is queued or running since before.
    Adopted,
    /// It has ended, with this result.
    Ended(Bytes),
}

/// A wait that is open. Dropping it before the work has ended gives the work up.
#[derive(Debug)]
struct Waiting<'a> {
    run: &'a Run<'a>,
    id: &'a str,
    queue: Queue,
    sequence: Option<u64>,
    until: Instant,
    is_queued: bool,
    has_ended: bool,
    /// It may be queued, and whoever waits asks by the same name again: then it is found.
    is_tried_again: bool,
}

impl<'a> Waiting<'a> {
    fn new(run: &'a Run<'a>, id: &'a str) -> Self {
        Self {
            run,
            id,
            queue: run.queue.clone(),
            sequence: None,
            until: Instant::now() + run.errand.request.timeout,
            is_queued: false,
            has_ended: false,
            is_tried_again: false,
        }
    }

    fn queued(&mut self, queue: &Queue, sequence: u64) {
        self.is_queued = true;
        self.queue = queue.clone();
        self.sequence = Some(sequence);
        self.run.cluster.waiters.queued(self.id, queue);
    }

    /// The work has ended: there is nothing to give up.
    fn end(&mut self) {
        self.has_ended = true;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let cluster = self.run.cluster;
        if self.has_ended || !self.is_queued {
            cluster.waiters.close(self.id);
            return;
        }
        cluster.waiters.give_up(self.id);
        if self.is_tried_again {
            return;
        }
        self.run.orders.cancel(Order {
            cluster: Arc::clone(cluster),
            id: self.id.to_owned(),
            queue: self.queue.clone(),
            sequence: self.sequence,
            until: self.until,
        });
    }
}
