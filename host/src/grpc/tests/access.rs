//! Who is let in, and whose records they see.

use conclave_core::ids::{Digest, Tenant};
use tonic::Request;
use tonic::metadata::MetadataValue;

use super::*;
use crate::access::{Access, Caller, Mode, Role, Settings as AccessSettings, Token};
use crate::grpc::pb::conclave::v1 as pb;
use crate::grpc::pb::conclave::v1::deliberations_client::DeliberationsClient;
use crate::grpc::pb::conclave::v1::plugins_client::PluginsClient;
use crate::grpc::pb::ray_executor::v1::ray_executor_service_client::RayExecutorServiceClient;
use crate::grpc::pb::ray_executor::v1::{
    GetActiveJobsRequest, GetDeliberationStatusRequest, GetStatusRequest,
};

fn token(name: &str, tenant: &str, role: Role) -> Token {
    Token {
        digest: Digest::of(name.as_bytes()),
        caller: Arc::new(Caller {
            name: name.to_owned(),
            tenant: Tenant::new(tenant),
            role,
        }),
        expires: None,
    }
}

/// A host whose model never answers, with tokens named for their bearers.
async fn served(mode: Mode) -> Served {
    let access = Access::new(AccessSettings {
        mode,
        tokens: vec![
            token("ann", "a", Role::Client),
            token("amy", "a", Role::Viewer),
            token("bob", "b", Role::Client),
            token("ops", "default", Role::Operator),
        ],
        ..AccessSettings::default()
    });
    let hanging = ScriptedInference::new(|_, _| Script::hang());
    Served::start_with(hanging, Settings::default(), access.unwrap()).await
}

fn by<T>(bearer: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if !bearer.is_empty() {
        let value = MetadataValue::try_from(format!("Bearer {bearer}")).unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    request
}

fn create() -> pb::CreateDeliberationRequest {
    let deliberation = pb::Deliberation {
        task: Some(pb::Task {
            id: "t".to_owned(),
            description: "Is 7 prime?".to_owned(),
            role: "DEV".to_owned(),
            agents: vec![pb::Agent {
                id: "a".to_owned(),
                ..pb::Agent::default()
            }],
            model: "m".to_owned(),
            ..pb::Task::default()
        }),
        ..pb::Deliberation::default()
    };
    pb::CreateDeliberationRequest {
        deliberation: Some(deliberation),
        request_id: "same".to_owned(),
    }
}

#[tokio::test]
async fn a_refusal_names_its_reason_and_the_role_that_is_needed() {
    let served = served(Mode::Required).await;
    let mut client = DeliberationsClient::new(served.channel.clone());
    let refused = client
        .create_deliberation(by("", create()))
        .await
        .unwrap_err();
    assert_eq!(told(&refused).0, Code::Unauthenticated);
    assert_eq!(told(&refused).1, "TOKEN_MISSING");
    let challenge = refused.metadata().get("www-authenticate").unwrap();
    assert_eq!(challenge.to_str().unwrap(), "Bearer realm=\"conclave\"");
    let refused = client
        .create_deliberation(by("eve", create()))
        .await
        .unwrap_err();
    assert_eq!(told(&refused).1, "TOKEN_UNKNOWN");
    assert!(!format!("{refused:?}").contains("eve"));
    let refused = client
        .create_deliberation(by("amy", create()))
        .await
        .unwrap_err();
    let (code, reason, message) = told(&refused);
    assert_eq!(
        (code, reason.as_str()),
        (Code::PermissionDenied, "ROLE_INSUFFICIENT")
    );
    assert_eq!(
        message,
        "this needs the role `client`; `amy` has the role `viewer`"
    );
    let details = refused.get_error_details();
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!(metadata["role_needed"], "client");
    assert_eq!(served.journal.stored(), 0, "nothing was accepted");
}

#[tokio::test]
async fn another_tenants_deliberation_is_answered_as_an_unknown_one() {
    let served = served(Mode::Required).await;
    let mut client = DeliberationsClient::new(served.channel.clone());
    let own = client
        .create_deliberation(by("ann", create()))
        .await
        .unwrap();
    let name = own.into_inner().name;
    let theirs = client
        .create_deliberation(by("bob", create()))
        .await
        .unwrap();
    assert_ne!(
        theirs.into_inner().name,
        name,
        "keys are unique for a tenant"
    );

    let get = |name: &str| pb::GetDeliberationRequest {
        name: name.to_owned(),
    };
    assert!(client.get_deliberation(by("amy", get(&name))).await.is_ok());
    let unknown = "deliberations/deliberation-0";
    for (asked, shown) in [(name.as_str(), name.as_str()), (unknown, unknown)] {
        let mut refused = Vec::new();
        for bearer in ["bob", "ops"] {
            refused.push(
                client
                    .get_deliberation(by(bearer, get(asked)))
                    .await
                    .unwrap_err(),
            );
            let watch = pb::WatchDeliberationRequest {
                name: asked.to_owned(),
                after_sequence: 1,
            };
            refused.push(
                client
                    .watch_deliberation(by(bearer, watch))
                    .await
                    .unwrap_err(),
            );
            let wait = pb::WaitDeliberationRequest {
                name: asked.to_owned(),
                timeout: None,
            };
            refused.push(
                client
                    .wait_deliberation(by(bearer, wait))
                    .await
                    .unwrap_err(),
            );
            let cancel = pb::CancelDeliberationRequest {
                name: asked.to_owned(),
                reason: String::new(),
            };
            refused.push(
                client
                    .cancel_deliberation(by(bearer, cancel))
                    .await
                    .unwrap_err(),
            );
        }
        let id = shown.trim_start_matches("deliberations/");
        for refused in refused {
            let expected = (
                Code::NotFound,
                "DELIBERATION_NOT_FOUND".to_owned(),
                format!("no deliberation `{id}`"),
            );
            assert_eq!(told(&refused), expected);
        }
    }
    let own = client
        .get_deliberation(by("ann", get(&name)))
        .await
        .unwrap();
    assert_eq!(own.into_inner().state(), pb::deliberation::State::Running);
}

#[tokio::test]
async fn the_packages_of_before_show_a_tenant_its_own() {
    let served = served(Mode::Required).await;
    let mut native = DeliberationsClient::new(served.channel.clone());
    let own = native
        .create_deliberation(by("ann", create()))
        .await
        .unwrap();
    let id = own.into_inner().uid;
    let mut client = RayExecutorServiceClient::new(served.channel.clone());
    let poll = || GetDeliberationStatusRequest {
        deliberation_id: id.clone(),
    };
    let stats = GetStatusRequest {
        include_stats: true,
    };
    for (bearer, status, jobs, sees_stats) in [
        ("ann", "running", 1, false),
        ("bob", "not_found", 0, false),
        ("ops", "not_found", 0, true),
    ] {
        let polled = client
            .get_deliberation_status(by(bearer, poll()))
            .await
            .unwrap();
        assert_eq!(polled.into_inner().status, status, "{bearer}");
        let active = client
            .get_active_jobs(by(bearer, GetActiveJobsRequest {}))
            .await
            .unwrap();
        assert_eq!(active.into_inner().jobs.len(), jobs, "{bearer}");
        let told = client
            .get_status(by(bearer, stats))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(told.status, "healthy");
        assert_eq!(told.stats.is_some(), sees_stats, "{bearer}");
    }
}

#[tokio::test]
async fn reflection_needs_a_token_and_health_needs_none() {
    let served = served(Mode::Required).await;
    let mut health = tonic_health::pb::health_client::HealthClient::new(served.channel.clone());
    let asked = tonic_health::pb::HealthCheckRequest::default();
    assert!(health.check(asked).await.is_ok());
    for (bearer, allowed) in [("", false), ("amy", true)] {
        let mut reflection =
            tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(
                served.channel.clone(),
            );
        let asked = by(bearer, futures::stream::empty());
        let answered = reflection.server_reflection_info(asked).await;
        assert_eq!(answered.is_ok(), allowed, "{bearer}");
    }
}

#[tokio::test]
async fn who_runs_on_a_plugin_is_named_to_its_own_tenant_alone() {
    let served = served(Mode::Required).await;
    let mut native = DeliberationsClient::new(served.channel.clone());
    let own = native
        .create_deliberation(by("ann", create()))
        .await
        .unwrap();
    let name = own.into_inner().name;
    let mut client = PluginsClient::new(served.channel.clone());
    for (bearer, count, named) in [("amy", 1, true), ("bob", 0, false), ("ops", 1, false)] {
        let asked = by(bearer, pb::ListPluginUseRequest::default());
        let uses = client
            .list_plugin_use(asked)
            .await
            .unwrap()
            .into_inner()
            .uses;
        let strategies: Vec<_> = uses
            .iter()
            .filter(|one| one.kind() == pb::plugin::Kind::Strategy)
            .map(|one| (one.deliberation_count, one.deliberations.clone()))
            .collect();
        let names = named.then(|| name.clone()).into_iter().collect();
        let expected = (count > 0).then_some((count, names));
        assert_eq!(strategies, Vec::from_iter(expected), "{bearer}");
    }
    for bearer in ["amy", "ann"] {
        let asked = by(bearer, pb::RollbackPluginRequest::default());
        let refused = client.rollback_plugin(asked).await.unwrap_err();
        assert_eq!(told(&refused).1, "ROLE_INSUFFICIENT", "{bearer}");
    }
}
