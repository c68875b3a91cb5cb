//! Both `RayExecutorService` packages as their clients see them.

use std::collections::HashMap;

use tonic::{Code, Request};

use super::{Served, soon, told};
use crate::grpc::pb::fleet::ray_executor::v1 as fleet;
use crate::grpc::pb::fleet::ray_executor::v1::ray_executor_service_client::RayExecutorServiceClient as FleetClient;
use crate::grpc::pb::ray_executor::v1 as documented;
use crate::grpc::pb::ray_executor::v1::ray_executor_service_client::RayExecutorServiceClient as Client;
use crate::grpc::pb::ray_executor::v1::{Agent, ExecuteDeliberationRequest, TaskConstraints};

const URL: &str = "http://127.0.0.1:8000/v1";

fn request() -> ExecuteDeliberationRequest {
    let agent = |id: &str| Agent {
        id: id.to_owned(),
        role: "DEV".to_owned(),
        model: "m".to_owned(),
        prompt_template: String::new(),
    };
    ExecuteDeliberationRequest {
        task_id: "t-1".to_owned(),
        task_description: "Is 7 prime?".to_owned(),
        role: "DEV".to_owned(),
        constraints: Some(TaskConstraints {
            story_id: "s-1".to_owned(),
            ..TaskConstraints::default()
        }),
        agents: vec![agent("a"), agent("b")],
        vllm_url: URL.to_owned(),
        vllm_model: "m".to_owned(),
    }
}

async fn polled(
    client: &mut Client<tonic::transport::Channel>,
    id: &str,
) -> documented::GetDeliberationStatusResponse {
    loop {
        let request = documented::GetDeliberationStatusRequest {
            deliberation_id: id.to_owned(),
        };
        let answer = client
            .get_deliberation_status(request)
            .await
            .unwrap()
            .into_inner();
        if answer.status != "running" {
            return answer;
        }
        soon().await;
    }
}

#[tokio::test]
async fn a_submit_is_polled_to_its_result_and_counted_once() {
    let served = Served::answering("yes").await;
    let mut client = Client::new(served.channel.clone());
    let submitted = client
        .execute_deliberation(request())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(submitted.status, "submitted");
    assert_eq!(submitted.message, "Deliberation submitted to Ray cluster");
    assert!(submitted.deliberation_id.starts_with("deliberation-"));
    let answer = polled(&mut client, &submitted.deliberation_id).await;
    assert_eq!(
        (answer.status.as_str(), answer.error_message.as_str()),
        ("completed", "")
    );
    let result = answer.result.unwrap();
    assert_eq!((result.proposal.as_str(), result.score), ("yes", 0.5));
    assert_eq!(result.metadata["total_agents"], "2");
    assert_eq!(result.metadata["strategy"], "scripted@1.0.0");
    for _ in 0..3 {
        polled(&mut client, &submitted.deliberation_id).await;
    }
    let stats = documented::GetStatusRequest {
        include_stats: true,
    };
    let status = client.get_status(stats).await.unwrap().into_inner();
    let stats = status.stats.unwrap();
    assert_eq!(
        (
            status.status.as_str(),
            stats.completed_deliberations,
            stats.active_deliberations
        ),
        ("healthy", 1, 0)
    );
    let quiet = client
        .get_status(documented::GetStatusRequest::default())
        .await
        .unwrap();
    assert_eq!(quiet.into_inner().stats, None);
}

#[tokio::test]
async fn an_unknown_id_is_not_found_without_an_error() {
    let served = Served::answering("yes").await;
    let mut client = Client::new(served.channel.clone());
    for id in ["deliberation-none", ""] {
        assert_eq!(polled(&mut client, id).await.status, "not_found");
    }
}

#[tokio::test]
async fn a_refused_submit_says_why_and_records_nothing() {
    let served = Served::answering("yes").await;
    let mut client = Client::new(served.channel.clone());
    type Change = fn(&mut ExecuteDeliberationRequest);
    let cases: [(Change, Code, &str); 7] = [
        (
            |r| r.task_id.clear(),
            Code::InvalidArgument,
            "task_id cannot be empty",
        ),
        (
            |r| r.vllm_url = "ftp://h".to_owned(),
            Code::InvalidArgument,
            "vllm_url: `ftp://h` must be an http or https URL with a host",
        ),
        (
            |r| r.vllm_url = "http://169.254.169.254".to_owned(),
            Code::PermissionDenied,
            "the endpoint `http://169.254.169.254` is not allowed on this host; its operator can add the origin to `inference.allowed_endpoints`",
        ),
        (
            |r| r.constraints.get_or_insert_default().timeout_seconds = 1801,
            Code::InvalidArgument,
            "constraints.timeout_seconds: is 1801 s, it must be above 0 and at most 1800 s",
        ),
        (
            |r| {
                r.constraints.get_or_insert_default().metadata =
                    HashMap::from([("strategy".to_owned(), "scriptd".to_owned())]);
            },
            Code::InvalidArgument,
            "no strategy `scriptd` is loaded; did you mean `scripted`?",
        ),
        (
            |r| {
                let params = ("strategy_params".to_owned(), r#"{"count": 0}"#.to_owned());
                r.constraints.get_or_insert_default().metadata = HashMap::from([params]);
            },
            Code::InvalidArgument,
            "constraints.metadata[strategy_params]/count: 0 is less than the minimum of 1",
        ),
        (
            |r| r.agents[1].id = "a".to_owned(),
            Code::InvalidArgument,
            "agents[1].id: `a` stands twice, ids must be unique",
        ),
    ];
    for (change, code, message) in cases {
        let mut request = request();
        change(&mut request);
        let status = client.execute_deliberation(request).await.unwrap_err();
        let (has_code, _, has_message) = told(&status);
        assert_eq!((has_code, has_message.as_str()), (code, message));
    }
    assert_eq!(served.journal.stored(), 0);
}

#[tokio::test]
async fn a_key_is_one_deliberation_in_its_method() {
    let served = Served::answering("yes").await;
    let mut client = Client::new(served.channel.clone());
    let keyed = |change: fn(&mut ExecuteDeliberationRequest)| {
        let mut body = request();
        change(&mut body);
        let mut request = Request::new(body);
        request
            .metadata_mut()
            .insert("idempotency-key", "k-1".parse().unwrap());
        request
    };
    let first = client
        .execute_deliberation(keyed(|_| ()))
        .await
        .unwrap()
        .into_inner();
    let again = client
        .execute_deliberation(keyed(|_| ()))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first, again);
    let status = client
        .execute_deliberation(keyed(|r| r.role = "QA".to_owned()))
        .await
        .unwrap_err();
    let (code, reason, message) = told(&status);
    assert_eq!(
        (code, reason.as_str()),
        (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED")
    );
    assert!(
        message.ends_with("whose request differs in: role"),
        "{message}"
    );
    let mut fleet = FleetClient::new(served.channel.clone());
    let other = fleet
        .execute_deliberation(keyed(|_| ()))
        .await
        .unwrap()
        .into_inner();
    assert_ne!(other.deliberation_id, first.deliberation_id);
    let mut wrong = Request::new(request());
    wrong
        .metadata_mut()
        .insert("idempotency-key", "k".repeat(129).parse().unwrap());
    let status = client.execute_deliberation(wrong).await.unwrap_err();
    assert_eq!(
        told(&status).2,
        "idempotency-key must have 1 to 128 printable characters"
    );
}

#[tokio::test]
async fn the_deployed_package_answers_in_its_own_shape() {
    let served = Served::answering("yes").await;
    let mut client = FleetClient::new(served.channel.clone());
    let submitted = client
        .execute_deliberation(request())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (submitted.task_id.as_str(), submitted.status.as_str()),
        ("t-1", "submitted")
    );
    let mut model = request();
    model.agents[0].model.clear();
    let status = client
        .execute_deliberation(model.clone())
        .await
        .unwrap_err();
    assert_eq!(told(&status).2, "model cannot be empty");
    assert!(
        Client::new(served.channel.clone())
            .execute_deliberation(model)
            .await
            .is_ok()
    );
    let status = client
        .get_status(documented::GetStatusRequest {
            include_stats: true,
        })
        .await
        .unwrap();
    assert_eq!(status.into_inner().stats.unwrap().total_deliberations, 2);
}

#[tokio::test]
async fn a_backlog_review_needs_its_id_and_its_story() {
    let served = Served::answering("yes").await;
    let mut client = FleetClient::new(served.channel.clone());
    let review = |task_id: &str, story_id: &str| {
        let plain = request();
        fleet::ExecuteBacklogReviewDeliberationRequest {
            task_id: task_id.to_owned(),
            task_description: plain.task_description,
            role: plain.role,
            constraints: Some(fleet::BacklogReviewTaskConstraints {
                story_id: story_id.to_owned(),
                ..fleet::BacklogReviewTaskConstraints::default()
            }),
            agents: plain.agents,
            vllm_url: plain.vllm_url,
            vllm_model: plain.vllm_model,
        }
    };
    let id = "ceremony-1:story-2:role-QA";
    let submitted = client
        .execute_backlog_review_deliberation(review(id, "2"))
        .await
        .unwrap();
    assert_eq!(submitted.into_inner().task_id, id);
    for (task_id, story_id, message) in [
        ("", "2", "task_id is MISSING"),
        ("t-1", "2", "Invalid task_id format"),
        (id, "", "story_id cannot be empty"),
    ] {
        let status = client
            .execute_backlog_review_deliberation(review(task_id, story_id))
            .await
            .unwrap_err();
        assert_eq!(told(&status).2, message);
    }
}

#[tokio::test]
async fn a_running_deliberation_is_an_active_job_and_a_cancelled_one_has_failed() {
    let served = Served::hanging().await;
    let mut client = Client::new(served.channel.clone());
    let id = client
        .execute_deliberation(request())
        .await
        .unwrap()
        .into_inner()
        .deliberation_id;
    let job = loop {
        let jobs = client
            .get_active_jobs(documented::GetActiveJobsRequest {})
            .await
            .unwrap()
            .into_inner()
            .jobs;
        assert_eq!(jobs.len(), 1);
        if jobs[0].status == "RUNNING" {
            break jobs[0].clone();
        }
        assert_eq!(jobs[0].status, "PENDING");
        soon().await;
    };
    assert_eq!(
        (
            job.submission_id.as_str(),
            job.task_id.as_str(),
            job.role.as_str()
        ),
        (id.as_str(), "t-1", "DEV")
    );
    assert_eq!(job.name, format!("vllm-agent-job-{id}"));
    assert!(job.runtime.starts_with("0m ") && job.start_time.is_some() && job.end_time.is_none());
    let mut native = super::native::client(&served);
    let request = crate::grpc::pb::conclave::v1::CancelDeliberationRequest {
        name: format!("deliberations/{id}"),
        reason: "too late".to_owned(),
    };
    native.cancel_deliberation(request).await.unwrap();
    let answer = polled(&mut client, &id).await;
    assert_eq!(
        (answer.status.as_str(), answer.error_message.as_str()),
        ("failed", "cancelled: too late")
    );
    let jobs = client
        .get_active_jobs(documented::GetActiveJobsRequest {})
        .await
        .unwrap();
    assert!(jobs.into_inner().jobs.is_empty());
}

#[tokio::test]
async fn a_host_that_is_not_ready_accepts_nothing_and_says_so() {
    let served = Served::answering("yes").await;
    served.readiness.set(false).await;
    let mut client = Client::new(served.channel.clone());
    let status = client.execute_deliberation(request()).await.unwrap_err();
    let (code, reason, _) = told(&status);
    assert_eq!(
        (code, reason.as_str()),
        (Code::Unavailable, "HOST_NOT_READY")
    );
    let mut invalid = request();
    invalid.role.clear();
    assert_eq!(
        client
            .execute_deliberation(invalid)
            .await
            .unwrap_err()
            .code(),
        Code::InvalidArgument
    );
    let status = client
        .get_status(documented::GetStatusRequest::default())
        .await
        .unwrap();
    assert_eq!(status.into_inner().status, "unhealthy");
}
