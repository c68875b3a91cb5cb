//! Errors of the host, as people and programs read them.

use std::fmt;

use serde_json::{Value, json};
use tonic::Status;
use tonic_types::StatusExt as _;

use super::terminal::clean;
use crate::grpc::code_name;

/// What a host refused, with the details that it gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    code: tonic::Code,
    message: String,
    reason: Option<String>,
    violations: Vec<(String, String)>,
    retry_after_ms: Option<u128>,
}

impl Refused {
    /// Whether the same host may answer later: it stops, restarts, or the connection broke, which
    /// tonic tells as an unknown or internal error without details.
    pub(super) fn may_come_back(&self) -> bool {
        match self.code {
            tonic::Code::Unavailable => true,
            tonic::Code::Unknown | tonic::Code::Internal | tonic::Code::Cancelled => {
                self.reason.is_none()
            }
            _ => false,
        }
    }

    /// For programs.
    pub(super) fn to_json(&self) -> Value {
        let violations = self
            .violations
            .iter()
            .map(|(field, rule)| json!({ "field": field, "rule": rule }));
        json!({
            "code": code_name(self.code),
            "reason": self.reason,
            "message": self.message,
            "violations": violations.collect::<Vec<_>>(),
            "retry_after_ms": self.retry_after_ms,
        })
    }
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let violations = details
            .bad_request()
            .map(|request| request.field_violations.as_slice());
        let violations = violations.unwrap_or_default().iter();
        Self {
            code: status.code(),
            message: clean(status.message()),
            reason: details.error_info().map(|info| clean(&info.reason)),
            violations: violations
                .map(|one| (clean(&one.field), clean(&one.description)))
                .collect(),
            retry_after_ms: details
                .retry_info()
                .and_then(|info| info.retry_delay)
                .map(|delay| delay.as_millis()),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = code_name(self.code);
        let reason = self.reason.as_deref().unwrap_or(code);
        match self.violations.as_slice() {
            [] if self.message.is_empty() => write!(f, "the host answered {code} without a word")?,
            [] => write!(f, "{} ({reason})", self.message)?,
            reasons if reason == "PLUGIN_REFUSED" => {
                write!(f, "the component is refused ({reason}):")?;
                for (_, why) in reasons {
                    write!(f, "\n  - {why}")?;
                }
            }
            violations => {
                write!(f, "the request breaks rules ({reason}):")?;
                for (field, rule) in violations {
                    write!(f, "\n  {field}: {rule}")?;
                }
            }
        }
        match (self.code, self.reason.as_deref()) {
            // A proxy's words are its own.
            (tonic::Code::Unauthenticated, Some(_)) => f.write_str(
                "; set CONCLAVE_TOKEN or --token-file to a token that the host knows: its operator makes one \
                 with `conclave token new`",
            )?,
            (tonic::Code::PermissionDenied, Some("ROLE_INSUFFICIENT")) => {
                f.write_str("; ask the host's operator for a token of that role")?;
            }
            _ => {}
        }
        match self.retry_after_ms {
            Some(ms) => write!(f, "; try again in {ms} ms"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refused {}

/// The command line is used in a way that cannot be right.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub(super) String);

/// The error as one sentence with its causes, or as a JSON object.
pub(super) fn describe(error: &anyhow::Error, as_json: bool) -> String {
    if !as_json {
        return format!("error: {error:#}");
    }
    let refused = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Refused>());
    let mut details = refused.map_or_else(|| json!({}), Refused::to_json);
    details["message"] = json!(format!("{error:#}"));
    json!({ "error": details }).to_string()
}

/// 2 for wrong usage, 1 for everything else.
pub(super) fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Usage>() {
        Some(_) => 2,
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use tonic::Code;
    use tonic_types::ErrorDetails;

    use super::*;

    fn invalid() -> Refused {
        let mut details = ErrorDetails::new();
        details.set_error_info(
            "INVALID_REQUEST",
            "conclave",
            std::collections::HashMap::<String, String>::new(),
        );
        details.add_bad_request_violation("task.description", "must not be empty");
        details
            .add_bad_request_violation("timeout", "is 0 s, it must be above 0 and at most 1800 s");
        Status::with_error_details(Code::InvalidArgument, "the request is invalid", details).into()
    }

    #[test]
    fn every_violation_stands_on_its_line() {
        insta::assert_snapshot!(invalid(), @r"
        the request breaks rules (INVALID_REQUEST):
          task.description: must not be empty
          timeout: is 0 s, it must be above 0 and at most 1800 s
        ");
    }

    #[test]
    fn a_refusal_says_when_to_try_again() {
        let mut details = ErrorDetails::new();
        details.set_retry_info(Some(std::time::Duration::from_secs(2)));
        let full = Status::with_error_details(Code::ResourceExhausted, "the host is full", details);
        insta::assert_snapshot!(Refused::from(full), @"the host is full (RESOURCE_EXHAUSTED); try again in 2000 ms");
    }

    #[test]
    fn errors_have_their_causes_in_text_and_in_json() {
        let error = Err::<(), _>(invalid())
            .context("cannot submit")
            .unwrap_err();
        assert!(
            describe(&error, false).starts_with("error: cannot submit: the request breaks rules")
        );
        let json: Value = serde_json::from_str(&describe(&error, true)).unwrap();
        assert_eq!(json["error"]["code"], "INVALID_ARGUMENT");
        assert_eq!(json["error"]["violations"][1]["field"], "timeout");
        assert_eq!(exit_code(&error), 1);
        assert_eq!(exit_code(&Usage("x".into()).into()), 2);
    }
}
