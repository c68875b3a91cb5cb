//! One error for several who wait.

use conclave_core::chain::Chain;
use conclave_core::inference::Error;

/// The same error for another one who waits.
pub(super) fn again(error: &Error) -> Error {
    match error {
        Error::UnknownModel {
            model,
            endpoint,
            message,
        } => Error::UnknownModel {
            model: model.clone(),
            endpoint: endpoint.clone(),
            message: message.clone(),
        },
        Error::Rejected {
            endpoint,
            status,
            message,
        } => Error::Rejected {
            endpoint: endpoint.clone(),
            status: *status,
            message: message.clone(),
        },
        Error::NotAllowed { endpoint, reason } => Error::NotAllowed {
            endpoint: endpoint.clone(),
            reason: reason.clone(),
        },
        Error::NoServer {
            model,
            reason,
            retry_after,
        } => Error::NoServer {
            model: model.clone(),
            reason: reason.clone(),
            retry_after: *retry_after,
        },
        Error::Overloaded {
            endpoint,
            status,
            retry_after,
        } => Error::Overloaded {
            endpoint: endpoint.clone(),
            status: *status,
            retry_after: *retry_after,
        },
        Error::Unavailable {
            endpoint,
            retry_after,
            source,
        } => Error::Unavailable {
            endpoint: endpoint.clone(),
            retry_after: *retry_after,
            source: Chain(&**source).to_string().into(),
        },
        Error::Stalled { endpoint, silence } => Error::Stalled {
            endpoint: endpoint.clone(),
            silence: *silence,
        },
        Error::Protocol { endpoint, reason } => Error::Protocol {
            endpoint: endpoint.clone(),
            reason: reason.clone(),
        },
        Error::Interrupted { endpoint, source } => Error::Interrupted {
            endpoint: endpoint.clone(),
            source: source
                .as_ref()
                .map(|source| Chain(&**source).to_string().into()),
        },
    }
}
