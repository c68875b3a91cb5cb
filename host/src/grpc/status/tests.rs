//! Every refusal as its client sees it.

use conclave_core::endpoint::Endpoint;
use conclave_core::ids::DeliberationId;
use conclave_core::request::Violation;
use conclave_core::run::Full;

use super::*;

/// Code, reason, message, violations as `field: rule`, and the delay of a retry in seconds.
fn told(refusal: impl Into<Refusal>, api: Api) -> (Code, String, String, Vec<String>, Option<u64>) {
    let status = status(&refusal.into(), api);
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.domain, DOMAIN);
    let violations = details
        .bad_request()
        .map(|bad| bad.field_violations.clone());
    let violations = violations.unwrap_or_default().into_iter();
    let violations = violations
        .map(|v| format!("{}: {}", v.field, v.description))
        .collect();
    let retry = details.retry_info().and_then(|retry| retry.retry_delay);
    let retry = retry.map(|delay| delay.as_secs());
    (
        status.code(),
        info.reason.clone(),
        status.message().to_owned(),
        violations,
        retry,
    )
}

fn invalid(violations: Vec<Violation>) -> submit::Error {
    request::Error::Invalid(violations).into()
}

#[test]
fn violations_are_named_as_in_the_api() {
    let error = || {
        invalid(vec![
            Violation::new("task.id", "must not be empty"),
            Violation::new("strategy_params/stop/m", "0 is less than the minimum of 1"),
        ])
    };
    let (code, reason, message, violations, retry) = told(error(), Api::ConclaveV1);
    assert_eq!(
        (code, reason.as_str(), retry),
        (Code::InvalidArgument, "INVALID_FIELD", None)
    );
    let expected = [
        "deliberation.task.id: must not be empty",
        "deliberation.strategy.params_json/stop/m: 0 is less than the minimum of 1",
    ];
    assert_eq!(violations, expected);
    assert_eq!(message, expected.join("; "));
    let (.., violations, _) = told(error(), Api::RayExecutor);
    assert_eq!(violations[0], "task_id: must not be empty");
}

#[test]
fn an_unknown_plugin_is_an_invalid_field_that_tells_near_names() {
    let error = || {
        submit::Error::from(plugin::Error::NotFound {
            kind: Kind::Strategy,
            choice: "sampel-vote".to_owned(),
            near: vec!["sample-vote".to_owned()],
        })
    };
    let (code, reason, message, violations, _) = told(error(), Api::ConclaveV1);
    assert_eq!(
        (code, reason.as_str()),
        (Code::InvalidArgument, "PLUGIN_NOT_FOUND")
    );
    assert_eq!(
        message,
        "no strategy `sampel-vote` is loaded; did you mean `sample-vote`?"
    );
    assert!(
        violations[0].starts_with("deliberation.strategy.name: no strategy"),
        "{violations:?}"
    );
    let (.., violations, _) = told(error(), Api::RayExecutor);
    assert!(
        violations[0].starts_with("constraints.metadata[strategy]: "),
        "{violations:?}"
    );
}

#[test]
fn every_refusal_has_its_code_reason_and_retry() {
    let id = DeliberationId::new("deliberation-1");
    let journal = |error: journal::Error| submit::Error::from(error);
    let cases: Vec<(Refusal, Code, &str, Option<u64>)> = vec![
        (
            submit::Error::from(request::Error::EndpointNotAllowed(
                Endpoint::parse("http://h").unwrap(),
            ))
            .into(),
            Code::PermissionDenied,
            "ENDPOINT_NOT_ALLOWED",
            None,
        ),
        (
            submit::Error::from(request::Error::NoEndpoint).into(),
            Code::Unavailable,
            "NO_ENDPOINT",
            Some(30),
        ),
        (
            submit::Error::from(Full(7)).into(),
            Code::ResourceExhausted,
            "TOO_MANY_DELIBERATIONS",
            Some(1),
        ),
        (
            submit::Error::from(NoCapacity::Full {
                retry_after: Duration::from_secs(7),
            })
            .into(),
            Code::ResourceExhausted,
            "NO_FREE_SERVER",
            Some(7),
        ),
        (
            submit::Error::from(NoCapacity::Down {
                reason: "none shall run".to_owned(),
                retry_after: Duration::from_secs(5),
            })
            .into(),
            Code::Unavailable,
            "NO_SERVER",
            Some(5),
        ),
        (
            journal(journal::Error::Unavailable("full".into())).into(),
            Code::Unavailable,
            "JOURNAL_UNAVAILABLE",
            Some(1),
        ),
        (
            follow::Error::from(journal::Error::NotFound(id.clone())).into(),
            Code::NotFound,
            "DELIBERATION_NOT_FOUND",
            None,
        ),
        (
            follow::Error::Resting(id.clone()).into(),
            Code::Unavailable,
            "DELIBERATION_RESTING",
            Some(1),
        ),
        (
            submit::Error::Conflict {
                key: "k".to_owned(),
                id,
                differences: vec!["role"],
            }
            .into(),
            Code::AlreadyExists,
            "IDEMPOTENCY_KEY_REUSED",
            None,
        ),
        (
            Refusal::NotReady,
            Code::Unavailable,
            "HOST_NOT_READY",
            Some(1),
        ),
        (
            Refusal::Crowded(3),
            Code::ResourceExhausted,
            "TOO_MANY_CALLS",
            Some(1),
        ),
        (
            Refusal::TooLarge(9),
            Code::ResourceExhausted,
            "MESSAGE_TOO_LARGE",
            None,
        ),
        (
            Refusal::DeadlineExceeded,
            Code::DeadlineExceeded,
            "DEADLINE_EXCEEDED",
            None,
        ),
        (
            Refusal::field("name", "name is wrong"),
            Code::InvalidArgument,
            "INVALID_FIELD",
            None,
        ),
    ];
    for (refusal, code, reason, retry) in cases {
        let shown = format!("{refusal:?}");
        let (has_code, has_reason, _, _, has_retry) = told(refusal, Api::RayExecutor);
        assert_eq!(
            (has_code, has_reason.as_str(), has_retry),
            (code, reason, retry),
            "{shown}"
        );
    }
}

#[test]
fn a_source_is_not_told_to_a_client() {
    let error = journal::Error::Unavailable("disk /var/lib/secret is full".into());
    let (_, _, message, ..) = told(submit::Error::from(error), Api::ConclaveV1);
    assert_eq!(message, "the journal is unavailable");
}

#[test]
fn a_status_fits_into_headers_whatever_a_client_sends() {
    let long = "🦀".repeat(100_000);
    let violations = (0..100)
        .map(|_| Violation::new(long.clone(), long.clone()))
        .collect();
    let status = status(&invalid(violations).into(), Api::ConclaveV1);
    assert!(status.message().len() <= MESSAGE_BYTES);
    // Percent-encoded text, and details in base64.
    let encoded = status.message().len() * 3 + status.details().len() * 4 / 3;
    assert!(encoded < 8 << 10, "{encoded}");
}

#[test]
fn as_many_reasons_of_a_refused_component_are_told_as_fit_into_headers() {
    let refused = |reasons: Vec<String>| conclave_core::registry::Error::Refused(reasons);
    let short: Vec<_> = (1..=20)
        .map(|at| format!("import {at} is unknown"))
        .collect();
    let (.., violations, _) = told(refused(short), Api::ConclaveV1);
    assert_eq!(violations.len(), 20);
    assert_eq!(violations[19], "component: import 20 is unknown");

    let long: Vec<_> = (1..=40)
        .map(|at| format!("{at} {}", "é".repeat(1_000)))
        .collect();
    let status = status(&refused(long).into(), Api::ConclaveV1);
    let mut headers = tonic::codegen::http::HeaderMap::new();
    status.add_header(&mut headers).unwrap();
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    assert!(bytes < 8 << 10, "{bytes}");
    let details = status.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    let last = &violations.last().unwrap().description;
    assert!(
        last.starts_with("and ") && last.ends_with(" more"),
        "{last}"
    );
}
