//! Reads what the streams of a NATS server keep.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, Context};
use conclave_tests::nats::NatsServer;
use conclave_tests::patience::within;
use futures::TryStreamExt as _;
use serde_json::Value;

/// One message of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Message {
    /// The header's value; empty when there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.as_str())
    }

    pub(crate) fn deliberation(&self) -> &str {
        self.header("ce-subject")
    }

    pub(crate) fn key(&self) -> &str {
        self.header("Nats-Msg-Id")
    }
}

/// All streams of a server.
#[derive(Debug)]
pub(crate) struct Mailbox(Context);

impl Mailbox {
    pub(crate) async fn open(nats: &NatsServer) -> Self {
        let client = async_nats::connect(nats.url()).await.unwrap();
        Self(jetstream::new(client))
    }

    pub(crate) fn jetstream(&self) -> &Context {
        &self.0
    }

    /// The names of the streams, sorted.
    pub(crate) async fn streams(&self) -> Vec<String> {
        let mut names: Vec<_> = self.0.stream_names().try_collect().await.unwrap();
        names.sort();
        names
    }

    /// Every message, in the order of its stream.
    pub(crate) async fn messages(&self) -> Vec<Message> {
        let mut messages = Vec::new();
        for name in self.streams().await {
            let stream = self.0.get_stream(&name).await.unwrap();
            let state = stream.get_info().await.unwrap().state;
            for sequence in state.first_sequence.max(1)..=state.last_sequence {
                let message = stream.get_raw_message(sequence).await.unwrap();
                messages.push(Message {
                    subject: message.subject.to_string(),
                    headers: message.headers,
                    body: serde_json::from_slice(&message.payload).unwrap(),
                });
            }
        }
        messages
    }

    /// Waits until the messages are what is waited for.
    pub(crate) async fn until(
        &self,
        what: &str,
        mut is: impl FnMut(&[Message]) -> bool,
    ) -> Vec<Message> {
        let found = async {
            loop {
                let messages = self.messages().await;
                if is(&messages) {
                    return messages;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        within(what, found).await.unwrap()
    }
}

/// The different subjects, sorted.
pub(crate) fn subjects(messages: &[Message]) -> Vec<&str> {
    let mut subjects: Vec<_> = messages
        .iter()
        .map(|message| message.subject.as_str())
        .collect();
    subjects.sort_unstable();
    subjects.dedup();
    subjects
}

/// The one message that fits.
pub(crate) fn one_of(messages: &[Message], fits: impl Fn(&Message) -> bool) -> &Message {
    let fitting: Vec<_> = messages.iter().filter(|message| fits(message)).collect();
    assert_eq!(fitting.len(), 1, "{messages:#?}");
    fitting[0]
}
