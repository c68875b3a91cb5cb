//! Errors of the registry of plugins, and of what brings them there.

use std::time::Duration;

use conclave_core::chain::Chain;
use conclave_core::channel::Refused;
use conclave_core::ids::Digest;
use conclave_core::plugin;
use conclave_core::registry::{Error, FetchError};
use tonic::Code;

use super::{Fault, REASON_BYTES, RETRY_SOON};

/// When components that are checked now may have made room.
const RETRY_UPLOAD: Duration = Duration::from_secs(5);

/// Bytes of all reasons of a refusal together: details travel in headers.
const REASONS_BYTES: usize = 2_000;

pub(super) fn of_registry(error: &Error) -> Fault {
    match error {
        Error::Refused(reasons) => {
            let message = format!("the component is refused: {}", reasons.join("; "));
            let fault = Fault::new(Code::InvalidArgument, "PLUGIN_REFUSED", &message);
            fault.listing("component", reasons, REASONS_BYTES)
        }
        Error::VersionTaken {
            name,
            version,
            taken,
        } => Fault::new(Code::AlreadyExists, "PLUGIN_VERSION_TAKEN", error)
            .with("kind", &name.kind)
            .with("plugin", &name.name)
            .with("version", version)
            .with("digest", taken),
        Error::NotFound(plugin::Error::NotFound { kind, choice, near }) => {
            Fault::new(Code::NotFound, "PLUGIN_NOT_FOUND", error)
                .with("kind", kind)
                .with("plugin", choice)
                .with("near", &near.join(", "))
        }
        Error::NoSuchDigest(digest) => {
            Fault::new(Code::NotFound, "PLUGIN_NOT_FOUND", error).with("digest", digest)
        }
        Error::Order { name, refused } => of_order(error, refused)
            .with("kind", &name.kind)
            .with("plugin", &name.name),
        Error::Named { plugin, setting } => {
            Fault::new(Code::FailedPrecondition, "PLUGIN_PROTECTED", error)
                .with("plugin", plugin)
                .with("setting", setting)
        }
        Error::Busy(_) => {
            Fault::new(Code::ResourceExhausted, "REGISTRY_BUSY", error).retried_after(RETRY_UPLOAD)
        }
        Error::Unavailable(_) => {
            tracing::warn!(error = %Chain(error), "the registry of plugins failed a call");
            Fault::new(Code::Unavailable, "REGISTRY_UNAVAILABLE", error).retried_after(RETRY_SOON)
        }
    }
}

fn of_order(error: &Error, refused: &Refused) -> Fault {
    let (code, reason) = match refused {
        Refused::NoCanary | Refused::NothingElse(_) => (Code::FailedPrecondition, "NO_CANARY"),
        Refused::Already(..) => (Code::FailedPrecondition, "PLUGIN_SERVES_ALREADY"),
        Refused::NothingBefore => (Code::FailedPrecondition, "NOTHING_TO_ROLL_BACK"),
        Refused::InUse(..) | Refused::OnlyOne(_) => (Code::FailedPrecondition, "PLUGIN_IN_USE"),
        Refused::Changed { .. } => (Code::Aborted, "CHANNELS_CHANGED"),
        Refused::TooManyRules { .. } => (Code::InvalidArgument, "INVALID_FIELD"),
    };
    let fault = Fault::new(code, reason, error);
    let digest = |digest: &Digest, fault: Fault| fault.with("digest", digest);
    match refused {
        Refused::Already(of, arm) | Refused::InUse(of, arm) => {
            digest(of, fault).with("channel", &arm.as_str())
        }
        Refused::Changed { expected, actual } => fault
            .with("expected_revision", expected)
            .with("revision", actual),
        Refused::TooManyRules { .. } => fault.violating("rules", &refused.to_string()),
        Refused::NothingElse(of) | Refused::OnlyOne(of) => digest(of, fault),
        Refused::NoCanary | Refused::NothingBefore => fault,
    }
}

pub(super) fn of_fetch(error: &FetchError) -> Fault {
    match error {
        FetchError::Reference(_) => {
            let fault = Fault::new(Code::InvalidArgument, "INVALID_FIELD", error);
            // With the digest of a tag it is longer than other rules.
            fault.listing("reference", &[error.to_string()], REASON_BYTES)
        }
        FetchError::NotFound(_) => Fault::new(Code::NotFound, "COMPONENT_NOT_FOUND", error),
        FetchError::NotAllowed(_) => {
            Fault::new(Code::PermissionDenied, "REGISTRY_NOT_ALLOWED", error)
        }
        FetchError::TooLarge { bytes_max } => of_too_large(*bytes_max),
        FetchError::Unavailable(_) => {
            tracing::warn!(error = %Chain(error), "a component was not fetched");
            // Only an operator asks for it, and the cause is what there is to do something about.
            let told = Chain(error).to_string();
            Fault::new(Code::Unavailable, "OCI_UNAVAILABLE", &told).retried_after(RETRY_UPLOAD)
        }
    }
}

pub(super) fn of_too_large(bytes_max: u64) -> Fault {
    let message = format!(
        "the component is larger than {bytes_max} bytes, `plugins.limits.component_bytes_max` allows no more"
    );
    Fault::new(Code::InvalidArgument, "COMPONENT_TOO_LARGE", &message)
}

pub(super) fn of_unknown(name: &str, near: &[String]) -> Fault {
    let quoted: Vec<_> = near.iter().map(|one| format!("`{one}`")).collect();
    let near = match quoted.join(", ") {
        near if near.is_empty() => "it has none".to_owned(),
        near => format!("it has {near}"),
    };
    let message = format!("the host has no plugin `{name}`; {near}");
    Fault::new(Code::NotFound, "PLUGIN_NOT_FOUND", &message).with("plugin", &name)
}
