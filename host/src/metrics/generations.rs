//! Generations as they run, by model: every attempt that is sent, whatever becomes of it.

use std::sync::Arc;

use async_trait::async_trait;
use conclave_core::generation::Generation;
use conclave_core::inference::{Error, Inference, Progress, Request};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::buckets;
use super::names::Names;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    model: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    model: String,
    kind: &'static str,
}

/// Measures generations.
#[derive(Debug)]
pub struct Generations {
    in_flight: Gauge,
    attempts: Family<AttemptLabels, Counter>,
    models: Names<Model>,
    /// The name that dashboards of the service before read.
    latency_ms: Histogram,
}

/// The series of one model.
#[derive(Debug)]
struct Model {
    name: String,
    completed: Counter,
    latency: Histogram,
    prompt_tokens: Counter,
    completion_tokens: Counter,
    wasted_tokens: Counter,
}

impl Generations {
    pub(super) fn register(registry: &mut Registry) -> Arc<Self> {
        let in_flight = Gauge::default();
        let attempts = Family::<AttemptLabels, Counter>::default();
        let tokens = Family::<TokenLabels, Counter>::default();
        let latency =
            Family::<ModelLabels, Histogram, fn() -> Histogram>::new_with_constructor(|| {
                Histogram::new(buckets::GENERATION)
            });
        let latency_ms = Histogram::new(buckets::milliseconds(&buckets::GENERATION));
        registry.register(
            "conclave_generations_in_flight",
            "Generations that a model server works on",
            in_flight.clone(),
        );
        registry.register(
            "conclave_generation_attempts",
            "Attempts at generations that ended, by model and result",
            attempts.clone(),
        );
        registry.register(
            "conclave_generation_latency_seconds",
            "Time from sending a generation to its last token, of those that completed",
            latency.clone(),
        );
        registry.register(
            "conclave_tokens",
            "Tokens by model: of prompts and completions as the server counted them, and those received of attempts that came to nothing",
            tokens.clone(),
        );
        registry.register(
            "ray_executor_llm_generation_latency_ms",
            "Time from sending a generation to its last token in milliseconds, under the name of the service before",
            latency_ms.clone(),
        );
        let completed = attempts.clone();
        let models = Names::new(move |name| {
            let model = || name.to_owned();
            let tokens = |kind| {
                let model = model();
                tokens.get_or_create_owned(&TokenLabels { model, kind })
            };
            Model {
                name: model(),
                completed: completed.get_or_create_owned(&AttemptLabels {
                    model: model(),
                    result: "completed",
                }),
                latency: latency.get_or_create_owned(&ModelLabels { model: model() }),
                prompt_tokens: tokens("prompt"),
                completion_tokens: tokens("completion"),
                wasted_tokens: tokens("wasted"),
            }
        });
        Arc::new(Self {
            in_flight,
            attempts,
            models,
            latency_ms,
        })
    }

    fn begin<'a>(&'a self, request: &Request, progress: &'a Progress) -> Attempt<'a> {
        self.in_flight.inc();
        Attempt {
            generations: self,
            model: self.models.get(request.model.as_str()),
            progress,
            tokens_before: progress.tokens(),
            // What stands when the session drops it.
            result: "aborted",
        }
    }
}

/// An attempt that is under way; dropping it counts it.
struct Attempt<'a> {
    generations: &'a Generations,
    model: Arc<Model>,
    progress: &'a Progress,
    /// The progress is that of all attempts at a generation.
    tokens_before: u32,
    result: &'static str,
}

impl Attempt<'_> {
    fn end(mut self, result: &Result<Generation, Error>) {
        match result {
            Ok(generation) => {
                self.result = "completed";
                let latency_ms = f64::from(generation.latency_ms);
                self.model.latency.observe(latency_ms / 1_000.0);
                self.generations.latency_ms.observe(latency_ms);
                let usage = generation.usage;
                let model = &self.model;
                model.prompt_tokens.inc_by(usage.prompt_tokens.into());
                model
                    .completion_tokens
                    .inc_by(usage.completion_tokens.into());
            }
            Err(error) => self.result = error.kind(),
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.generations.in_flight.dec();
        if self.result == "completed" {
            self.model.completed.inc();
            return;
        }
        let wasted = self.progress.tokens().saturating_sub(self.tokens_before);
        self.model.wasted_tokens.inc_by(wasted.into());
        let labels = AttemptLabels {
            model: self.model.name.clone(),
            result: self.result,
        };
        self.generations.attempts.get_or_create(&labels).inc();
    }
}

/// An adapter whose generations are measured.
pub struct MeteredInference<I> {
    inner: I,
    generations: Arc<Generations>,
}

impl<I: Inference> MeteredInference<I> {
    /// Measures what `inner` runs.
    pub fn new(inner: I, generations: Arc<Generations>) -> Self {
        Self { inner, generations }
    }
}

impl<I> std::fmt::Debug for MeteredInference<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeteredInference").finish_non_exhaustive()
    }
}

#[async_trait]
impl<I: Inference> Inference for MeteredInference<I> {
    async fn generate(&self, request: &Request, progress: &Progress) -> Result<Generation, Error> {
        let attempt = self.generations.begin(request, progress);
        let result = self.inner.generate(request, progress).await;
        attempt.end(&result);
        result
    }
}
