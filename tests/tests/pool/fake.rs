//! An executor that the test plays, by the words of `deploy/ray/PROTOCOL.md`.

use std::time::Duration;

use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::{self, AckKind, Context, Message};
use async_nats::{Client, Subscriber};
use conclave_tests::patience::within;
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::rig::CLUSTER;

pub(crate) const MODEL: &str = "http://model:8000";

/// Takes work of one queue.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) client: Client,
    pub(crate) jetstream: Context,
    consumer: PullConsumer,
    queue: String,
    pub(crate) cancels: Subscriber,
}

/// Work that was taken.
#[derive(Debug)]
pub(crate) struct Taken {
    jetstream: Context,
    message: Message,
    pub(crate) body: Value,
}

impl Fake {
    /// One for the queue `pool`, as soon as there is a stream.
    pub(crate) async fn new(url: &str) -> Self {
        Self::of(url, "pool").await
    }

    pub(crate) async fn of(url: &str, queue: &str) -> Self {
        let client = async_nats::connect(url).await.unwrap();
        let jetstream = jetstream::new(client.clone());
        let stream = async {
            loop {
                let stream = format!("CONCLAVE_WORK_{CLUSTER}");
                if let Ok(stream) = jetstream.get_stream(stream).await {
                    return stream;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let stream = within("the stream of work", stream).await.unwrap();
        let config = pull::Config {
            durable_name: Some(queue.to_owned()),
            filter_subject: format!("conclave.work.{CLUSTER}.{queue}.>"),
            ack_wait: Duration::from_secs(1),
            ..pull::Config::default()
        };
        let consumer = stream.get_or_create_consumer(queue, config).await.unwrap();
        let cancels = client.subscribe(format!("conclave.cancel.{CLUSTER}"));
        let cancels = cancels.await.unwrap();
        client.flush().await.unwrap();
        Self {
            client,
            jetstream,
            consumer,
            queue: queue.to_owned(),
            cancels,
        }
    }

    /// The next work.
    pub(crate) async fn take(&self) -> Taken {
        let taken = async {
            loop {
                let batch = self.consumer.fetch().max_messages(1);
                let batch = batch.expires(Duration::from_millis(500)).messages();
                let mut batch = batch.await.unwrap();
                if let Some(message) = batch.next().await {
                    return message.unwrap();
                }
            }
        };
        let message = within("work", taken).await.unwrap();
        Taken {
            jetstream: self.jetstream.clone(),
            body: serde_json::from_slice(&message.payload).unwrap(),
            message,
        }
    }

    /// How much work is in the stream.
    pub(crate) async fn depth(&self) -> u64 {
        let stream = format!("CONCLAVE_WORK_{CLUSTER}");
        let stream = self.jetstream.get_stream(stream).await.unwrap();
        stream.cached_info().state.messages
    }

    /// Waits until so much is in the stream.
    pub(crate) async fn until_depth(&self, depth: u64) {
        let reached = async {
            while self.depth().await != depth {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within("the depth of the queue", reached).await.unwrap();
    }

    /// A sign of life.
    pub(crate) async fn beat(&self, running: &[&str]) {
        let beat = json!({
            "v": 1, "queue": self.queue, "submission_id": "job", "actor": "actor", "node": "node",
            "node_ip": "127.0.0.1", "pid": 1, "slots": 4, "running": running, "done": 0,
            "version": "0.1.0",
        });
        let subject = format!("conclave.heartbeat.{CLUSTER}");
        let sent = self.client.publish(subject, beat.to_string().into());
        sent.await.unwrap();
        self.client.flush().await.unwrap();
    }

    /// What hosts say about work that was delivered again.
    pub(crate) async fn ask(&self, id: &str) -> Option<String> {
        let question = json!({ "v": 1, "id": id }).to_string().into();
        let subject = format!("conclave.ask.{CLUSTER}");
        let asked = self.client.request(subject, question);
        let answer = tokio::time::timeout(Duration::from_secs(1), asked).await;
        let answer: Value = serde_json::from_slice(&answer.ok()?.ok()?.payload).unwrap();
        Some(answer["verdict"].as_str().unwrap().to_owned())
    }

    /// The next ids that are cancelled.
    pub(crate) async fn cancelled(&mut self) -> Value {
        let cancel = within("a cancel", self.cancels.next()).await.unwrap();
        let mut cancel: Value = serde_json::from_slice(&cancel.unwrap().payload).unwrap();
        cancel["ids"].take()
    }
}

impl Taken {
    pub(crate) fn id(&self) -> &str {
        self.body["id"].as_str().unwrap()
    }

    /// `H.W`.
    fn key(&self) -> String {
        let parts: Vec<_> = self.message.subject.split('.').collect();
        format!("{}.{}", parts[4], parts[5])
    }

    pub(crate) async fn progress(&self, progress: Value) {
        let subject = format!("conclave.progress.{CLUSTER}.{}", self.key());
        let client = self.jetstream.client();
        let sent = client.publish(subject, progress.to_string().into());
        sent.await.unwrap();
    }

    pub(crate) async fn start(&self) {
        let place = json!({"submission_id": "job", "actor": "actor", "node": "node"});
        self.progress(json!({ "v": 1, "started": place })).await;
    }

    /// Publishes the result, with what all results have.
    pub(crate) async fn store(&self, outcome: Value) {
        let mut result = json!({
            "v": 1, "id": self.id(), "tokens": 3, "queued_ms": 20, "ran_ms": 300, "delivery": 1,
            "place": {"submission_id": "job", "actor": "actor", "node": "node"},
        });
        result
            .as_object_mut()
            .unwrap()
            .extend(outcome.as_object().unwrap().clone());
        let subject = format!("conclave.result.{CLUSTER}.{}", self.key());
        let stored = self.jetstream.publish(subject, result.to_string().into());
        stored.await.unwrap().await.unwrap();
    }

    /// Ends the work with a result.
    pub(crate) async fn end(self, outcome: Value) {
        self.store(outcome).await;
        self.ack().await;
    }

    pub(crate) async fn answer(self, text: &str) {
        self.end(answered(&[text])).await;
    }

    pub(crate) async fn ack(self) {
        self.message.double_ack_with(AckKind::Ack).await.unwrap();
    }
}

/// A result with these answers.
pub(crate) fn answered(texts: &[&str]) -> Value {
    let choice = |(index, text): (usize, &&str)| {
        json!({
            "index": index, "message": {"role": "assistant", "content": text},
            "finish_reason": "stop", "logprobs": null,
        })
    };
    let choices: Vec<_> = texts.iter().enumerate().map(choice).collect();
    let usage = json!({"prompt_tokens": 5, "completion_tokens": 4 * texts.len()});
    json!({
        "outcome": "answered",
        "answer": {"object": "chat.completion", "choices": choices, "usage": usage},
    })
}
