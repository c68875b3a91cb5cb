//! The imports of contract 0.1: each lands in the session. The rules are there, not here.

use conclave_core::generation::Failure;
use conclave_core::ids::JobId;
use conclave_core::session::{Event, SetId, Stopped};
use tracing::Level;
use wasmtime::component::Resource;

use super::bindings::strategy::conclave::deliberation::inference::{self, Completion};
use super::bindings::strategy::conclave::deliberation::types as wit;
use super::bindings::strategy::conclave::deliberation::{context, progress, scoring};
use super::convert;
use crate::wasm::calls::Detail;
use crate::wasm::instance::{State, StoppedBySession};

/// A guest's handle of a generation.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings export it again")]
pub struct Job(JobId);

/// A guest's handle of a set of them.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings export it again")]
pub struct JobSet(SetId);

fn stopped(Stopped: Stopped) -> wasmtime::Error {
    StoppedBySession.into()
}

impl State {
    fn job(&self, job: &Resource<Job>) -> wasmtime::Result<JobId> {
        Ok(self.table.get(job)?.0)
    }

    fn set(&self, set: &Resource<JobSet>) -> wasmtime::Result<SetId> {
        Ok(self.table.get(set)?.0)
    }
}

impl wit::Host for State {}

impl inference::Host for State {
    fn submit(
        &mut self,
        request: wit::GenerationRequest,
    ) -> wasmtime::Result<Result<Resource<Job>, wit::Failure>> {
        let request = convert::generation_request(request);
        let (agent, phase, round) = (request.agent.clone(), request.phase.clone(), request.round);
        let submitted = self
            .guest("inference.submit")?
            .submit(request)
            .map_err(stopped)?;
        let job = submitted.as_ref().ok().map(|job| job.0);
        let detail = Detail::submit(agent.as_str(), &phase, round, job);
        self.note("inference.submit", detail);
        match submitted {
            Ok(job) => Ok(Ok(self.table.push(Job(job))?)),
            Err(failure) => Ok(Err(convert::failure(failure))),
        }
    }
}

impl inference::HostJob for State {
    fn id(&mut self, job: Resource<Job>) -> wasmtime::Result<u32> {
        Ok(convert::integer(self.job(&job)?.0))
    }

    async fn wait(
        &mut self,
        job: Resource<Job>,
    ) -> wasmtime::Result<Result<wit::Generation, wit::Failure>> {
        let job = self.job(&job)?;
        self.note("job.wait", Detail::Number("job", job.0));
        let result = self.guest("job.wait")?.wait(job).await.map_err(stopped)?;
        Ok(result.map(convert::generation).map_err(convert::failure))
    }

    fn cancel(&mut self, job: Resource<Job>) -> wasmtime::Result<()> {
        let job = self.job(&job)?;
        self.note("job.cancel", Detail::Number("job", job.0));
        self.guest("job.cancel")?.cancel(job).map_err(stopped)
    }

    fn drop(&mut self, job: Resource<Job>) -> wasmtime::Result<()> {
        self.table.delete(job)?;
        Ok(())
    }
}

impl inference::HostJobSet for State {
    fn new(&mut self) -> wasmtime::Result<Resource<JobSet>> {
        let set = self.guest("inference.job-set")?.job_set();
        Ok(self.table.push(JobSet(set))?)
    }

    fn add(&mut self, set: Resource<JobSet>, job: Resource<Job>) -> wasmtime::Result<u32> {
        let set = self.set(&set)?;
        let Job(job) = self.table.delete(job)?;
        self.note("job-set.add", Detail::Number("job", job.0));
        Ok(convert::integer(self.guest("job-set.add")?.add(set, job)))
    }

    async fn next(
        &mut self,
        set: Resource<JobSet>,
        timeout_ms: Option<u32>,
    ) -> wasmtime::Result<inference::Event> {
        let set = self.set(&set)?;
        let detail = timeout_ms.map_or(Detail::Nothing, |ms| Detail::Number("timeout-ms", ms));
        self.note("job-set.next", detail);
        let guest = self.guest("job-set.next")?;
        let event = guest.next(set, timeout_ms).await.map_err(stopped)?;
        Ok(match event {
            Event::Completed {
                index,
                job,
                outcome,
            } => inference::Event::Completed(Completion {
                index: convert::integer(index),
                job_id: convert::integer(job.0),
                outcome: outcome.map(convert::generation).map_err(convert::failure),
            }),
            Event::TimedOut => inference::Event::TimedOut,
            Event::Empty => inference::Event::Empty,
        })
    }

    fn cancel(&mut self, set: Resource<JobSet>, index: u32) -> wasmtime::Result<()> {
        let set = self.set(&set)?;
        self.note("job-set.cancel", Detail::Number("index", index));
        self.guest("job-set.cancel")?
            .cancel_in(set, index)
            .map_err(stopped)
    }

    fn cancel_rest(&mut self, set: Resource<JobSet>) -> wasmtime::Result<u32> {
        let set = self.set(&set)?;
        self.note("job-set.cancel-rest", Detail::Nothing);
        let cancelled = self.guest("job-set.cancel-rest")?.cancel_rest(set);
        Ok(convert::integer(cancelled.map_err(stopped)?))
    }

    fn drop(&mut self, set: Resource<JobSet>) -> wasmtime::Result<()> {
        let JobSet(set) = self.table.delete(set)?;
        self.guest("job-set.drop")?.drop_set(set);
        Ok(())
    }
}

impl scoring::Host for State {
    async fn evaluate(
        &mut self,
        candidates: Vec<wit::Candidate>,
    ) -> wasmtime::Result<Result<Vec<wit::Score>, wit::Failure>> {
        let candidates: Vec<_> = candidates.into_iter().map(convert::candidate).collect();
        let count = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
        self.note("scoring.evaluate", Detail::Number("candidates", count));
        let guest = self.guest("scoring.evaluate")?;
        // The scorer's own meter counts what it takes.
        let scores = self.meter().exclude(guest.score(candidates)).await;
        let scores: Result<Vec<_>, Failure> = scores.map_err(stopped)?;
        Ok(scores
            .map(|scores| scores.into_iter().map(convert::score_to_guest).collect())
            .map_err(convert::failure))
    }
}

impl context::Host for State {
    fn remaining(&mut self) -> wasmtime::Result<wit::Budget> {
        self.note("context.remaining", Detail::Nothing);
        let remaining = self.guest("context.remaining")?.remaining();
        Ok(convert::budget(remaining.map_err(stopped)?))
    }

    fn elapsed_ms(&mut self) -> wasmtime::Result<u32> {
        self.note("context.elapsed-ms", Detail::Nothing);
        Ok(convert::milliseconds(
            self.guest("context.elapsed-ms")?.elapsed_ms(),
        ))
    }

    fn random_u32(&mut self) -> wasmtime::Result<u32> {
        self.note("context.random-u32", Detail::Nothing);
        Ok(convert::integer(
            self.guest("context.random-u32")?.random_u32(),
        ))
    }
}

impl progress::Host for State {
    fn emit(&mut self, kind: String, payload: String) -> wasmtime::Result<()> {
        self.note("progress.emit", Detail::word("kind", &kind));
        let guest = self.guest("progress.emit")?;
        guest.emit(kind, payload).map_err(stopped)
    }

    fn log(&mut self, level: progress::Level, message: String) -> wasmtime::Result<()> {
        self.note("progress.log", Detail::Nothing);
        self.guest("progress.log")?;
        let level = match level {
            progress::Level::Trace => Level::TRACE,
            progress::Level::Debug => Level::DEBUG,
            progress::Level::Info => Level::INFO,
            progress::Level::Warn => Level::WARN,
            progress::Level::Error => Level::ERROR,
        };
        self.log.write(level, &message);
        Ok(())
    }
}
