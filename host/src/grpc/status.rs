//! Errors as gRPC statuses with details, after AIP-193: the one place that maps them.

mod registry;

use conclave_core::chain::Chain;
use std::collections::HashMap;
use std::fmt::Display;
use std::time::Duration;

use conclave_core::fleet::SteerError;
use conclave_core::plugin::Kind;
use conclave_core::registry::FetchError;
use conclave_core::submit::{self, NoCapacity};
use conclave_core::{follow, journal, plugin, request};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use super::fields::Api;
use crate::access::Denied;
use crate::access::denied::Kind as DeniedKind;

/// The domain of every `google.rpc.ErrorInfo`.
const DOMAIN: &str = "conclave";

/// When a client may try again what the host has no room for, or what its journal did not take.
const RETRY_SOON: Duration = Duration::from_secs(1);

/// When a client may try again what an operator must change first.
const RETRY_LATER: Duration = Duration::from_secs(30);

/// Why a call is not answered with what it asked for.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A field, or a header, breaks a rule of the API itself; both are in the API's words.
    Field {
        /// Which.
        field: String,
        /// The whole message.
        message: String,
    },
    /// Nothing was accepted.
    Submit(submit::Error),
    /// A deliberation cannot be read or followed.
    Follow(follow::Error),
    /// The deliberation has no such child.
    NoSuchChild {
        /// `GENERATION_NOT_FOUND`
        reason: &'static str,
        /// Its name.
        name: String,
    },
    /// The host has no plugin of these bytes, or none that has a name.
    NoSuchPlugin(String),
    /// No plugin has this name.
    NoSuchName {
        /// What was looked for.
        name: String,
        /// Names that come close.
        near: Vec<String>,
    },
    /// The fleet did not do what an operator asked for.
    Steer(SteerError),
    /// The registry of plugins did not do it.
    Registry(conclave_core::registry::Error),
    /// A component was not fetched.
    Fetch(FetchError),
    /// So many components are received already.
    TooManyUploads(usize),
    /// A component has more bytes than this.
    ComponentTooLarge(u64),
    /// An upload brought nothing, or not all, for so long.
    Stalled(Duration),
    /// What the client streams ended with this.
    Broken(Status),
    /// A component cannot be read for now.
    Unreadable(String),
    /// The plugins are others than they were when a list was begun.
    PluginsChanged,
    /// The host starts or stops.
    NotReady,
    /// The host serves as many calls as it may.
    Crowded(usize),
    /// The request's message has more bytes than this.
    TooLarge(usize),
    /// The client's deadline passed.
    DeadlineExceeded,
    /// The caller is not known, or may not do this.
    Denied(Denied),
}

impl Refusal {
    /// A rule that a field breaks.
    pub(super) fn field(field: &str, message: impl Into<String>) -> Self {
        Self::Field {
            field: field.to_owned(),
            message: message.into(),
        }
    }
}

impl Refusal {
    /// A token that is bound to what was listed then is wrong when something else is.
    pub(super) fn of_changed_list(self) -> Self {
        match self {
            Self::Field { field, .. } if field == "page_token" => Self::PluginsChanged,
            other => other,
        }
    }
}

impl From<SteerError> for Refusal {
    fn from(error: SteerError) -> Self {
        Self::Steer(error)
    }
}

impl From<conclave_core::registry::Error> for Refusal {
    fn from(error: conclave_core::registry::Error) -> Self {
        Self::Registry(error)
    }
}

impl From<FetchError> for Refusal {
    fn from(error: FetchError) -> Self {
        Self::Fetch(error)
    }
}

impl From<submit::Error> for Refusal {
    fn from(error: submit::Error) -> Self {
        Self::Submit(error)
    }
}

/// The journal of what a call reads.
impl From<journal::Error> for Refusal {
    fn from(error: journal::Error) -> Self {
        Self::Follow(error.into())
    }
}

impl From<follow::Error> for Refusal {
    fn from(error: follow::Error) -> Self {
        Self::Follow(error)
    }
}

/// The status that answers a refusal, with the fields named as in this API.
pub(super) fn status(refusal: &Refusal, api: Api) -> Status {
    let fault = match refusal {
        Refusal::Field { field, message } => {
            let fault = Fault::new(Code::InvalidArgument, "INVALID_FIELD", message);
            fault.violating(field, message)
        }
        Refusal::Submit(error) => of_submit(error, api),
        Refusal::Steer(error) => of_steer(error),
        Refusal::Follow(follow::Error::Journal(error)) => of_journal(error),
        Refusal::Follow(error @ follow::Error::Resting(id)) => {
            Fault::new(Code::Unavailable, "DELIBERATION_RESTING", error)
                .with("deliberation_id", id)
                .retried_after(RETRY_SOON)
        }
        Refusal::Follow(error @ follow::Error::BeyondEnd { .. }) => {
            Fault::new(Code::OutOfRange, "AFTER_SEQUENCE_BEYOND_END", error)
                .violating("after_sequence", &error.to_string())
        }
        Refusal::NoSuchChild { reason, name } => {
            Fault::new(Code::NotFound, reason, &format!("no `{name}`"))
        }
        Refusal::NoSuchPlugin(name) => {
            let message = format!("no `{name}` has a name on this host now");
            Fault::new(Code::NotFound, "PLUGIN_NOT_FOUND", &message)
        }
        Refusal::NoSuchName { name, near } => registry::of_unknown(name, near),
        Refusal::Registry(error) => registry::of_registry(error),
        Refusal::Fetch(error) => registry::of_fetch(error),
        Refusal::TooManyUploads(max) => {
            let message = format!("the host takes {max} components already, and no more at once");
            Fault::new(Code::ResourceExhausted, "TOO_MANY_UPLOADS", &message)
                .retried_after(RETRY_SOON)
        }
        Refusal::ComponentTooLarge(bytes_max) => registry::of_too_large(*bytes_max),
        Refusal::Stalled(waited) => {
            let message = format!("the upload was not complete after {} s", waited.as_secs());
            Fault::new(Code::Aborted, "UPLOAD_STALLED", &message)
        }
        Refusal::Broken(status) => return status.clone(),
        Refusal::Unreadable(name) => {
            let message = format!("the component `{name}` cannot be read for now");
            Fault::new(Code::Unavailable, "PLUGIN_UNREADABLE", &message).retried_after(RETRY_LATER)
        }
        Refusal::PluginsChanged => {
            let message =
                "the plugins have changed since the first page; begin again without a token";
            Fault::new(Code::Aborted, "PLUGINS_CHANGED", &message)
        }
        Refusal::NotReady => {
            let message = "the host is starting or stopping and accepts nothing";
            Fault::new(Code::Unavailable, "HOST_NOT_READY", &message).retried_after(RETRY_SOON)
        }
        Refusal::Crowded(calls_max) => {
            let message =
                format!("the host serves {calls_max} calls, `grpc.calls_max` allows no more");
            Fault::new(Code::ResourceExhausted, "TOO_MANY_CALLS", &message)
                .retried_after(RETRY_SOON)
        }
        Refusal::TooLarge(bytes_max) => {
            let message = format!(
                "the request is larger than {bytes_max} bytes, `grpc.message_bytes_max` allows no more"
            );
            Fault::new(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", &message)
        }
        Refusal::DeadlineExceeded => {
            let message = "the call's deadline passed; what it asked for may still happen";
            Fault::new(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", &message)
        }
        Refusal::Denied(denied) => return of_denied(denied),
    };
    fault.status()
}

/// The header `www-authenticate`, which HTTP has for this, says how to do better.
fn of_denied(denied: &Denied) -> Status {
    let code = match denied.kind() {
        DeniedKind::Unauthenticated => Code::Unauthenticated,
        DeniedKind::Forbidden => Code::PermissionDenied,
        DeniedKind::Unavailable => Code::Unavailable,
    };
    let mut fault = Fault::new(code, denied.reason(), denied);
    if let Denied::Forbidden { needed, caller } = denied {
        fault = fault.with("role_needed", needed).with("role", &caller.role);
    }
    if code == Code::Unavailable {
        fault = fault.retried_after(RETRY_SOON);
    }
    let mut status = fault.status();
    if let Some(challenge) = denied.challenge() {
        let challenge = MetadataValue::from_static(challenge);
        status.metadata_mut().insert("www-authenticate", challenge);
    }
    status
}

/// The code as the gRPC specification writes it.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

fn of_steer(error: &SteerError) -> Fault {
    match error {
        SteerError::UnknownModel { model, .. } => {
            Fault::new(Code::NotFound, "MODEL_NOT_FOUND", error).with("model", model)
        }
        SteerError::UnknownCluster { cluster, .. } => {
            Fault::new(Code::NotFound, "CLUSTER_NOT_FOUND", error).with("cluster", cluster)
        }
        SteerError::NoJob { model } => {
            Fault::new(Code::FailedPrecondition, "MODEL_NOT_STARTED_HERE", error)
                .with("model", model)
        }
        SteerError::TooMany { .. } => Fault::new(Code::InvalidArgument, "INVALID_FIELD", error)
            .violating("replicas", &error.to_string()),
        SteerError::NotKept(_) => {
            tracing::warn!(error = %Chain(error), "an operator's wish could not be kept");
            Fault::new(Code::Unavailable, "WISH_NOT_KEPT", error).retried_after(RETRY_SOON)
        }
    }
}

fn of_submit(error: &submit::Error, api: Api) -> Fault {
    match error {
        submit::Error::Request(error) => of_request(error, api),
        submit::Error::Plugin(error) => of_plugin(error, api),
        submit::Error::Conflict {
            key,
            id,
            differences,
        } => {
            let fields: Vec<_> = differences
                .iter()
                .map(|core| api.difference(core))
                .collect();
            let fields = fields.join(", ");
            let message = format!(
                "the key `{key}` already stands for `{id}`, whose request differs in: {fields}"
            );
            Fault::new(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED", &message)
                .with("deliberation_id", id)
                .with("differences", &fields)
        }
        submit::Error::Full(error) => {
            Fault::new(Code::ResourceExhausted, "TOO_MANY_DELIBERATIONS", error)
                .retried_after(RETRY_SOON)
        }
        submit::Error::NoCapacity(error) => match error {
            NoCapacity::Full { retry_after } => {
                Fault::new(Code::ResourceExhausted, "NO_FREE_SERVER", error)
                    .retried_after(*retry_after)
            }
            NoCapacity::Down { retry_after, .. } => {
                Fault::new(Code::Unavailable, "NO_SERVER", error).retried_after(*retry_after)
            }
        },
        submit::Error::Journal(error) => of_journal(error),
    }
}

fn of_request(error: &request::Error, api: Api) -> Fault {
    match error {
        request::Error::Invalid(violations) => {
            let named: Vec<_> = violations
                .iter()
                .map(|violation| (api.field(&violation.field), violation.rule.as_str()))
                .collect();
            let sentences: Vec<_> = named
                .iter()
                .map(|(field, rule)| format!("{field}: {rule}"))
                .collect();
            let fault = Fault::new(
                Code::InvalidArgument,
                "INVALID_FIELD",
                &sentences.join("; "),
            );
            let add = |fault: Fault, (field, rule): &(String, &str)| fault.violating(field, rule);
            named.iter().fold(fault, add)
        }
        request::Error::EndpointNotAllowed(endpoint) => {
            Fault::new(Code::PermissionDenied, "ENDPOINT_NOT_ALLOWED", error)
                .with("field", &api.field("endpoint"))
                .with("endpoint", endpoint)
        }
        request::Error::NoEndpoint => {
            Fault::new(Code::Unavailable, "NO_ENDPOINT", error).retried_after(RETRY_LATER)
        }
    }
}

/// A plugin that a request names is a value of one of its fields: the request is wrong, and no
/// resource of the API is missing.
fn of_plugin(error: &plugin::Error, api: Api) -> Fault {
    let plugin::Error::NotFound { kind, choice, near } = error;
    let field = match kind {
        Kind::Strategy => "strategy.name",
        Kind::Scorer => "scorer.name",
    };
    Fault::new(Code::InvalidArgument, "PLUGIN_NOT_FOUND", error)
        .with("kind", kind)
        .with("plugin", choice)
        .with("near", &near.join(", "))
        .violating(&api.field(field), &error.to_string())
}

fn of_journal(error: &journal::Error) -> Fault {
    match error {
        journal::Error::NotFound(id) => {
            let mut fault = Fault::new(Code::NotFound, "DELIBERATION_NOT_FOUND", error);
            fault = fault.with("deliberation_id", id);
            fault.resource = Some(format!("deliberations/{id}"));
            fault
        }
        journal::Error::Corrupt { id, .. } => {
            tracing::error!(%id, error = %Chain(error), "a journal is damaged");
            Fault::new(Code::DataLoss, "JOURNAL_CORRUPT", error).with("deliberation_id", id)
        }
        journal::Error::Unsupported { id, .. } => {
            Fault::new(Code::FailedPrecondition, "JOURNAL_OF_ANOTHER_BUILD", error)
                .with("deliberation_id", id)
        }
        journal::Error::Fenced { .. } | journal::Error::Unavailable(_) => {
            tracing::warn!(
                error = %Chain(error),
                "the journal failed a call"
            );
            Fault::new(Code::Unavailable, "JOURNAL_UNAVAILABLE", error).retried_after(RETRY_SOON)
        }
    }
}

/// A status in the making. A status travels in HTTP/2 headers, of which clients take 8 KiB in all,
/// percent-encoded and once more in base64: hence the bounds.
#[derive(Debug)]
struct Fault {
    code: Code,
    reason: &'static str,
    message: String,
    metadata: HashMap<String, String>,
    violations: Vec<FieldViolation>,
    retry: Option<Duration>,
    resource: Option<String>,
}

const MESSAGE_BYTES: usize = 1000;
const FIELD_BYTES: usize = 100;
const RULE_BYTES: usize = 200;
const VIOLATIONS: usize = 8;
const REASON_BYTES: usize = 500;

impl Fault {
    fn new(code: Code, reason: &'static str, message: &dyn Display) -> Self {
        Self {
            code,
            reason,
            message: clipped(&message.to_string(), MESSAGE_BYTES),
            metadata: HashMap::new(),
            violations: Vec::new(),
            retry: None,
            resource: None,
        }
    }

    fn with(mut self, key: &str, value: &dyn Display) -> Self {
        let value = clipped(&value.to_string(), RULE_BYTES);
        self.metadata.insert(key.to_owned(), value);
        self
    }

    fn violating(mut self, field: &str, rule: &str) -> Self {
        if self.violations.len() < VIOLATIONS {
            let (field, rule) = (clipped(field, FIELD_BYTES), clipped(rule, RULE_BYTES));
            self.violations.push(FieldViolation::new(field, rule));
        }
        self
    }

    /// Violates a rule for each reason, as many as fit; the last tells how many more there are.
    fn listing(mut self, field: &str, reasons: &[String], bytes_max: usize) -> Self {
        let mut bytes = 0;
        for (at, reason) in reasons.iter().enumerate() {
            let reason = clipped(reason, REASON_BYTES);
            bytes += field.len() + reason.len();
            let more = reasons.len() - at;
            if bytes > bytes_max && more > 1 {
                let more = format!("and {more} more");
                self.violations.push(FieldViolation::new(field, more));
                return self;
            }
            self.violations.push(FieldViolation::new(field, reason));
        }
        self
    }

    fn retried_after(mut self, delay: Duration) -> Self {
        self.retry = Some(delay);
        self
    }

    fn status(self) -> Status {
        let mut details = ErrorDetails::with_error_info(self.reason, DOMAIN, self.metadata);
        if !self.violations.is_empty() {
            details.set_bad_request(self.violations);
        }
        if let Some(delay) = self.retry {
            details.set_retry_info(Some(delay));
        }
        if let Some(name) = self.resource {
            details.set_resource_info("conclave.v1.Deliberation", name, "", "");
        }
        Status::with_error_details(self.code, self.message, details)
    }
}

/// The text, or as much of it as fits with an ellipsis.
fn clipped(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes_max - '…'.len_utf8());
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests;
