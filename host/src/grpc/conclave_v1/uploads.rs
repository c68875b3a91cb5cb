//! How components arrive: uploads and imports.

use std::sync::Arc;
use std::time::Duration;

use conclave_core::channel::{Arm, Refused, Share};
use conclave_core::ids::Digest;
use conclave_core::inspect::Inspected;
use conclave_core::plugin::{PluginChoice, Source};
use conclave_core::registry::{self, Arrival, By, Fetched, Published, Registry, Wish};
use futures::{Stream, StreamExt as _};
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use super::pb::rollout::Step;
use super::pb::upload_plugin_request::Part;
use super::plugins::{COLLECTION, plugin};
use super::request::reason;
use super::{ConclaveV1, pb};
use crate::grpc::call::Call;
use crate::grpc::status::Refusal;

/// Uploads that are received or checked at once: each is held in memory until it is on disk.
pub(super) const UPLOADS_MAX: usize = 4;

/// How long a client may be silent within its upload.
const IDLE: Duration = Duration::from_secs(30);

/// How long an upload may take: a place is not held for ever by a client that sends byte by byte.
const WHOLE: Duration = Duration::from_secs(600);

/// What a client sent.
#[derive(Debug)]
struct Received {
    metadata: pb::UploadMetadata,
    bytes: Vec<u8>,
}

/// What is done with a component once it is taken.
#[derive(Debug, Default)]
struct Rollout {
    then: Then,
    reason: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Then {
    #[default]
    Nothing,
    Promote,
    Canary(Share),
}

impl Rollout {
    fn parse(field: &str, wire: Option<pb::Rollout>) -> Result<Self, Refusal> {
        let Some(wire) = wire else {
            return Ok(Self::default());
        };
        let points = wire.share_basis_points;
        let field_of = |name: &str| format!("{field}.{name}");
        let then = match Step::try_from(wire.step) {
            Ok(Step::Canary) => Then::Canary(share(&field_of("share_basis_points"), points)?),
            Ok(Step::Unspecified) => Then::Nothing,
            Ok(Step::Promote) => Then::Promote,
            Err(_) => {
                let message = format!("{} is {}, which is no step", field_of("step"), wire.step);
                return Err(Refusal::field(&field_of("step"), message));
            }
        };
        if points != 0 && !matches!(then, Then::Canary(_)) {
            let field = field_of("share_basis_points");
            return Err(Refusal::field(
                &field,
                format!("{field} is {points}, but only a canary has a share"),
            ));
        }
        Ok(Self {
            then,
            reason: reason(wire.reason)?,
        })
    }
}

/// A share of deliberations, of a field.
pub(super) fn share(field: &str, basis_points: i32) -> Result<Share, Refusal> {
    let share = u16::try_from(basis_points).ok();
    let share = share.and_then(|points| Share::try_from(points).ok());
    share.ok_or_else(|| {
        let message = format!("{field} is {basis_points}, it must be 0 to 10000");
        Refusal::field(field, message)
    })
}

impl ConclaveV1 {
    pub(super) async fn upload(
        &self,
        call: &Call,
        stream: impl Stream<Item = Result<pb::UploadPluginRequest, Status>> + Send + Unpin,
    ) -> Result<pb::UploadPluginResponse, Refusal> {
        self.readiness.check()?;
        let place = self.arriving()?;
        let bytes_max = self.host.component_bytes_max;
        let received = tokio::time::timeout(WHOLE, receive(stream, bytes_max)).await;
        let received = received.map_err(|_| Refusal::Stalled(WHOLE))??;
        let Received { metadata, bytes } = received;
        call.concerns(&format!("{COLLECTION}{}", Digest::of(&bytes)));
        let rollout = Rollout::parse("metadata.rollout", metadata.rollout)?;
        let arrival = Arrival {
            bytes: bytes.into(),
            signature: (!metadata.signature.is_empty()).then_some(metadata.signature),
            source: Source::Upload,
            by: call.caller.name.clone(),
        };
        if metadata.validate_only {
            if rollout.then != Then::Nothing {
                let message = "metadata.rollout must be empty with metadata.validate_only";
                return Err(Refusal::field("metadata.rollout", message));
            }
            let registry = Arc::clone(&self.host.registry);
            let checking = async move {
                let _place = place;
                Ok(registry.check(arrival).await?)
            };
            let published = self.whole(checking).await?;
            return Ok(self.published(call, published).await);
        }
        self.take(call, arrival, rollout, place).await
    }

    /// A place for a component that arrives.
    fn arriving(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let place = Arc::clone(&self.uploads).try_acquire_owned();
        place.map_err(|_| Refusal::TooManyUploads(UPLOADS_MAX))
    }

    pub(super) async fn import(
        &self,
        call: &Call,
        request: pb::ImportPluginRequest,
    ) -> Result<pb::UploadPluginResponse, Refusal> {
        self.readiness.check()?;
        let place = self.arriving()?;
        let rollout = Rollout::parse("rollout", request.rollout)?;
        if request.reference.trim().is_empty() {
            return Err(Refusal::field("reference", "reference must be given"));
        }
        call.concerns(&request.reference.trim());
        let fetched = self.host.import.fetch(request.reference.trim()).await?;
        let Fetched {
            bytes,
            signature,
            reference,
        } = fetched;
        let arrival = Arrival {
            bytes,
            signature,
            source: Source::Oci(reference),
            by: call.caller.name.clone(),
        };
        self.take(call, arrival, rollout, place).await
    }

    /// Publishes a component, and does with it what was asked for.
    async fn take(
        &self,
        call: &Call,
        arrival: Arrival,
        rollout: Rollout,
        place: OwnedSemaphorePermit,
    ) -> Result<pb::UploadPluginResponse, Refusal> {
        let registry = Arc::clone(&self.host.registry);
        let taking = async move {
            let _place = place;
            take(&*registry, arrival, rollout).await
        };
        let published = self.whole(taking).await?;
        Ok(self.published(call, published).await)
    }

    async fn published(&self, call: &Call, published: Published) -> pb::UploadPluginResponse {
        let Published {
            listed,
            known,
            warnings,
            ..
        } = published;
        let digest = &listed.plugin.reference.digest;
        let found = self.host.plugins.get(digest).await;
        let one = Inspected {
            is_default: found.is_some_and(|one| one.is_default),
            listed,
        };
        let plugin = plugin(&one, &self.known(call).await);
        pb::UploadPluginResponse {
            already_known: known,
            serves: match plugin.channel() {
                pb::plugin::Channel::Stable => true,
                pb::plugin::Channel::Canary => plugin.share_basis_points > 0,
                pb::plugin::Channel::Unspecified => false,
            },
            warnings,
            plugin: Some(plugin),
        }
    }
}

async fn take(
    registry: &dyn Registry,
    arrival: Arrival,
    rollout: Rollout,
) -> Result<Published, Refusal> {
    let by = By {
        who: arrival.by.clone(),
        reason: rollout.reason,
        revision: None,
    };
    let mut published = registry.publish(arrival).await?;
    let plugin = &published.listed.plugin;
    let mut choice = PluginChoice::named(plugin.reference.name.clone());
    choice.digest = Some(plugin.reference.digest);
    let wish = match rollout.then {
        Then::Nothing => return Ok(published),
        Then::Promote => Wish::Promote(choice),
        Then::Canary(share) => Wish::Canary {
            choice,
            share,
            rules: Vec::new(),
        },
    };
    let wants_canary = matches!(wish, Wish::Canary { .. });
    let (kind, digest) = (plugin.kind, plugin.reference.digest);
    let before = registry
        .names()
        .await
        .into_iter()
        .find(|named| named.name.kind == kind && named.name.name == plugin.reference.name);
    let tried = before.and_then(|named| named.channels.canary);
    match registry.order(plugin.kind, wish, by).await {
        // It is what it shall become: the first of its name, or the same push, repeated.
        Err(registry::Error::Order {
            refused: Refused::Already(_, arm),
            ..
        }) => {
            if wants_canary && arm == Arm::Stable {
                let warning = "it is stable, so that no canary began";
                published.warnings.push(warning.to_owned());
            }
            Ok(published)
        }
        Err(error) => Err(error.into()),
        Ok(_) => {
            if let Some(ended) = tried.filter(|tried| tried.digest != digest) {
                let (ended, rules) = (ended.digest, ended.rules.len());
                published.warnings.push(format!(
                    "the trial of sha256:{} has ended, with its {rules} rules",
                    ended.short()
                ));
            }
            Ok(published)
        }
    }
}

/// Takes the parts of an upload, no more than fits into a component.
async fn receive(
    mut stream: impl Stream<Item = Result<pb::UploadPluginRequest, Status>> + Unpin,
    bytes_max: u64,
) -> Result<Received, Refusal> {
    let Some(Part::Metadata(metadata)) = next(&mut stream).await?.and_then(|one| one.part) else {
        let message = "metadata must be given in the first message";
        return Err(Refusal::field("metadata", message));
    };
    let Ok(announced) = u64::try_from(metadata.size_bytes) else {
        let size = metadata.size_bytes;
        let message = format!("metadata.size_bytes is {size}, it must not be negative");
        return Err(Refusal::field("metadata.size_bytes", message));
    };
    let too_large = || Refusal::ComponentTooLarge(bytes_max);
    if announced > bytes_max {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    while let Some(message) = next(&mut stream).await? {
        match message.part {
            Some(Part::Chunk(chunk)) => bytes.extend_from_slice(&chunk),
            Some(Part::Metadata(_)) => {
                let message = "metadata must stand in the first message only";
                return Err(Refusal::field("metadata", message));
            }
            None => return Err(Refusal::field("chunk", "chunk must be given")),
        }
        if bytes.len() as u64 > bytes_max {
            return Err(too_large());
        }
    }
    if bytes.is_empty() {
        return Err(Refusal::field("chunk", "chunk must be given"));
    }
    if announced != 0 && announced != bytes.len() as u64 {
        let message = format!(
            "metadata.size_bytes is {announced}, but {} bytes came",
            bytes.len()
        );
        return Err(Refusal::field("metadata.size_bytes", message));
    }
    Ok(Received { metadata, bytes })
}

async fn next(
    stream: &mut (impl Stream<Item = Result<pb::UploadPluginRequest, Status>> + Unpin),
) -> Result<Option<pb::UploadPluginRequest>, Refusal> {
    let message = tokio::time::timeout(IDLE, stream.next()).await;
    let message = message.map_err(|_| Refusal::Stalled(IDLE))?;
    message.transpose().map_err(Refusal::Broken)
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    fn part(part: Part) -> Result<pb::UploadPluginRequest, Status> {
        Ok(pb::UploadPluginRequest { part: Some(part) })
    }

    fn metadata(size_bytes: i64) -> Result<pb::UploadPluginRequest, Status> {
        part(Part::Metadata(pb::UploadMetadata {
            size_bytes,
            ..pb::UploadMetadata::default()
        }))
    }

    fn chunk(bytes: &[u8]) -> Result<pb::UploadPluginRequest, Status> {
        part(Part::Chunk(bytes.to_vec()))
    }

    async fn received(
        messages: Vec<Result<pb::UploadPluginRequest, Status>>,
    ) -> Result<Vec<u8>, String> {
        let received = receive(stream::iter(messages), 8).await;
        received
            .map(|it| it.bytes)
            .map_err(|refusal| format!("{refusal:?}"))
    }

    #[tokio::test]
    async fn chunks_of_any_size_are_one_component() {
        let whole = received(vec![metadata(0), chunk(b"ab"), chunk(b""), chunk(b"c")]).await;
        assert_eq!(whole.unwrap(), b"abc");
        assert!(
            received(vec![metadata(8), chunk(b"12345678")])
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn an_upload_of_another_form_or_size_is_refused() {
        let announced_too_much = received(vec![metadata(9)]).await.unwrap_err();
        assert!(announced_too_much.contains("ComponentTooLarge(8)"));
        // The rest is not waited for.
        let endless = stream::iter([metadata(0)]).chain(stream::repeat_with(|| chunk(b"1234")));
        let refusal = receive(endless, 8).await.unwrap_err();
        assert!(matches!(refusal, Refusal::ComponentTooLarge(8)));
        for (messages, field) in [
            (vec![], "metadata"),
            (vec![chunk(b"a")], "metadata"),
            (vec![metadata(0), metadata(0)], "metadata"),
            (vec![metadata(-1)], "metadata.size_bytes"),
            (vec![metadata(4), chunk(b"abc")], "metadata.size_bytes"),
            (vec![metadata(0)], "chunk"),
            (
                vec![metadata(0), Ok(pb::UploadPluginRequest::default())],
                "chunk",
            ),
        ] {
            let refusal = received(messages).await.unwrap_err();
            assert!(
                refusal.contains(&format!("field: \"{field}\"")),
                "{refusal}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stalls_gives_up_its_place() {
        let stalled = stream::iter([metadata(0), chunk(b"a")]).chain(stream::pending());
        let refusal = receive(stalled, 8).await.unwrap_err();
        assert!(matches!(refusal, Refusal::Stalled(waited) if waited == IDLE));
    }
}
