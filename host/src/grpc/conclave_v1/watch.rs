//! The stream of a watch.

use conclave_core::follow::Watcher;
use futures::stream;
use tonic::codegen::BoxStream;

use super::event::Narrator;
use super::pb;
use crate::grpc::call::Call;
use crate::grpc::fields::Api;
use crate::grpc::status::{Refusal, status};

/// The events of a deliberation until its last one, the call's deadline, or an error.
///
/// Nothing runs ahead of the client: the next update is taken when HTTP/2 has room for its event,
/// and a watcher that falls behind reads the journal again. A client that goes away drops the stream,
/// and with it the watcher.
pub(super) fn events(
    watcher: Watcher,
    narrator: Narrator,
    call: Call,
) -> BoxStream<pb::DeliberationEvent> {
    let watching = Watching {
        watcher,
        narrator,
        call,
    };
    Box::pin(stream::unfold(Some(watching), |watching| async move {
        let mut watching = watching?;
        match watching.next().await {
            Ok(event) => Some((Ok(event?), Some(watching))),
            Err(refusal) => Some((Err(status(&refusal, Api::ConclaveV1)), None)),
        }
    }))
}

struct Watching {
    watcher: Watcher,
    narrator: Narrator,
    call: Call,
}

impl Watching {
    async fn next(&mut self) -> Result<Option<pb::DeliberationEvent>, Refusal> {
        while let Some(update) = self.call.bound(self.watcher.next()).await?? {
            if let Some(event) = self.narrator.tell(&update) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }
}
