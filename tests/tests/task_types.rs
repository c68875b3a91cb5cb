//! The task types of existing clients, through the contract that they speak, from submit to poll.

use std::collections::HashMap;
use std::time::Duration;

use conclave_tests::client::fleet::ray_executor_service_client::RayExecutorServiceClient;
use conclave_tests::client::fleet::{
    Agent, BacklogReviewTaskConstraints, ExecuteBacklogReviewDeliberationRequest,
    ExecuteDeliberationRequest, GetDeliberationStatusRequest, GetDeliberationStatusResponse,
    TaskConstraints,
};
use conclave_tests::host::{Host, Setup};
use conclave_tests::patience::within;
use conclave_tests::stub_server::{Recorded, StubServer};
use serde_json::{Value, json};
use tonic::transport::Channel;

/// Between two polls, as a client of these contracts waits.
const POLL_EVERY: Duration = Duration::from_millis(20);
const EXTRACT: &str = "Two deliberations: retry failed calls, and document them.";

fn valid() -> Value {
    json!({"tasks": [
        {"title": "Retry", "description": "Retry failed calls.", "estimated_hours": 8,
         "deliberation_indices": [0], "priority": 1},
        {"title": "Document", "description": "Document the retries.", "estimated_hours": 2,
         "deliberation_indices": [0, 1], "priority": 4},
    ]})
}

/// The same as RFC 8785 writes it.
const CANONICAL: &str = r#"{"tasks":[{"deliberation_indices":[0],"description":"Retry failed calls.","estimated_hours":8,"priority":1,"title":"Retry"},{"deliberation_indices":[0,1],"description":"Document the retries.","estimated_hours":2,"priority":4,"title":"Document"}]}"#;

/// A host that lets requests name the stub, and a client of it.
async fn started(stub: &StubServer, settings: &[(&str, &str)]) -> (Host, Client) {
    let setup = Setup::asking(stub).expect("there is a place for data");
    let setup = setup.set("inference.allowed_endpoints", &stub.url());
    let setup = settings
        .iter()
        .fold(setup, |setup, (key, value)| setup.set(key, value));
    let host = setup.start().await.expect("the host starts");
    let addr = format!("http://{}", host.grpc_addr());
    let channel = RayExecutorServiceClient::connect(addr).await;
    let client = Client(channel.expect("it listens"));
    (host, client)
}

struct Client(RayExecutorServiceClient<Channel>);

impl Client {
    async fn execute(&mut self, request: ExecuteDeliberationRequest) -> String {
        let answer = self.0.execute_deliberation(request).await;
        let answer = answer.expect("it is accepted").into_inner();
        assert_eq!(answer.status, "submitted");
        answer.deliberation_id
    }

    /// Polls until it has ended.
    async fn ended(&mut self, id: &str) -> GetDeliberationStatusResponse {
        let polling = async {
            loop {
                let request = GetDeliberationStatusRequest {
                    deliberation_id: id.to_owned(),
                };
                let answer = self.0.get_deliberation_status(request).await;
                let answer = answer.expect("it is answered").into_inner();
                if answer.status != "running" {
                    return answer;
                }
                tokio::time::sleep(POLL_EVERY).await;
            }
        };
        within("the end of a deliberation", polling)
            .await
            .expect("it ends")
    }

    async fn run(&mut self, request: ExecuteDeliberationRequest) -> GetDeliberationStatusResponse {
        let id = self.execute(request).await;
        self.ended(&id).await
    }
}

fn agents(models: &[&str]) -> Vec<Agent> {
    let numbered = models.iter().enumerate().map(|(at, model)| Agent {
        id: format!("agent-{}", at + 1),
        role: "DEV".to_owned(),
        model: (*model).to_owned(),
        prompt_template: String::new(),
    });
    numbered.collect()
}

/// A task extraction, as its id says.
fn extraction(stub: &StubServer, models: &[&str]) -> ExecuteDeliberationRequest {
    ExecuteDeliberationRequest {
        task_id: "ceremony-BRC-1:story-ST-4:task-extraction".to_owned(),
        task_description: EXTRACT.to_owned(),
        role: "PLANNER".to_owned(),
        constraints: Some(TaskConstraints {
            story_id: "ST-4".to_owned(),
            ..TaskConstraints::default()
        }),
        agents: agents(models),
        vllm_url: stub.url(),
        vllm_model: "any".to_owned(),
    }
}

fn script(stub: &StubServer, model: &str, answers: &[&str]) {
    let behaviours = answers
        .iter()
        .map(|answer| format!("answer:{answer}").parse().expect("it is an answer"));
    stub.script(model, behaviours.collect());
}

fn of_model<'a>(requests: &'a [Recorded], model: &str) -> Vec<&'a Recorded> {
    let own = requests.iter().filter(|request| request.model == model);
    own.collect()
}

#[tokio::test]
async fn a_task_extraction_asks_for_json_by_schema_at_temperature_0_and_answers_it_canonically() {
    let stub = StubServer::start().await.unwrap();
    let fenced = format!("```json\n{}\n```", valid());
    script(&stub, "extractor", &[&fenced]);
    let (_host, mut client) = started(&stub, &[]).await;
    let done = client.run(extraction(&stub, &["extractor"])).await;
    assert_eq!(
        (done.status.as_str(), done.error_message.as_str()),
        ("completed", "")
    );
    let result = done.result.unwrap();
    assert_eq!(
        (result.agent_id.as_str(), result.proposal.as_str()),
        ("agent-1", CANONICAL)
    );
    assert!(
        result.metadata["strategy"].starts_with("task-extraction@"),
        "{result:?}"
    );
    assert!(
        result.metadata["scorer"].starts_with("agreement@"),
        "{result:?}"
    );

    let requests = stub.requests();
    assert_eq!((requests.len(), requests[0].temperature), (1, Some(0.0)));
    assert_eq!(requests[0].last_user_message, EXTRACT);
    let schema = requests[0].json_schema.clone().unwrap();
    let task = &schema["properties"]["tasks"]["items"]["properties"];
    assert_eq!(
        task["estimated_hours"],
        json!({"type": "integer", "minimum": 1, "maximum": 200})
    );
    assert_eq!(task["priority"]["maximum"], 5);
}

#[tokio::test]
async fn an_invalid_extraction_is_asked_for_again_with_its_violations() {
    let stub = StubServer::start().await.unwrap();
    let mut wrong = valid();
    wrong["tasks"][1]["estimated_hours"] = json!(500);
    script(
        &stub,
        "extractor",
        &[
            "Here are the tasks!",
            &wrong.to_string(),
            &valid().to_string(),
        ],
    );
    let (_host, mut client) = started(&stub, &[]).await;
    // By the metadata this time.
    let mut request = extraction(&stub, &["extractor"]);
    request.task_id = "t-7".to_owned();
    let constraints = request.constraints.get_or_insert_default();
    let task_type = ("task_type".to_owned(), "TASK_EXTRACTION".to_owned());
    constraints.metadata = HashMap::from([task_type]);
    let done = client.run(request).await;
    assert_eq!(done.result.unwrap().proposal, CANONICAL);

    let requests = stub.requests();
    let asked: Vec<_> = requests
        .iter()
        .map(|one| one.last_user_message.as_str())
        .collect();
    assert_eq!((asked.len(), asked[0]), (3, EXTRACT));
    assert!(
        asked[1].contains("the answer is not one JSON object alone"),
        "{asked:?}"
    );
    assert!(
        asked[2]
            .contains("tasks[1].estimated_hours is 500, it must be a whole number from 1 to 200"),
        "{asked:?}"
    );
    let strict = |one: &Recorded| one.temperature == Some(0.0) && one.json_schema.is_some();
    assert!(requests.iter().all(strict), "{requests:?}");
}

#[tokio::test]
async fn an_extraction_that_is_never_valid_fails_with_the_last_violations() {
    let stub = StubServer::start().await.unwrap();
    script(&stub, "liar", &["{\"tasks\": []}"]);
    let (_host, mut client) = started(&stub, &[]).await;
    let mut request = extraction(&stub, &["liar", "status:400"]);
    let params = (
        "strategy_params".to_owned(),
        r#"{"asks_max": 2}"#.to_owned(),
    );
    request.constraints.get_or_insert_default().metadata = HashMap::from([params]);
    let done = client.run(request).await;
    assert_eq!((done.status.as_str(), done.result), ("failed", None));
    for part in [
        "agent `agent-1`: asked 2 times: tasks is empty, there must be at least one task",
        "agent `agent-2`: rejected",
    ] {
        assert!(
            done.error_message.contains(part),
            "{part}: {}",
            done.error_message
        );
    }
    assert_eq!(of_model(&stub.requests(), "liar").len(), 2);
}

#[tokio::test]
async fn agents_are_fallbacks_and_equal_answers_outvote_another() {
    let stub = StubServer::start().await.unwrap();
    let mut other = valid();
    other["tasks"][0]["priority"] = json!(5);
    script(&stub, "other", &[&other.to_string()]);
    script(&stub, "one", &[&valid().to_string()]);
    script(&stub, "two", &["no", &valid().to_string()]);
    let (_host, mut client) = started(&stub, &[]).await;
    let done = client
        .run(extraction(&stub, &["status:400", "other", "one", "two"]))
        .await;
    let result = done.result.unwrap();
    assert_eq!(
        (result.agent_id.as_str(), result.proposal.as_str()),
        ("agent-3", CANONICAL)
    );
    assert_eq!(result.metadata["completed_agents"], "3");
    assert!((result.score - 2.0 / 3.0).abs() < 1e-6, "{result:?}");
}

#[tokio::test]
async fn a_backlog_review_keeps_the_default_strategy() {
    let stub = StubServer::start().await.unwrap();
    let (_host, mut client) = started(&stub, &[]).await;
    let request = ExecuteBacklogReviewDeliberationRequest {
        task_id: "ceremony-BRC-1:story-ST-4:role-ARCHITECT".to_owned(),
        task_description: "Review the story.".to_owned(),
        role: "ARCHITECT".to_owned(),
        constraints: Some(BacklogReviewTaskConstraints {
            story_id: "ST-4".to_owned(),
            timeout_seconds: 60,
            ..BacklogReviewTaskConstraints::default()
        }),
        agents: agents(&["answer:Split it.", "answer:Split it.", "answer:Keep it."]),
        vllm_url: stub.url(),
        vllm_model: "any".to_owned(),
    };
    let accepted = client.0.execute_backlog_review_deliberation(request).await;
    let accepted = accepted.unwrap().into_inner();
    assert_eq!(accepted.status, "submitted");
    assert_eq!(accepted.task_id, "ceremony-BRC-1:story-ST-4:role-ARCHITECT");
    let done = client.ended(&accepted.deliberation_id).await;
    assert_eq!(done.status, "completed", "{done:?}");
    let result = done.result.unwrap();
    assert_eq!(result.proposal, "Split it.");
    assert!(
        result.metadata["strategy"].starts_with("sample-vote@"),
        "{result:?}"
    );
    assert!(stub.requests().iter().all(|one| one.json_schema.is_none()));
}

#[tokio::test]
async fn the_operator_s_rules_replace_the_built_in_ones_and_the_request_s_choice_stays() {
    let stub = StubServer::start().await.unwrap();
    let rules =
        r#"[{role = "planner", strategy = "critique-revise", strategy_params = {rounds = 2}}]"#;
    let (_host, mut client) = started(&stub, &[("routing", rules)]).await;
    let done = client
        .run(extraction(&stub, &["answer:a", "answer:b"]))
        .await;
    let strategy = done.result.unwrap().metadata["strategy"].clone();
    assert!(strategy.starts_with("critique-revise@"), "{strategy}");
    // Two answers, and in each of two rounds a critique and a revision of each.
    assert_eq!(stub.requests().len(), 10);

    let mut request = extraction(&stub, &["answer:a"]);
    let own = ("strategy".to_owned(), "sample-vote".to_owned());
    request.constraints.get_or_insert_default().metadata = HashMap::from([own]);
    let done = client.run(request).await;
    let strategy = done.result.unwrap().metadata["strategy"].clone();
    assert!(strategy.starts_with("sample-vote@"), "{strategy}");
}

#[tokio::test]
async fn a_rule_whose_plugin_or_params_are_wrong_keeps_the_host_from_starting() {
    for (rules, told) in [
        (r#"[{strategy = "task-extractoin"}]"#, "routing[0].strategy"),
        (
            r#"[{role = "QA"}, {strategy = "task-extraction", strategy_params = {asks_max = 0}}]"#,
            "routing[1].strategy_params/asks_max",
        ),
        (r#"[{task_type = "REVIEW"}]"#, "unknown variant `REVIEW`"),
    ] {
        let setup = Setup::bare().unwrap().set("routing", rules);
        let (status, log) = setup.start_in_vain().await.unwrap();
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains(told), "{told}: {log}");
    }
}
