//! What every adapter of [`Inference`] keeps, checked against a server.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout};

use crate::endpoint::Endpoint;
use crate::execution::Execution;
use crate::generation::{Message, MessageRole, Sampling};
use crate::ids::{DeliberationId, JobId, ModelName};
use crate::inference::{AttemptId, Error, Inference, Progress, Request};
use crate::slots::Rank;
use crate::wave::Wave;

/// How long one step of the contract may take; a real model on a slow machine fits in it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server that an adapter is checked against.
pub struct Server<'a> {
    /// A healthy server that the adapter may call.
    pub endpoint: Endpoint,
    /// A model there that answers within `PATIENCE`.
    pub model: ModelName,
    /// A model there that generates for longer than a few seconds when nobody stops it.
    pub endless: ModelName,
    /// An endpoint that the adapter may call and where nobody listens.
    pub dead: Endpoint,
    /// How many generations the server runs at this moment.
    pub running: &'a (dyn Fn() -> BoxFuture<'a, usize> + Sync),
}

impl std::fmt::Debug for Server<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// A short request of a deliberation named `deliberation-contract`.
#[must_use]
pub fn request(endpoint: &Endpoint, model: &ModelName, attempt: u32) -> Request {
    Request {
        id: AttemptId {
            deliberation: DeliberationId::new("deliberation-contract"),
            job: JobId(1),
            attempt,
        },
        retries: attempt.saturating_sub(1),
        wave: Wave::of_one(),
        execution: Execution::Direct,
        endpoint: Some(endpoint.clone()),
        model: model.clone(),
        messages: Arc::new([Message {
            role: MessageRole::User,
            content: "Say hello.".to_owned(),
        }]),
        sampling: Sampling {
            temperature: Some(0.7),
            tokens_max: Some(16),
            seed: Some(7),
            ..Sampling::default()
        },
        timeout: PATIENCE,
        rank: Rank::default(),
        traceparent: None,
        tracestate: None,
    }
}

/// Where a request goes; a made-up address for one that the host itself would serve.
#[must_use]
pub fn endpoint_of(request: &Request) -> Endpoint {
    let made_up = || Endpoint::parse("http://scripted").expect("it is a URL");
    request.endpoint.clone().unwrap_or_else(made_up)
}

/// Checks all of the contract.
///
/// # Panics
/// When the adapter breaks it.
pub async fn check(inference: &dyn Inference, server: &Server<'_>) {
    an_answer_is_streamed_and_counted(inference, server).await;
    an_unknown_model_is_named_or_served(inference, server).await;
    a_dead_server_is_unavailable_and_worth_a_retry(inference, server).await;
    a_dropped_generation_is_aborted(inference, server).await;
}

async fn an_answer_is_streamed_and_counted(inference: &dyn Inference, server: &Server<'_>) {
    let seen = Arc::new(Mutex::new(String::new()));
    let progress = Progress::new({
        let seen = Arc::clone(&seen);
        move |text| {
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_str(text);
        }
    });
    let request = request(&server.endpoint, &server.model, 1);
    let answer = within("an answer", inference.generate(&request, &progress))
        .await
        .expect("a healthy server answers");
    assert!(!answer.text.is_empty(), "an answer has text: {answer:?}");
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert_eq!(seen, answer.text, "the tokens in their order are the text");
    assert!(progress.tokens() > 0, "tokens are reported");
    let usage = answer.usage;
    assert!(usage.completion_tokens > 0, "usage is counted: {usage:?}");
    assert!(usage.cached_tokens <= usage.prompt_tokens, "{usage:?}");
    assert!(
        answer.logprobs.is_empty(),
        "no log-probabilities unless asked for: {answer:?}"
    );
}

async fn an_unknown_model_is_named_or_served(inference: &dyn Inference, server: &Server<'_>) {
    let unknown = ModelName::new("unknown-model");
    let request = request(&server.endpoint, &unknown, 2);
    let answer = within(
        "an answer",
        inference.generate(&request, &Progress::silent()),
    )
    .await;
    match answer {
        // Some servers ignore the name and serve what they have.
        Ok(answer) => assert!(
            !answer.text.is_empty(),
            "a served answer has text: {answer:?}"
        ),
        Err(Error::UnknownModel { model, .. }) => assert_eq!(model, unknown),
        Err(other) => unreachable!("an unknown model is `UnknownModel` or served: {other:?}"),
    }
}

async fn a_dead_server_is_unavailable_and_worth_a_retry(
    inference: &dyn Inference,
    server: &Server<'_>,
) {
    let request = request(&server.dead, &server.model, 3);
    let error = within(
        "a refusal",
        inference.generate(&request, &Progress::silent()),
    )
    .await
    .expect_err("nobody listens there");
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(error.is_retryable(), "{error:?}");
    assert!(
        std::error::Error::source(&error).is_some(),
        "it says why: {error:?}"
    );
}

async fn a_dropped_generation_is_aborted(inference: &dyn Inference, server: &Server<'_>) {
    let mut request = request(&server.endpoint, &server.endless, 4);
    request.sampling.tokens_max = Some(100_000);
    request.messages = Arc::new([Message {
        role: MessageRole::User,
        content: "Count from one to a million, in words.".to_owned(),
    }]);
    let progress = Progress::silent();
    let generation = inference.generate(&request, &progress);
    tokio::select! {
        ended = generation => unreachable!("the generation should run: {ended:?}"),
        () = until(server, |running| running > 0) => (),
    }
    until(server, |running| running == 0).await;
}

/// Waits until the number of running generations satisfies the condition.
async fn until(server: &Server<'_>, condition: impl Fn(usize) -> bool) {
    let started = Instant::now();
    while !condition((server.running)().await) {
        assert!(started.elapsed() < PATIENCE, "the server never got there");
        // A real server tells nobody when it changes: it can only be asked again.
        sleep(Duration::from_millis(10)).await;
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => unreachable!("{what} takes less than {} s", PATIENCE.as_secs()),
    }
}
