//! What the streams of a cluster are asked and told.

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{DirectGetErrorKind, LastRawMessageErrorKind};
use async_nats::jetstream::{self, Context, ErrorCode};
use bytes::Bytes;
use serde_json::{Value, json};

use super::names::{Names, id_of, queue_of};
use super::settings::Queue;

/// What lies behind a failure.
type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why work was not queued.
#[derive(Debug)]
pub(super) enum NotQueued {
    /// Work of this id is queued or running.
    IsThere,
    /// The queue is full.
    Full,
    /// NATS takes no message of this size.
    TooLarge,
    /// There is no stream for it.
    NoStream,
    /// NATS did not take it; perhaps it did, and its answer was lost.
    Failed(Source),
}

/// Queued work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) queue: Queue,
    pub(super) sequence: u64,
}

/// The streams of one cluster.
#[derive(Debug)]
pub(super) struct Store {
    jetstream: Context,
}

impl Store {
    pub(super) fn new(jetstream: Context) -> Self {
        Self { jetstream }
    }

    pub(super) fn jetstream(&self) -> &Context {
        &self.jetstream
    }

    /// Queues work unless it is there; its place in the stream.
    pub(super) async fn publish(&self, subject: String, work: Bytes) -> Result<u64, NotQueued> {
        let message = PublishMessage::build()
            .payload(work)
            .expected_last_subject_sequence(0);
        let published = async {
            let sent = self.jetstream.send_publish(subject, message).await?;
            sent.await
        };
        let ack = published.await.map_err(not_queued)?;
        Ok(ack.sequence)
    }

    /// The result of this work, if it has ended within the last hour.
    pub(super) async fn result(&self, names: &Names, id: &str) -> Result<Option<Bytes>, Source> {
        let stream = names.results_stream();
        let stream = self.jetstream.get_stream_no_info(stream).await?;
        match stream.direct_get_last_for_subject(names.result(id)).await {
            Ok(message) => Ok(Some(message.payload)),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Where work of this id is queued or running.
    pub(super) async fn queued(&self, names: &Names, id: &str) -> Result<Option<Queued>, Source> {
        let stream = names.work_stream();
        let stream = self.jetstream.get_stream_no_info(stream).await?;
        let subject = names.work_anywhere(id);
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(queue_of(&message.subject).map(|queue| Queued {
                queue,
                sequence: message.sequence,
            })),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// All work of this host that is queued or running.
    pub(super) async fn own(&self, names: &Names) -> Result<Vec<(Queue, String)>, Source> {
        let stream = names.work_stream();
        let mut own = Vec::new();
        let mut offset = 0;
        loop {
            let asked = json!({ "subjects_filter": names.own_work(), "offset": offset });
            let info: Value = self
                .jetstream
                .request(format!("STREAM.INFO.{stream}"), &asked)
                .await?;
            if let Some(error) = info.get("error") {
                return Err(error.to_string().into());
            }
            let subjects = info.pointer("/state/subjects").and_then(Value::as_object);
            let Some(subjects) = subjects.filter(|subjects| !subjects.is_empty()) else {
                return Ok(own);
            };
            offset += subjects.len();
            own.extend(subjects.keys().filter_map(|subject| {
                let id = id_of(subject)?;
                Some((queue_of(subject)?, id.to_owned()))
            }));
        }
    }

    /// Removes what a subject holds, up to this place in the stream.
    pub(super) async fn remove(
        &self,
        stream: &str,
        subject: &str,
        up_to: Option<u64>,
    ) -> Result<(), Source> {
        let mut order = json!({ "filter": subject });
        if let Some(sequence) = up_to {
            order["seq"] = (sequence + 1).into();
        }
        let answer: Value = self
            .jetstream
            .request(format!("STREAM.PURGE.{stream}"), &order)
            .await?;
        match answer.get("error") {
            Some(error) => Err(error.to_string().into()),
            None => Ok(()),
        }
    }

    /// How much work is queued or running, of all hosts.
    pub(super) async fn depth(&self, names: &Names) -> Result<u64, Source> {
        let stream = names.work_stream();
        let info: Value = self
            .jetstream
            .request(format!("STREAM.INFO.{stream}"), &json!({}))
            .await?;
        let messages = info.pointer("/state/messages").and_then(Value::as_u64);
        messages.ok_or_else(|| format!("`{stream}` does not tell how much it holds").into())
    }
}

fn not_queued(error: PublishError) -> NotQueued {
    // Newer servers have a second code for it, which the client does not know.
    const WRONG_LAST: [ErrorCode; 2] = [
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE,
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT,
    ];
    let source = std::error::Error::source(&error);
    let source = source.and_then(|source| source.downcast_ref::<jetstream::Error>());
    match (error.kind(), source) {
        (PublishErrorKind::MaxPayloadExceeded, _) => NotQueued::TooLarge,
        (PublishErrorKind::StreamNotFound, _) => NotQueued::NoStream,
        (_, Some(source)) if WRONG_LAST.contains(&source.error_code()) => NotQueued::IsThere,
        (_, Some(source)) if source.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => {
            NotQueued::TooLarge
        }
        // The code says that nothing was stored, and the words why.
        (_, Some(source)) if source.to_string().contains("maximum messages exceeded") => {
            NotQueued::Full
        }
        _ => NotQueued::Failed(error.into()),
    }
}
