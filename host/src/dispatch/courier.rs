//! Takes one request to a server that was chosen for it, and to another one where that is out of reach.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use conclave_core::chain::Chain;
use conclave_core::cluster::Placement;
use conclave_core::endpoint::Endpoint;
use conclave_core::execution::Execution;
use conclave_core::fleet::{Fleet, Lease, Want};
use conclave_core::generation::Generation;
use conclave_core::inference::{Error, Request};
use conclave_core::slots::Rank;
use tokio::time::timeout;

use crate::errand::{Answers, Backend as _, Errand};
use crate::openai::OpenAi;
use crate::pool::{self, Pool, Queue};

/// Servers that are tried for one attempt, when those before it were out of reach.
const SERVERS_TRIED_MAX: usize = 3;

/// How soon somebody is looked for again where nobody is heard.
const UNHEARD: Duration = Duration::from_secs(1);

/// Tokens that an answer is expected to have whose length nobody bounds.
const TOKENS_EXPECTED: usize = 512;

/// How long a host that was started again waits for a cluster to which it had handed work.
const ADOPTION: Duration = Duration::from_secs(30);

/// Bytes of a prompt that make about one token.
const BYTES_PER_TOKEN: usize = 4;

/// The ways to an engine.
#[derive(Clone)]
pub struct Paths {
    /// Which servers there are, and how they stand.
    pub fleet: Arc<Fleet>,
    /// Calls a server.
    pub direct: Arc<OpenAi>,
    /// Hands work to executors; missing where no NATS is configured.
    pub pool: Option<Arc<Pool>>,
    /// The ways that the settings use: executors are kept for no others.
    pub executions: BTreeSet<Execution>,
}

impl std::fmt::Debug for Paths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Paths").finish_non_exhaustive()
    }
}

/// Delivers requests.
pub(super) struct Courier {
    paths: Paths,
}

impl std::fmt::Debug for Courier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Courier").finish_non_exhaustive()
    }
}

impl Courier {
    pub(super) fn new(paths: Paths) -> Self {
        Self { paths }
    }

    /// How many answers the servers of this request give at once.
    pub(super) fn choices_max(&self, request: &Request) -> usize {
        let endpoint = request.endpoint.as_ref();
        self.paths.fleet.choices_max(&request.model, endpoint)
    }

    /// Has the request answered so many times.
    pub(super) async fn deliver(
        &self,
        request: &Request,
        choices: usize,
        answers: &dyn Answers,
    ) -> Result<(), Error> {
        let mut out_of_reach = Vec::new();
        let mut lost = Vec::new();
        let mut left = self.lease_where_left(request, choices).await;
        loop {
            let lease = match left.take() {
                Some(lease) => lease,
                None => self.lease(request, choices, &out_of_reach, &lost).await?,
            };
            let errand = errand(request, choices, &lease);
            let noting = Noting::new(answers);
            let result = match (request.execution, &lease.cluster) {
                (Execution::Direct, _) => self.paths.direct.run(&errand, &noting).await,
                (_, Some(cluster)) => {
                    let pool = self.pool(request)?;
                    pool.run(cluster, &Queue::pool(), &errand, &noting).await
                }
                (_, None) => Err(no_executor(request)),
            };
            let Err(error) = result else {
                lease.succeeded();
                return Ok(());
            };
            match (request.execution, &lease.cluster) {
                (Execution::Direct, _) | (_, None) => out_of_reach.push(lease.endpoint.clone()),
                (_, Some(cluster)) => lost.push(cluster.clone()),
            }
            // What goes wrong on the way to the server says nothing of it.
            if !pool::is_between(&error) {
                lease.failed(&error);
            }
            let tried = out_of_reach.len() + lost.len();
            let may_go = matches!(error, Error::Unavailable { .. } | Error::Overloaded { .. });
            let elsewhere = may_go && !noting.has_begun() && tried < SERVERS_TRIED_MAX;
            if !elsewhere || !self.has_another(request, choices, &out_of_reach, &lost) {
                return Err(waiting(request, error));
            }
            tracing::debug!(id = %request.id, server = %errand.endpoint, "out of reach, or busy: another server is tried");
        }
    }

    /// A server for the request; waits for one that has room.
    async fn lease(
        &self,
        request: &Request,
        choices: usize,
        out_of_reach: &[Endpoint],
        lost: &[String],
    ) -> Result<Lease, Error> {
        let want = want(request, choices, out_of_reach);
        let fleet = &self.paths.fleet;
        let lease = match request.execution {
            Execution::Direct => fleet.lease(&want).await,
            Execution::Pool => fleet.lease_on_cluster(&want, lost).await,
            Execution::Job => fleet.lease_for_job(&want, lost).await,
        };
        lease.map_err(Error::from)
    }

    /// Room on the cluster where a host before has left the attempt, if one has: elsewhere it would be run
    /// once more.
    async fn lease_where_left(&self, request: &Request, choices: usize) -> Option<Lease> {
        if request.execution == Execution::Direct {
            return None;
        }
        let pool = self.paths.pool.as_ref()?;
        let cluster = pool.holder(request, choices).await?;
        let others = self.paths.fleet.status().clusters.into_iter();
        let others = others.map(|one| one.name).filter(|name| name != cluster);
        let others: Vec<_> = others.collect();
        // A cluster that has gone since is not waited for.
        let lease = timeout(ADOPTION, self.lease(request, choices, &[], &others));
        lease.await.ok()?.ok()
    }

    /// Whether there is anywhere else to go now.
    fn has_another(
        &self,
        request: &Request,
        choices: usize,
        out_of_reach: &[Endpoint],
        lost: &[String],
    ) -> bool {
        let fleet = &self.paths.fleet;
        match request.execution {
            Execution::Direct => fleet.has_another(&want(request, choices, out_of_reach)),
            Execution::Pool | Execution::Job => {
                let status = fleet.status();
                let mut clusters = status.clusters.iter();
                clusters.any(|one| one.executes && !lost.contains(&one.name))
            }
        }
    }

    /// A cluster for a wave, and the endpoint that its executor calls.
    pub(super) async fn lease_for_wave(&self, request: &Request) -> Result<Lease, Error> {
        match self.lease_where_left(request, 1).await {
            Some(lease) => Ok(lease),
            None => {
                let answers = request.wave.size().max(1) as usize;
                self.lease(request, answers, &[], &[]).await
            }
        }
    }

    /// Whether generations can go this way.
    pub(super) fn has(&self, execution: Execution) -> bool {
        let is_used = self.paths.pool.is_some() && self.paths.executions.contains(&execution);
        execution == Execution::Direct || is_used
    }

    pub(super) fn pool(&self, request: &Request) -> Result<&Arc<Pool>, Error> {
        self.paths.pool.as_ref().ok_or_else(|| no_executor(request))
    }
}

/// What is asked of the fleet.
fn want<'a>(request: &'a Request, choices: usize, out_of_reach: &'a [Endpoint]) -> Want<'a> {
    let prompt: usize = request
        .messages
        .iter()
        .map(|message| message.content.len() / BYTES_PER_TOKEN)
        .sum();
    let answer = request
        .sampling
        .tokens_max
        .map_or(TOKENS_EXPECTED, |tokens| tokens as usize);
    Want {
        model: &request.model,
        endpoint: request.endpoint.as_ref(),
        affinity: &request.id.deliberation,
        tokens: u32::try_from(prompt + answer * choices).unwrap_or(u32::MAX),
        rank: request.rank,
        except: out_of_reach,
    }
}

pub(super) fn errand(request: &Request, choices: usize, lease: &Lease) -> Errand {
    Errand {
        request: request.clone(),
        endpoint: lease.endpoint.clone(),
        own: lease.is_own,
        choices,
        placement: lease.placement.clone(),
        priority: lease.takes_priority.then(|| priority(request.rank)),
    }
}

/// The order in vLLM's words: the least first, 0 in the middle of what there is.
fn priority(rank: Rank) -> i32 {
    let deliberation = i32::from(conclave_core::priority::Priority::default().get())
        - i32::from(rank.deliberation.get());
    let own = i32::from(rank.own.unwrap_or(128)) - 128;
    deliberation * 256 + own
}

fn no_executor(request: &Request) -> Error {
    let reason = format!(
        "execution `{}` needs a cluster with an executor (`clusters.executor`) and NATS \
         (`events.nats_url`)",
        request.execution.as_str()
    );
    Error::NoServer {
        model: request.model.clone(),
        reason,
        retry_after: None,
    }
}

/// What nobody would take was not sent: it waits for somebody, and no attempt has failed.
fn waiting(request: &Request, error: Error) -> Error {
    if !pool::is_unheard(&error) {
        return error;
    }
    Error::NoServer {
        model: request.model.clone(),
        reason: Chain(&error).to_string(),
        retry_after: Some(UNHEARD),
    }
}

/// A backend said that all was answered, and it was not.
pub(super) fn unanswered(request: &Request) -> Error {
    Error::NoServer {
        model: request.model.clone(),
        reason: "the server ended without an answer".to_owned(),
        retry_after: None,
    }
}

/// Passes on what answers are told, and notes whether the server had begun.
struct Noting<'a> {
    answers: &'a dyn Answers,
    begun: AtomicBool,
}

impl<'a> Noting<'a> {
    fn new(answers: &'a dyn Answers) -> Self {
        Self {
            answers,
            begun: AtomicBool::new(false),
        }
    }

    fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }
}

impl Answers for Noting<'_> {
    fn placed(&self, placement: &Placement) {
        self.begun.store(true, Ordering::Relaxed);
        self.answers.placed(placement);
    }

    fn tokens(&self, choice: usize, count: u32, text: &str) {
        self.begun.store(true, Ordering::Relaxed);
        self.answers.tokens(choice, count, text);
    }

    fn finished(&self, choice: usize, generation: Generation) {
        self.begun.store(true, Ordering::Relaxed);
        self.answers.finished(choice, generation);
    }
}

#[cfg(test)]
mod tests {
    use conclave_core::priority::Priority;

    use super::*;

    #[test]
    fn an_engine_works_first_on_urgent_deliberations_and_within_one_on_what_its_plugin_wants_first()
    {
        let of = |deliberation, own| {
            let deliberation = Priority::new(deliberation).unwrap();
            priority(Rank { deliberation, own })
        };
        assert_eq!(of(4, None), 0);
        let order = [
            of(9, Some(255)),
            of(5, None),
            of(4, Some(0)),
            of(4, Some(129)),
            of(0, Some(0)),
        ];
        assert!(order.is_sorted(), "{order:?}");
    }
}
