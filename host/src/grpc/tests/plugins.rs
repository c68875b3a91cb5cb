//! Plugins that arrive, are tried, serve and go, as an operator's client sees it.

use std::sync::Arc;

use async_trait::async_trait;
use conclave_core::registry::{Fetch, FetchError, Fetched};
use futures::stream;
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use super::{Served, native, told};
use crate::grpc::pb::conclave::v1::plugin::{Channel as Serves, Kind, Origin};
use crate::grpc::pb::conclave::v1::plugin_change::Action;
use crate::grpc::pb::conclave::v1::plugins_client::PluginsClient;
use crate::grpc::pb::conclave::v1::rollout::Step;
use crate::grpc::pb::conclave::v1::upload_plugin_request::Part;
use crate::grpc::pb::conclave::v1::{
    CanaryRule, DeletePluginRequest, GetPluginRequest, ImportPluginRequest, ListChannelsRequest,
    ListPluginChangesRequest, ListPluginUseRequest, ListPluginsRequest, PluginChannels,
    PromotePluginRequest, RollbackPluginRequest, Rollout, StartCanaryRequest, UploadMetadata,
    UploadPluginRequest, UploadPluginResponse,
};

/// A registry that has one component.
#[derive(Debug)]
pub(super) struct Elsewhere;

#[async_trait]
impl Fetch for Elsewhere {
    async fn fetch(&self, reference: &str) -> Result<Fetched, FetchError> {
        match reference {
            "r/vote@sha256:1" => Ok(Fetched {
                bytes: Arc::from(&b"strategy vote 3.0.0"[..]),
                signature: None,
                reference: reference.to_owned(),
            }),
            "r/none" => Err(FetchError::NotFound(reference.to_owned())),
            _ => Err(FetchError::Reference("names no digest".to_owned())),
        }
    }
}

type Client = PluginsClient<Channel>;
type Answer<T> = Result<T, tonic::Status>;

fn client(served: &Served) -> Client {
    PluginsClient::new(served.channel.clone())
}

async fn push_with(
    client: &mut Client,
    text: &str,
    metadata: UploadMetadata,
) -> Answer<UploadPluginResponse> {
    let mut parts = vec![Part::Metadata(metadata)];
    // Chunks of an odd size.
    let chunks = text.as_bytes().chunks(7);
    parts.extend(chunks.map(|chunk| Part::Chunk(chunk.to_vec())));
    let parts = parts
        .into_iter()
        .map(|part| UploadPluginRequest { part: Some(part) });
    let answer = client.upload_plugin(stream::iter(parts.collect::<Vec<_>>()));
    answer.await.map(tonic::Response::into_inner)
}

async fn push(client: &mut Client, text: &str) -> Answer<UploadPluginResponse> {
    push_with(client, text, UploadMetadata::default()).await
}

async fn channels(client: &mut Client) -> Vec<PluginChannels> {
    let answer = client.list_channels(ListChannelsRequest::default()).await;
    answer.unwrap().into_inner().channels
}

fn promote(name: &str, version: &str) -> PromotePluginRequest {
    PromotePluginRequest {
        plugin_name: name.to_owned(),
        version: version.to_owned(),
        reason: "it is better".to_owned(),
        ..PromotePluginRequest::default()
    }
}

fn canary(name: &str, version: &str, share: i32) -> StartCanaryRequest {
    StartCanaryRequest {
        plugin_name: name.to_owned(),
        version: version.to_owned(),
        share_basis_points: share,
        ..StartCanaryRequest::default()
    }
}

fn rollback(name: &str) -> RollbackPluginRequest {
    RollbackPluginRequest {
        plugin_name: name.to_owned(),
        ..RollbackPluginRequest::default()
    }
}

/// The versions that are stable, tried, and were stable before.
fn versions(channels: &PluginChannels) -> (String, String, Vec<String>) {
    let stable = channels.stable.clone().unwrap_or_default().version;
    let canary = channels.canary.clone().unwrap_or_default();
    let before = channels.before.iter().map(|one| one.version.clone());
    (
        stable,
        canary.plugin.unwrap_or_default().version,
        before.collect(),
    )
}

#[tokio::test]
async fn the_first_of_a_name_serves_and_the_next_waits_to_be_told() {
    let served = Served::answering("yes").await;
    let mut client = client(&served);
    let first = push(&mut client, "strategy vote 1.0.0").await.unwrap();
    assert!(first.serves && !first.already_known);
    let plugin = first.plugin.unwrap();
    assert_eq!(
        (plugin.channel(), plugin.origin(), plugin.added_by.as_str()),
        (Serves::Stable, Origin::Upload, "anonymous")
    );
    assert!(plugin.add_time.is_some());
    let again = push(&mut client, "strategy vote 1.0.0").await.unwrap();
    assert!(again.already_known);
    let second = push(&mut client, "strategy vote 2.0.0").await.unwrap();
    assert!(!second.serves);
    let get = GetPluginRequest {
        name: second.plugin.unwrap().name,
    };
    let read = client.get_plugin(get).await.unwrap().into_inner();
    assert_eq!(read.channel(), Serves::Unspecified);
    assert_eq!(versions(&channels(&mut client).await[0]).0, "1.0.0");
}

#[tokio::test]
async fn a_name_goes_from_canary_to_stable_and_back() {
    let served = Served::answering("yes").await;
    let mut client = client(&served);
    for version in ["1.0.0", "2.0.0"] {
        push(&mut client, &format!("strategy vote {version}"))
            .await
            .unwrap();
    }
    let mut asked = canary("vote", "2.0.0", 500);
    asked.rules = vec![CanaryRule {
        tenant: "acme".to_owned(),
        labels: [("team".to_owned(), "core".to_owned())].into(),
        task_type: "TASK_EXTRACTION".to_owned(),
        share_basis_points: 10_000,
        ..CanaryRule::default()
    }];
    let tried = client
        .start_canary(asked.clone())
        .await
        .unwrap()
        .into_inner();
    let told_back = tried.canary.clone().unwrap();
    assert_eq!(
        (told_back.share_basis_points, &told_back.rules),
        (500, &asked.rules)
    );
    assert!(!told_back.evidence.is_empty());
    assert_eq!(versions(&tried), ("1.0.0".into(), "2.0.0".into(), vec![]));
    let listed = client.list_plugins(ListPluginsRequest::default()).await;
    let listed = listed.unwrap().into_inner().plugins;
    let shown: Vec<_> = listed
        .iter()
        .map(|one| (one.channel(), one.share_basis_points))
        .collect();
    assert_eq!(shown, [(Serves::Stable, 0), (Serves::Canary, 500)]);

    // By its bare name the canary is promoted.
    let promoted = client.promote_plugin(promote("vote", "")).await.unwrap();
    let promoted = promoted.into_inner();
    assert_eq!(
        versions(&promoted),
        ("2.0.0".into(), String::new(), vec!["1.0.0".into()])
    );
    let back = client.rollback_plugin(rollback("vote")).await.unwrap();
    assert_eq!(versions(&back.into_inner()).0, "1.0.0");
    let mut history = ListPluginChangesRequest {
        page_size: 2,
        plugin_name: "vote".to_owned(),
        ..ListPluginChangesRequest::default()
    };
    let mut told = Vec::new();
    loop {
        let page = client.list_plugin_changes(history.clone()).await;
        let page = page.unwrap().into_inner();
        told.extend(
            page.changes
                .iter()
                .map(|one| (one.action(), one.reason.clone())),
        );
        if page.next_page_token.is_empty() {
            break;
        }
        history.page_token = page.next_page_token;
    }
    let quiet = |action| (action, String::new());
    let expected = [
        quiet(Action::RolledBack),
        (Action::Promoted, "it is better".to_owned()),
        quiet(Action::CanaryChanged),
        quiet(Action::Added),
        quiet(Action::Added),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_push_can_say_what_follows_and_say_it_twice() {
    let served = Served::answering("yes").await;
    let mut client = client(&served);
    push(&mut client, "strategy vote 1.0.0").await.unwrap();
    let rollout = |step: Step, share| UploadMetadata {
        rollout: Some(Rollout {
            step: step.into(),
            share_basis_points: share,
            reason: "try it".to_owned(),
        }),
        ..UploadMetadata::default()
    };
    for _ in 0..2 {
        let asked = rollout(Step::Canary, 100);
        let tried = push_with(&mut client, "strategy vote 2.0.0", asked)
            .await
            .unwrap();
        assert!(tried.serves && tried.warnings.is_empty());
        assert_eq!(tried.plugin.unwrap().channel(), Serves::Canary);
    }
    for _ in 0..2 {
        let asked = rollout(Step::Promote, 0);
        let served = push_with(&mut client, "strategy vote 2.0.0", asked)
            .await
            .unwrap();
        assert_eq!(served.plugin.unwrap().channel(), Serves::Stable);
    }
    let asked = rollout(Step::Canary, 100);
    let answer = push_with(&mut client, "strategy vote 2.0.0", asked)
        .await
        .unwrap();
    assert_eq!(answer.warnings, ["it is stable, so that no canary began"]);
    let wrong = rollout(Step::Promote, 100);
    let refused = push_with(&mut client, "strategy vote 3.0.0", wrong)
        .await
        .unwrap_err();
    assert_eq!(told(&refused).1, "INVALID_FIELD");
    assert_eq!(channels(&mut client).await[0].before.len(), 1);
}

#[tokio::test]
async fn a_check_changes_nothing() {
    let served = Served::answering("yes").await;
    let mut client = client(&served);
    let only = || UploadMetadata {
        validate_only: true,
        ..UploadMetadata::default()
    };
    let checked = push_with(&mut client, "scorer judge 1.0.0", only())
        .await
        .unwrap();
    assert_eq!(checked.plugin.unwrap().kind(), Kind::Scorer);
    assert!(!checked.serves, "what is not listed serves nobody");
    let refused = push_with(&mut client, "no plugin", only())
        .await
        .unwrap_err();
    assert_eq!(told(&refused).1, "PLUGIN_REFUSED");
    let mut both = only();
    both.rollout = Some(Rollout {
        step: Step::Promote.into(),
        ..Rollout::default()
    });
    let refused = push_with(&mut client, "scorer judge 1.0.0", both)
        .await
        .unwrap_err();
    assert_eq!(told(&refused).1, "INVALID_FIELD");
    assert!(channels(&mut client).await.is_empty());
}

#[tokio::test]
async fn a_refusal_lists_every_reason_within_what_headers_take() {
    let served = Served::answering("yes").await;
    let mut client = client(&served);
    let refused = push(&mut client, "three wrong words").await.unwrap_err();
    let (code, reason, _) = told(&refused);
    assert_eq!(
        (code, reason.as_str()),
        (Code::InvalidArgument, "PLUGIN_REFUSED")
    );
    let details = refused.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    let reasons: Vec<_> = violations
        .iter()
        .map(|one| one.description.as_str())
        .collect();
    let expected = ["three", "wrong", "words"].map(|it| format!("`{it}` is not allowed here"));
    assert_eq!(reasons, expected);
    push(&mut client, "strategy vote 1.0.0").await.unwrap();
    let taken = push(&mut client, "strategy vote 1.0.0 again")
        .await
        .unwrap_err();
    let (code, reason, _) = told(&taken);
    assert_eq!(
        (code, reason.as_str()),
        (Code::AlreadyExists, "PLUGIN_VERSION_TAKEN")
    );
    let busy = push(&mut client, "busy").await.unwrap_err();
    assert_eq!(told(&busy).1, "REGISTRY_BUSY");
    assert!(busy.get_error_details().retry_info().is_some());
    let large = push(&mut client, &"x".repeat(65)).await.unwrap_err();
    assert_eq!(told(&large).1, "COMPONENT_TOO_LARGE");
    served.readiness.set(false).await;
    let stopping = push(&mut client, "strategy vote 2.0.0").await.unwrap_err();
    assert_eq!(told(&stopping).1, "HOST_NOT_READY");
}

#[tokio::test]
async fn orders_that_do_not_fit_are_refused_with_their_reason() {
    let served = Served::answering("yes").await;
    let mut client = client(&served);
    for text in [
        "strategy vote 1.0.0",
        "strategy vote 2.0.0",
        "scorer vote 1.0.0",
    ] {
        push(&mut client, text).await.unwrap();
    }
    let of_strategy = |mut request: PromotePluginRequest| {
        request.set_kind(Kind::Strategy);
        request
    };
    let revision = channels(&mut client).await[0].revision;
    let stale = PromotePluginRequest {
        expected_revision: Some(revision + 1),
        ..of_strategy(promote("vote", "2.0.0"))
    };
    for (request, code, reason) in [
        (
            promote("vote", "2.0.0"),
            Code::InvalidArgument,
            "INVALID_FIELD",
        ),
        (promote("", ""), Code::InvalidArgument, "INVALID_FIELD"),
        (promote("vot", ""), Code::NotFound, "PLUGIN_NOT_FOUND"),
        (
            of_strategy(promote("vote", "9.0.0")),
            Code::NotFound,
            "PLUGIN_NOT_FOUND",
        ),
        (
            of_strategy(promote("vote", "")),
            Code::FailedPrecondition,
            "NO_CANARY",
        ),
        (stale, Code::Aborted, "CHANNELS_CHANGED"),
    ] {
        let refused = client.promote_plugin(request).await.unwrap_err();
        let (was, said, message) = told(&refused);
        assert_eq!((was, said.as_str()), (code, reason), "{message}");
    }
    let mut back = rollback("vote");
    back.set_kind(Kind::Strategy);
    let refused = client.rollback_plugin(back).await.unwrap_err();
    assert_eq!(told(&refused).1, "NOTHING_TO_ROLL_BACK");
    for share in [-1, 10_001] {
        let mut asked = canary("vote", "2.0.0", share);
        asked.set_kind(Kind::Strategy);
        let refused = client.start_canary(asked).await.unwrap_err();
        assert_eq!(
            told(&refused).2,
            format!("share_basis_points is {share}, it must be 0 to 10000")
        );
    }
    let stable = channels(&mut client).await[0].stable.clone().unwrap();
    let delete = |digest: &str| DeletePluginRequest {
        name: format!("plugins/{digest}"),
        reason: String::new(),
    };
    let refused = client
        .delete_plugin(delete(&stable.digest))
        .await
        .unwrap_err();
    assert_eq!(told(&refused).1, "PLUGIN_IN_USE");
    let refused = client
        .delete_plugin(delete(&"0".repeat(64)))
        .await
        .unwrap_err();
    assert_eq!(told(&refused).0, Code::NotFound);
    let listed = client.list_plugins(ListPluginsRequest::default()).await;
    let spare = listed.unwrap().into_inner().plugins[1].clone();
    let gone = client.delete_plugin(delete(&spare.digest)).await.unwrap();
    assert_eq!(gone.into_inner().version, "2.0.0");
}

#[tokio::test]
async fn a_component_is_imported_by_its_reference() {
    let served = Served::answering("yes").await;
    let mut client = client(&served);
    let import = |reference: &str| ImportPluginRequest {
        reference: reference.to_owned(),
        rollout: None,
    };
    let taken = client
        .import_plugin(import(" r/vote@sha256:1 "))
        .await
        .unwrap();
    let plugin = taken.into_inner().plugin.unwrap();
    assert_eq!(plugin.origin(), Origin::Oci);
    assert_eq!(plugin.oci_reference, "r/vote@sha256:1");
    for (reference, code) in [
        ("", Code::InvalidArgument),
        ("r/none", Code::NotFound),
        ("r/other", Code::InvalidArgument),
    ] {
        let refused = client.import_plugin(import(reference)).await.unwrap_err();
        assert_eq!(refused.code(), code, "{reference}");
    }
}

#[tokio::test]
async fn what_runs_is_told_with_its_deliberations() {
    let served = Served::hanging().await;
    let mut deliberations = native::client(&served);
    let name = native::created(&mut deliberations).await;
    let mut client = client(&served);
    let asked = ListPluginUseRequest::default();
    let uses = client.list_plugin_use(asked.clone()).await.unwrap();
    let uses = uses.into_inner().uses;
    let kinds: Vec<_> = uses.iter().map(|one| one.kind()).collect();
    assert_eq!(kinds, [Kind::Strategy, Kind::Scorer]);
    for one in &uses {
        assert_eq!(
            (one.plugin_name.as_str(), one.deliberation_count),
            ("scripted", 1)
        );
        assert_eq!(one.deliberations, [name.as_str()]);
    }
    let other = ListPluginUseRequest {
        plugin_name: "vote".to_owned(),
    };
    assert!(
        client
            .list_plugin_use(other)
            .await
            .unwrap()
            .into_inner()
            .uses
            .is_empty()
    );
    let cancel = crate::grpc::pb::conclave::v1::CancelDeliberationRequest {
        name,
        reason: String::new(),
    };
    deliberations.cancel_deliberation(cancel).await.unwrap();
    // It is let go of a moment after its end is told.
    loop {
        let left = client.list_plugin_use(asked.clone()).await.unwrap();
        if left.into_inner().uses.is_empty() {
            break;
        }
        super::soon().await;
    }
}
