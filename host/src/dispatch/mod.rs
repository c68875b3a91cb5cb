//! Brings each generation to an engine: it chooses the server, the path there and who goes together.
//!
//! Generations of one wave that ask for the same and differ only in their seed become one request for
//! several answers, where the engine can do that. A server that cannot be reached is
//! replaced by another one at once, before the session learns of it: only what no server could take
//! counts as a failed attempt.

mod again;
mod courier;
mod gather;
mod member;
mod shared;
mod waves;

use std::sync::Arc;

use async_trait::async_trait;
use conclave_core::execution::Execution;
use conclave_core::generation::Generation;
use conclave_core::inference::{Error, Inference, Progress, Request};
use conclave_core::tasks::Tasks;

use self::courier::Courier;
use self::gather::Gathering;
pub use self::shared::Savings;
use self::waves::Waves;
use crate::errand::OnlyAnswer;

pub use self::courier::Paths;
pub use self::waves::{OWNER, RUN, WaveCluster, WaveClusters, this_run};

/// Runs generations wherever they belong.
#[derive(Debug)]
pub struct Dispatcher {
    courier: Arc<Courier>,
    gathering: Gathering,
    waves: Waves,
}

impl Dispatcher {
    /// Sends generations on these paths.
    #[must_use]
    pub fn new(paths: Paths, clusters: WaveClusters, tasks: &Tasks) -> Self {
        let courier = Arc::new(Courier::new(paths));
        Self {
            gathering: Gathering::new(Arc::clone(&courier), tasks.clone()),
            waves: Waves::new(Arc::clone(&courier), clusters, tasks.clone()),
            courier,
        }
    }

    async fn alone(&self, request: &Request, progress: &Progress) -> Result<Generation, Error> {
        // Those who go together need not wait for it.
        request.wave.arrive(request.id.job);
        let answer = OnlyAnswer::new(progress);
        self.courier.deliver(request, 1, &answer).await?;
        answer.take().ok_or_else(|| courier::unanswered(request))
    }

    /// What asking for several answers at once has saved.
    #[must_use]
    pub fn savings(&self) -> Arc<Savings> {
        self.gathering.savings()
    }
}

#[async_trait]
impl Inference for Dispatcher {
    async fn generate(&self, request: &Request, progress: &Progress) -> Result<Generation, Error> {
        if !self.courier.has(request.execution) {
            // It was accepted when the settings had that way: what was accepted is not lost with that.
            let direct = Request {
                execution: Execution::Direct,
                ..request.clone()
            };
            return self.alone(&direct, progress).await;
        }
        if request.execution == Execution::Job {
            return self.waves.generate(request, progress).await;
        }
        // Work in a queue outlives the host, and is found again by the generation that it is of: each is
        // work of its own there.
        let together = request.execution == Execution::Direct
            && self.courier.choices_max(request) > 1
            && gather::may_have_company(request).await;
        if together {
            return self.gathering.generate(request, progress).await;
        }
        self.alone(request, progress).await
    }
}
