//! Generations of one wave that differ only in their seed, as one request for several answers (`n`).
//!
//! The engine works on their prompt once, and has one request to schedule instead of many. Each answer
//! is handed over as soon as it is whole, so that a strategy that stops early stops as early as before;
//! the connection is closed when nobody waits for any of them. vLLM draws the answers with the seeds
//! that follow the first one's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use conclave_core::chain::Chain;
use conclave_core::cluster::Placement;
use conclave_core::generation::{Generation, Sampling};
use conclave_core::inference::{Error, Progress, Request};
use conclave_core::tasks::Tasks;
use conclave_core::wave::Wave;
use futures::future::join_all;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::courier::{Courier, unanswered};
use super::member::Mailbox;
use crate::errand::Answers;

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

/// What asking for several answers at once has saved since the start.
#[derive(Debug, Default)]
pub struct Savings {
    /// Requests that were not made.
    pub requests: AtomicU64,
    /// Tokens of prompts that the engine did not have to work on again.
    pub prompt_tokens: AtomicU64,
}

/// Puts generations together.
#[derive(Debug)]
pub(super) struct Gathering {
    courier: Arc<Courier>,
    tasks: Tasks,
    open: Arc<Mutex<Waves>>,
    savings: Arc<Savings>,
}

/// The waves that are being put together, by their address.
type Waves = HashMap<usize, Arrived>;

#[derive(Debug, Default)]
struct Arrived {
    count: u32,
    /// Told when another one came.
    more: Arc<Notify>,
    groups: Vec<Arc<Group>>,
}

/// Generations that ask for the same.
#[derive(Debug)]
struct Group {
    /// What the first of them asks.
    request: Request,
    members: Mutex<Vec<Member>>,
    waiting: AtomicUsize,
    /// Whether nobody may join any more: it is asked for, or given up.
    is_closed: AtomicBool,
    task: OnceLock<AbortHandle>,
}

/// One of a group.
#[derive(Clone, Debug)]
struct Member {
    request: Request,
    mailbox: Arc<Mailbox>,
}

/// One who waits; when the last has gone, nobody wants the answers any more.
struct Waiting {
    group: Arc<Group>,
    open: Arc<Mutex<Waves>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Whoever joins does so under this lock: it joins a group that somebody waits for, or none.
        let _open = lock(&self.open);
        if self.group.waiting.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        self.group.is_closed.store(true, Ordering::Release);
        if let Some(task) = self.group.task.get() {
            task.abort();
        }
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
        let (waiting, mailbox) = self.join(request);
        let end = mailbox.read(progress).await;
        drop(waiting);
        end
    }

    fn join(&self, request: &Request) -> (Waiting, Arc<Mailbox>) {
        let mailbox = Mailbox::new();
        let member = Member {
            request: request.clone(),
            mailbox: Arc::clone(&mailbox),
        };
        let mut open = lock(&self.open);
        let arrived = open.entry(address(&request.wave)).or_default();
        arrived.count += 1;
        arrived.more.notify_waiters();
        let mut groups = arrived.groups.iter();
        let known =
            groups.find(|group| !group.is_closed.load(Ordering::Acquire) && group.fits(request));
        if let Some(group) = known {
            lock(&group.members).push(member);
            group.waiting.fetch_add(1, Ordering::AcqRel);
            let waiting = Waiting {
                group: Arc::clone(group),
                open: Arc::clone(&self.open),
            };
            return (waiting, mailbox);
        }
        let group = Arc::new(Group {
            request: request.clone(),
            members: Mutex::new(vec![member]),
            waiting: AtomicUsize::new(1),
            is_closed: AtomicBool::new(false),
            task: OnceLock::new(),
        });
        arrived.groups.push(Arc::clone(&group));
        let leading = Leading {
            courier: Arc::clone(&self.courier),
            savings: Arc::clone(&self.savings),
            open: Arc::clone(&self.open),
            group: Arc::clone(&group),
        };
        let task = self.tasks.spawn("generations together", leading.run());
        // It is set once, here.
        let _ = group.task.set(task.abort_handle());
        let waiting = Waiting {
            group,
            open: Arc::clone(&self.open),
        };
        drop(open);
        (waiting, mailbox)
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
        let _ = timeout(COMPANY, self.all_arrived()).await;
        self.close();
        let mut members = lock(&self.group.members).clone();
        // Whoever has gone meanwhile left only the group's own handle, and this one.
        members.retain(|member| Arc::strong_count(&member.mailbox) > 2);
        let choices_max = self.courier.choices_max(&self.group.request).max(1);
        join_all(members.chunks(choices_max).map(|chunk| self.ask(chunk))).await;
    }

    /// Waits until the whole wave is here.
    async fn all_arrived(&self) {
        let wave = &self.group.request.wave;
        wave.closed().await;
        loop {
            let more = {
                let open = lock(&self.open);
                match open.get(&address(wave)) {
                    Some(arrived) if arrived.count < wave.size() => Arc::clone(&arrived.more),
                    _ => return,
                }
            };
            let more = more.notified();
            tokio::pin!(more);
            more.as_mut().enable();
            let complete = {
                let open = lock(&self.open);
                open.get(&address(wave))
                    .is_none_or(|arrived| arrived.count >= wave.size())
            };
            if complete {
                return;
            }
            more.await;
        }
    }

    fn close(&self) {
        let address = address(&self.group.request.wave);
        let mut open = lock(&self.open);
        self.group.is_closed.store(true, Ordering::Release);
        if let Some(arrived) = open.get_mut(&address) {
            arrived
                .groups
                .retain(|group| !Arc::ptr_eq(group, &self.group));
            if arrived.groups.is_empty() {
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
        let delivered = self.courier.deliver(request, members.len(), &shared).await;
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
        let one = Shared::new(std::slice::from_ref(member), &self.savings);
        let end = self.courier.deliver(request, 1, &one).await;
        let end = end.err().unwrap_or_else(|| unanswered(request));
        member.mailbox.end(Err(end));
    }
}

/// Answers that go to several mailboxes.
struct Shared<'a> {
    members: &'a [Member],
    savings: &'a Savings,
    /// Whether one was finished, for whom the prompt was worked on.
    paid: AtomicBool,
}

impl<'a> Shared<'a> {
    fn new(members: &'a [Member], savings: &'a Savings) -> Self {
        Self {
            members,
            savings,
            paid: AtomicBool::new(false),
        }
    }
}

impl Answers for Shared<'_> {
    fn placed(&self, placement: &Placement) {
        for member in self.members {
            member.mailbox.placed(placement);
        }
    }

    fn tokens(&self, choice: usize, count: u32, text: &str) {
        if let Some(member) = self.members.get(choice) {
            member.mailbox.tokens(count, text);
        }
    }

    fn finished(&self, choice: usize, generation: Generation) {
        let Some(member) = self.members.get(choice) else {
            return;
        };
        let Savings {
            requests,
            prompt_tokens,
        } = self.savings;
        if self.paid.swap(true, Ordering::Relaxed) {
            let saved = u64::from(generation.usage.prompt_tokens);
            prompt_tokens.fetch_add(saved, Ordering::Relaxed);
        } else {
            // Not before: a server that gives no several answers saves nothing.
            let saved = self.members.len() - 1;
            requests.fetch_add(saved as u64, Ordering::Relaxed);
        }
        member.mailbox.end(Ok(generation));
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

fn address(wave: &Arc<Wave>) -> usize {
    Arc::as_ptr(wave) as usize
}

/// The same error for another one who waits.
fn again(error: &Error) -> Error {
    match error {
        Error::UnknownModel {
            model,
            endpoint,
            message,
        } => Error::UnknownModel {
            model: model.clone(),
            endpoint: endpoint.clone(),
            message: message.clone(),
        },
        Error::Rejected {
            endpoint,
            status,
            message,
        } => Error::Rejected {
            endpoint: endpoint.clone(),
            status: *status,
            message: message.clone(),
        },
        Error::NotAllowed { endpoint, reason } => Error::NotAllowed {
            endpoint: endpoint.clone(),
            reason: reason.clone(),
        },
        Error::NoServer {
            model,
            reason,
            retry_after,
        } => Error::NoServer {
            model: model.clone(),
            reason: reason.clone(),
            retry_after: *retry_after,
        },
        Error::Overloaded {
            endpoint,
            status,
            retry_after,
        } => Error::Overloaded {
            endpoint: endpoint.clone(),
            status: *status,
            retry_after: *retry_after,
        },
        Error::Unavailable {
            endpoint,
            retry_after,
            source,
        } => Error::Unavailable {
            endpoint: endpoint.clone(),
            retry_after: *retry_after,
            source: Chain(&**source).to_string().into(),
        },
        Error::Stalled { endpoint, silence } => Error::Stalled {
            endpoint: endpoint.clone(),
            silence: *silence,
        },
        Error::Protocol { endpoint, reason } => Error::Protocol {
            endpoint: endpoint.clone(),
            reason: reason.clone(),
        },
        Error::Interrupted { endpoint, source } => Error::Interrupted {
            endpoint: endpoint.clone(),
            source: source
                .as_ref()
                .map(|source| Chain(&**source).to_string().into()),
        },
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
