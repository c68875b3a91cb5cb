//! One call of a plugin, for those who measure and trace.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use conclave_core::plugin::{Kind, PluginRef};
use conclave_core::runtime::Error;
use tracing::Span;

use super::cpu::Meter;
use crate::telemetry::spans;

/// A call that ended.
#[derive(Clone, Copy, Debug)]
pub struct PluginCall<'a> {
    /// The plugin's name.
    pub plugin: &'a str,
    /// Its kind.
    pub kind: Kind,
    /// CPU time that the instance took, a replay left out.
    pub cpu: Duration,
    /// How long it took to make the instance, if it was made.
    pub instantiation: Option<Duration>,
    /// `answered`, `refused`, `trapped`, `limit_exceeded`, `unavailable` or `stopped`.
    pub result: &'static str,
}

/// Is told of every call that ended. It must not block.
pub type OnCall = Arc<dyn Fn(&PluginCall<'_>) + Send + Sync>;

/// A call that is under way; dropping it tells of it.
pub(super) struct Open<'a> {
    plugin: &'a str,
    kind: Kind,
    meter: &'a Meter,
    on_call: Option<&'a OnCall>,
    span: Span,
    result: &'static str,
}

impl<'a> Open<'a> {
    pub(super) fn new(
        kind: Kind,
        plugin: &'a PluginRef,
        meter: &'a Meter,
        on_call: Option<&'a OnCall>,
    ) -> Self {
        Self {
            plugin: &plugin.name,
            kind,
            meter,
            on_call,
            span: spans::plugin(kind, plugin),
            // What stands when the session drops the call.
            result: "stopped",
        }
    }

    /// What the call runs in, in a trace.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Waits for the call's end.
    pub(super) async fn run<T>(
        mut self,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let result = call.await;
        if let Err(error @ (Error::Trapped(_) | Error::LimitExceeded { .. })) = &result {
            let (plugin, kind) = (self.plugin, self.kind);
            self.span
                .in_scope(|| tracing::warn!(plugin, %kind, %error, "a plugin ended badly"));
        }
        self.result = match &result {
            Ok(_) => "answered",
            Err(Error::Refused(_)) => "refused",
            Err(Error::Trapped(_)) => "trapped",
            Err(Error::LimitExceeded { .. }) => "limit_exceeded",
            Err(Error::Unavailable(_)) => "unavailable",
            Err(Error::Stopped) => "stopped",
        };
        result
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        spans::note_plugin(&self.span, self.result);
        if let Some(on_call) = self.on_call {
            on_call(&PluginCall {
                plugin: self.plugin,
                kind: self.kind,
                cpu: self.meter.used(),
                instantiation: self.meter.instantiation(),
                result: self.result,
            });
        }
    }
}
