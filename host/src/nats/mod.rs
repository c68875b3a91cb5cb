//! Events on NATS JetStream.
//!
//! The connection is made, and made again, in the background: a host starts without NATS, and NATS may
//! come and go. An event counts as published when a stream has acknowledged it; one whose subject no
//! stream covers, and none may be made for, goes out as a plain message.

mod settings;
mod status;
mod streams;

use std::sync::Arc;
use std::time::Duration;

pub use self::settings::{Credentials, Secret, Settings};
use self::status::Shared;
use self::streams::{Coverage, Streams};
use async_nats::connection::State;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, ConnectOptions, HeaderMap};
use async_trait::async_trait;
use conclave_core::events::{Error, Event, Events, Source};

/// Why NATS cannot be used with these settings, whatever the server does.
#[derive(Debug, thiserror::Error)]
#[error("NATS cannot be used with these settings")]
pub struct InvalidSettings(#[source] Source);

/// Publishes to NATS.
#[derive(Debug)]
pub struct Nats {
    client: Client,
    jetstream: jetstream::Context,
    streams: Streams,
    settings: Settings,
    shared: Arc<Shared>,
}

/// How often an event that waits for a connection looks for one.
const LOOK: Duration = Duration::from_millis(50);

impl Nats {
    /// Begins to connect, and does not wait for it.
    ///
    /// # Errors
    /// When credentials or certificates cannot be used.
    pub async fn start(settings: Settings) -> Result<Self, InvalidSettings> {
        // Another part of the host may have chosen it already, which is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let shared = Arc::new(Shared::default());
        let options = settings.options().map_err(InvalidSettings)?;
        let told = Arc::clone(&shared);
        let options = options.event_callback(move |event| {
            told.note(&event);
            std::future::ready(())
        });
        let client = connect(options, &settings).await?;
        let jetstream = jetstream::ContextBuilder::new()
            .timeout(settings.ack_timeout)
            .build(client.clone());
        Ok(Self {
            streams: Streams::new(&settings),
            client,
            jetstream,
            settings,
            shared,
        })
    }

    /// How long a connection is waited for.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        self.settings.connect_timeout
    }

    /// How long a server may take to acknowledge.
    #[must_use]
    pub fn ack_timeout(&self) -> Duration {
        self.settings.ack_timeout
    }

    /// The connection, for other parts of the host.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// How many events went out whose subjects no stream covers: who did not listen has lost them.
    #[must_use]
    pub fn published_uncovered(&self) -> u64 {
        self.shared.published_uncovered()
    }

    /// What an operator should know, a sentence each; nothing while all is well.
    #[must_use]
    pub fn impairments(&self) -> Vec<String> {
        let mut told = Vec::new();
        if !self.is_connected() {
            told.push("no NATS server is connected: events wait in the journal".to_owned());
        }
        let uncovered = self.shared.uncovered();
        told.extend(uncovered.into_iter().map(|subject| {
            format!("no stream keeps `{subject}`: who does not listen loses its events")
        }));
        told
    }

    /// Whether a server is connected now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Waits for a connection, for a while: an event that finds none is tried again by the outbox, and
    /// one that waits here goes out as soon as there is one.
    async fn connected(&self) -> Result<(), Error> {
        let connected = async {
            while !self.is_connected() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let waited = tokio::time::timeout(self.settings.connect_timeout, connected).await;
        waited.map_err(|_| Error::Unavailable("no NATS server is connected".into()))
    }

    async fn try_publish(&self, event: &Event) -> Result<(), Error> {
        self.connected().await?;
        let coverage = self.streams.coverage(&self.jetstream, &event.subject);
        match coverage.await? {
            Coverage::Stream => self.publish_to_stream(event).await,
            Coverage::None { reason } => {
                self.publish_plain(event).await?;
                self.shared.note_uncovered(&event.subject, reason);
                Ok(())
            }
        }
    }

    async fn publish_to_stream(&self, event: &Event) -> Result<(), Error> {
        let message = PublishMessage::build()
            .headers(headers(event))
            .payload(event.body.clone().into());
        let published = async {
            let subject = event.subject.clone();
            let acknowledged = self.jetstream.send_publish(subject, message).await?;
            acknowledged.await
        };
        let Err(error) = published.await else {
            self.shared.note_covered(&event.subject);
            return Ok(());
        };
        match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => Err(refused(event, error)),
            PublishErrorKind::Other if is_too_large(&error) => Err(refused(event, error)),
            kind => {
                // The stream is gone, or the server is another one. Where somebody listens to the subject
                // without a stream, all that tells is that nothing is acknowledged.
                if matches!(
                    kind,
                    PublishErrorKind::StreamNotFound | PublishErrorKind::TimedOut
                ) {
                    self.streams.forget(&event.subject).await;
                }
                Err(unavailable(error))
            }
        }
    }

    /// Sends the event without a stream that would acknowledge it: the server has it when it answers
    /// the flush.
    async fn publish_plain(&self, event: &Event) -> Result<(), Error> {
        let sent = async {
            let (subject, body) = (event.subject.clone(), event.body.clone());
            let sent = self
                .client
                .publish_with_headers(subject, headers(event), body.into());
            sent.await.map_err(|error| match error.kind() {
                async_nats::PublishErrorKind::MaxPayloadExceeded => refused(event, error),
                _ => unavailable(error),
            })?;
            self.client.flush().await.map_err(unavailable)
        };
        let sent = tokio::time::timeout(self.settings.ack_timeout, sent).await;
        sent.map_err(unavailable)?
    }
}

async fn connect(options: ConnectOptions, settings: &Settings) -> Result<Client, InvalidSettings> {
    let connected = options.connect(settings.servers.clone()).await;
    connected.map_err(|error| InvalidSettings(error.into()))
}

#[async_trait]
impl Events for Nats {
    async fn publish(&self, event: &Event) -> Result<(), Error> {
        self.try_publish(event).await
    }
}

fn headers(event: &Event) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_MESSAGE_ID, event.key.to_string());
    for (name, value) in event.headers() {
        headers.insert(name, value);
    }
    headers
}

/// Whether the stream itself takes no message of this size.
fn is_too_large(error: &jetstream::context::PublishError) -> bool {
    let source = std::error::Error::source(error);
    let source = source.and_then(|source| source.downcast_ref::<jetstream::Error>());
    source.is_some_and(|error| error.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM)
}

fn unavailable(error: impl Into<Source>) -> Error {
    Error::Unavailable(error.into())
}

fn refused(event: &Event, error: impl Into<Source>) -> Error {
    Error::Refused {
        subject: event.subject.clone(),
        source: error.into(),
    }
}
