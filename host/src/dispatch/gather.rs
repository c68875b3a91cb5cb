//! Generations of one wave that differ only in their seed, as one request for several answers (`n`).
//!
//! Their prompt is sent and counted once, and one request is made instead of many. Each answer
//! is handed over as soon as it is whole, so that a strategy that stops early stops as early as before;
//! the connection is closed when nobody waits for any of them.
//!
//! vLLM draws the answers of one request with the seeds that follow the first one's: together go those
//! without a seed, and those whose seeds follow one another, so that each has the seed that it asks for.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use conclave_core::generation::{Generation, Sampling};
use conclave_core::inference::{Error, Progress, Request};
use conclave_core::slots::Rank;
use conclave_core::tasks::Tasks;
use conclave_core::wave::Wave;
use futures::future::join_all;
use tokio::time::timeout;

use super::again::again;
use super::courier::{Courier, unanswered};
use super::member::Mailbox;
use super::shared::{Member, Savings, Shared};

/// How long the first of a wave waits for the others, at most. They come as soon as they are journaled: on a
/// disk that is slow just then, this is what keeps them together. A wave that cannot be complete, because
/// some of it wait for a slot of the host's, loses so much.
const COMPANY: Duration = Duration::from_millis(250);

/// Waits until it is known whether others may be asked for together with this request. Greedy answers
/// are all the same: engines refuse several of them.
pub(super) async fn may_have_company(request: &Request) -> bool {
    if request.sampling.temperature == Some(0.0) {
        return false;
    }
    // An error is a plugin that computes for long: what it has asked for by then may go together.
    let _ = timeout(COMPANY, request.wave.closed()).await;
    request.wave.size() > 1
}

/// Puts generations together.
#[derive(Debug)]
pub(super) struct Gathering {
    courier: Arc<Courier>,
    tasks: Tasks,
    open: Arc<Mutex<Waves>>,
    savings: Arc<Savings>,
}

/// What of each wave is being put together, by the wave's address.
type Waves = HashMap<usize, Vec<Arc<Group>>>;

/// Generations that ask for the same.
#[derive(Debug)]
struct Group {
    /// What the first of them asks.
    request: Request,
    members: Mutex<Vec<Member>>,
}

/// One who waits; when the last of a request has gone, nobody wants its answers any more.
struct Waiting {
    mailbox: Arc<Mailbox>,
    savings: Arc<Savings>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.savings.unread(self.mailbox.leave());
    }
}

impl Gathering {
    pub(super) fn new(courier: Arc<Courier>, tasks: Tasks) -> Self {
        Self {
            courier,
            tasks,
            open: Arc::default(),
            savings: Arc::default(),
        }
    }

    pub(super) fn savings(&self) -> Arc<Savings> {
        Arc::clone(&self.savings)
    }

    pub(super) async fn generate(
        &self,
        request: &Request,
        progress: &Progress,
    ) -> Result<Generation, Error> {
        self.join(request).mailbox.read(progress).await
    }

    fn join(&self, request: &Request) -> Waiting {
        let waiting = Waiting {
            mailbox: Mailbox::new(),
            savings: Arc::clone(&self.savings),
        };
        let member = Member {
            request: request.clone(),
            mailbox: Arc::clone(&waiting.mailbox),
        };
        let mut open = lock(&self.open);
        // Whoever waits until the wave is complete must find this one among the members.
        request.wave.arrive(request.id.job);
        let groups = open.entry(address(&request.wave)).or_default();
        if let Some(group) = groups.iter().find(|group| group.fits(request)) {
            lock(&group.members).push(member);
            return waiting;
        }
        let group = Arc::new(Group {
            request: request.clone(),
            members: Mutex::new(vec![member]),
        });
        groups.push(Arc::clone(&group));
        drop(open);
        let leading = Leading {
            courier: Arc::clone(&self.courier),
            savings: Arc::clone(&self.savings),
            open: Arc::clone(&self.open),
            group,
        };
        self.tasks.spawn("generations together", leading.run());
        waiting
    }
}

/// What runs a group; dropping it takes the group out of the waves that are being put together.
struct Leading {
    courier: Arc<Courier>,
    savings: Arc<Savings>,
    open: Arc<Mutex<Waves>>,
    group: Arc<Group>,
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.close();
        // Whoever still waits when this ends early, as by a panic, is told.
        for member in &*lock(&self.group.members) {
            member.mailbox.end(Err(unanswered(&member.request)));
        }
    }
}

impl Leading {
    async fn run(self) {
        // Who comes later than that goes with another group.
        let _ = timeout(COMPANY, self.group.request.wave.complete()).await;
        self.close();
        let mut members = lock(&self.group.members).clone();
        members.retain(|member| !member.mailbox.is_left());
        let choices_max = self.courier.choices_max(&self.group.request).max(1);
        let requests = together(&mut members, choices_max);
        join_all(requests.map(|members| self.ask(members))).await;
    }

    fn close(&self) {
        let address = address(&self.group.request.wave);
        let mut open = lock(&self.open);
        if let Some(groups) = open.get_mut(&address) {
            groups.retain(|group| !Arc::ptr_eq(group, &self.group));
            if groups.is_empty() {
                open.remove(&address);
            }
        }
    }

    /// Asks once for the answers of these members.
    async fn ask(&self, members: &[Member]) {
        let Some(Member { request, .. }) = members.first() else {
            return;
        };
        let shared = Shared::new(members, &self.savings);
        let request = &Request {
            rank: most_urgent(members).unwrap_or(request.rank),
            ..request.clone()
        };
        let delivering = self.courier.deliver(request, members.len(), &shared);
        let Some(delivered) = while_wanted(members, delivering).await else {
            return;
        };
        let rest = members.iter().filter(|member| !member.mailbox.is_over());
        let rest: Vec<_> = rest.collect();
        match delivered {
            // A server that gives no several answers may still give each alone.
            Err(error @ Error::Rejected { .. }) if members.len() > 1 => {
                tracing::warn!(
                    model = %request.model,
                    %error,
                    "several answers at once were rejected: each is asked for alone; see `choices_max`"
                );
                join_all(rest.into_iter().map(|member| self.alone(member))).await;
            }
            Err(error) => {
                for member in rest {
                    member.mailbox.end(Err(again(&error)));
                }
            }
            Ok(()) => {
                for member in rest {
                    member.mailbox.end(Err(unanswered(request)));
                }
            }
        }
    }

    async fn alone(&self, member: &Member) {
        let request = &member.request;
        let members = std::slice::from_ref(member);
        let one = Shared::new(members, &self.savings);
        let delivering = self.courier.deliver(request, 1, &one);
        if let Some(end) = while_wanted(members, delivering).await {
            let end = end.err().unwrap_or_else(|| unanswered(request));
            member.mailbox.end(Err(end));
        }
    }
}

/// Does this as long as any of the members waits for its answer.
async fn while_wanted<T>(members: &[Member], work: impl Future<Output = T>) -> Option<T> {
    let given_up = async {
        join_all(members.iter().map(|member| member.mailbox.done())).await;
        if members.iter().all(|member| member.mailbox.is_over()) {
            // All have their answers: the request ends by itself.
            pending::<()>().await;
        }
    };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = given_up => None,
    }
}

impl Group {
    /// Whether the request asks for the same, but for chance.
    fn fits(&self, request: &Request) -> bool {
        let own = &self.request;
        let seedless = |sampling: &Sampling| Sampling {
            seed: None,
            ..sampling.clone()
        };
        own.model == request.model
            && own.endpoint == request.endpoint
            && own.execution == request.execution
            && own.messages == request.messages
            && seedless(&own.sampling) == seedless(&request.sampling)
    }
}

/// Those who share a request, at most so many each, the same for the same members.
fn together(members: &mut [Member], choices_max: usize) -> impl Iterator<Item = &[Member]> {
    members.sort_by_key(|Member { request, .. }| (request.sampling.seed, request.id.job));
    let seed = |member: &Member| member.request.sampling.seed;
    members
        .chunk_by(move |one, next| is_drawn_after(seed(one), seed(next)))
        .flat_map(move |members| members.chunks(choices_max))
}

/// The rank of the member that is to be served first: the others come with it.
fn most_urgent(members: &[Member]) -> Option<Rank> {
    let ranks = members.iter().map(|member| member.request.rank);
    ranks.min_by_key(Rank::order)
}

/// Whether an engine that draws one answer with the first seed draws the next one with the second.
fn is_drawn_after(one: Option<u32>, next: Option<u32>) -> bool {
    match (one, next) {
        (None, None) => true,
        (Some(one), Some(next)) => one.checked_add(1) == Some(next),
        _ => false,
    }
}

fn address(wave: &Arc<Wave>) -> usize {
    Arc::as_ptr(wave) as usize
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use conclave_core::endpoint::Endpoint;
    use conclave_core::ids::{JobId, ModelName};
    use conclave_core::testkit::inference::contract;
    use futures::FutureExt as _;

    use super::*;

    fn member(job: u32, seed: Option<u32>) -> Member {
        let endpoint = Endpoint::parse("http://vllm:8000").unwrap();
        let mut request = contract::request(&endpoint, &ModelName::new("tiny"), 1);
        request.id.job = JobId(job);
        request.sampling.seed = seed;
        Member {
            request,
            mailbox: Mailbox::new(),
        }
    }

    #[test]
    fn together_are_those_whose_seeds_an_engine_draws_one_after_the_other() {
        let seeds = [Some(9), None, Some(7), Some(20), Some(8), None, Some(8)];
        let mut members: Vec<_> = (1..)
            .zip(seeds)
            .map(|(job, seed)| member(job, seed))
            .collect();
        let requests = together(&mut members, 2);
        let jobs: Vec<Vec<_>> = requests
            .map(|members| members.iter().map(|one| one.request.id.job.0).collect())
            .collect();
        assert_eq!(jobs, [vec![2, 6], vec![3, 5], vec![7, 1], vec![4]]);
    }

    #[test]
    fn a_request_for_several_goes_at_the_rank_of_the_most_urgent() {
        let mut members = [1, 2, 3].map(|job| member(job, Some(job)));
        members[1].request.rank.own = Some(10);
        assert_eq!(most_urgent(&members).unwrap().own, Some(10));
    }

    #[tokio::test]
    async fn a_request_is_given_up_when_the_last_who_waits_for_it_has_gone() {
        let members = [member(1, Some(1)), member(2, Some(2))];
        let mut working = Box::pin(while_wanted(&members, pending::<()>()));
        members[0].mailbox.leave();
        assert!(working.as_mut().now_or_never().is_none());
        members[1].mailbox.leave();
        assert!(
            working
                .as_mut()
                .now_or_never()
                .is_some_and(|done| done.is_none())
        );
    }

    #[tokio::test]
    async fn a_request_whose_answers_are_all_there_ends_by_itself() {
        let members = [member(1, Some(1)), member(2, Some(2))];
        let mut working = Box::pin(while_wanted(&members, pending::<()>()));
        for member in &members {
            member.mailbox.end(Err(unanswered(&member.request)));
            member.mailbox.leave();
        }
        assert!(working.as_mut().now_or_never().is_none());
    }
}
