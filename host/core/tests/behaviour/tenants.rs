//! Whose a deliberation is: to everybody else it does not exist.

use std::sync::Arc;

use conclave_core::follow;
use conclave_core::ids::{DeliberationId, Seq, Tenant};
use conclave_core::journal;
use conclave_core::submit::{Receipt, Submission};
use conclave_core::testkit::host::{Host, draft};
use conclave_core::testkit::inference::{Script, ScriptedInference};
use conclave_core::testkit::runtime::ScriptedRuntime;

use crate::support::{ask_once, host};

async fn hanging() -> Host {
    let inference = Arc::new(ScriptedInference::new(|_, _| Script::hang()));
    host(&inference, ScriptedRuntime::new(ask_once)).await
}

async fn submit(host: &Host, tenant: &Tenant, key: &str) -> Receipt {
    let submission = Submission {
        draft: draft(),
        idempotency: Some(("create", key.to_owned())),
        tenant: tenant.clone(),
        ..Submission::default()
    };
    host.submit.submit(submission).await.expect("it is sound")
}

fn is_unknown<T>(result: Result<T, follow::Error>, id: &DeliberationId) -> bool {
    matches!(result, Err(follow::Error::Journal(journal::Error::NotFound(of))) if of == *id)
}

#[tokio::test(start_paused = true)]
async fn another_tenants_deliberation_is_an_unknown_id() {
    let host = hanging().await;
    let (own, other) = (Tenant::new("a"), Tenant::new("b"));
    let id = submit(&host, &own, "k").await.id;
    for stranger in [other, Tenant::default()] {
        let follow = host.follow.of(&stranger);
        assert!(is_unknown(follow.get(&id).await, &id));
        assert!(is_unknown(follow.wait(&id).await, &id));
        assert!(is_unknown(follow.watch(&id, Seq::START).await, &id));
        assert!(is_unknown(follow.has_reached(&id, Seq(1)).await, &id));
        assert!(is_unknown(follow.has_reached(&id, Seq(99)).await, &id));
        assert!(is_unknown(
            follow.cancel(&id, "theirs".to_owned()).await,
            &id
        ));
        assert!(follow.accepted(&id).is_none());
        assert!(follow.active().is_empty());
        let records = host.accounts.records(&stranger, &id).await;
        assert!(is_unknown(records.map_err(Into::into), &id));
    }
    let records = host.accounts.records(&own, &id).await;
    assert!(!records.expect("it is known").is_empty());
    let follow = host.follow.of(&own);
    assert_eq!(follow.active().len(), 1, "nobody cancelled it");
    assert!(follow.accepted(&id).is_some());
    assert!(!follow.get(&id).await.expect("it is known").is_finished());
    let cancelled = follow.cancel(&id, "mine".to_owned()).await;
    assert!(cancelled.expect("it is cancelled").is_finished());
    // What has ended is read from the journal alone.
    assert!(is_unknown(host.follow.get(&id).await, &id));
    assert!(is_unknown(host.follow.wait(&id).await, &id));
    assert!(follow.get(&id).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_key_is_unique_for_its_tenant() {
    let host = hanging().await;
    let (a, b) = (Tenant::new("a"), Tenant::new("b"));
    let first = submit(&host, &a, "k").await;
    let again = submit(&host, &a, "k").await;
    assert_eq!((again.id, again.repeated), (first.id.clone(), true));
    for other in [b, Tenant::default()] {
        let theirs = submit(&host, &other, "k").await;
        assert!(!theirs.repeated);
        assert_ne!(theirs.id, first.id);
    }
}
