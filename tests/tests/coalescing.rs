//! Generations that differ in nothing but chance are one request to a model server that can answer it
//! several times.

use conclave_tests::client::pb::deliberation::State;
use conclave_tests::client::{Client, answers, failure, pb};
use conclave_tests::draft::{Change as _, draft, vote};
use conclave_tests::host::{Host, Setup};
use conclave_tests::stub_server::{self, Recorded, StubServer};
use serde_json::json;

/// The model that all agents are asked with.
const MODEL: &str = "voters";

/// Words of the prompt that each agent gets: `You answer as DEV.` and `Is 7 prime?`.
const PROMPT_TOKENS: i64 = 7;

/// A stub that serves the model with this behaviour, and a host that asks it for up to eight answers at
/// once.
async fn serving(behaviour: &str) -> (StubServer, Host, Client) {
    let stub = StubServer::start().await.expect("there is a free port");
    let behaviour = behaviour.parse().expect("it is a behaviour");
    stub.script(MODEL, vec![behaviour]);
    let setup = Setup::bare().expect("there is a place for data");
    let file = setup.data_dir().join("models.toml");
    let url = stub.url();
    let models = format!("[models.{MODEL}]\nendpoints = [\"{url}\"]\nchoices_max = 8\n");
    std::fs::write(&file, models).expect("the data directory is writable");
    let setup = setup.arg("--config").arg(file.display().to_string());
    let host = setup.start().await.expect("the host starts");
    let client = host.client().await.expect("the host serves");
    (stub, host, client)
}

/// With the model in place of the one of the draft, which this host does not serve.
fn served(deliberation: pb::Deliberation) -> pb::Deliberation {
    deliberation.task(|task| task.model = MODEL.to_owned())
}

/// The value of a counter.
async fn counted(host: &Host, name: &str) -> f64 {
    let page = host.page("/metrics", "*/*").await;
    let (_, page) = page.expect("the host exposes metrics");
    let mut values = page
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    values
        .next()
        .unwrap_or_else(|| unreachable!("no `{name}` in\n{page}"))
}

/// How many answers each request asks for.
fn asked(stub: &StubServer) -> Vec<Option<u32>> {
    stub.requests().iter().map(|request| request.n).collect()
}

#[tokio::test]
async fn agents_with_one_prompt_are_one_request_and_each_has_its_answer_and_usage() {
    let (stub, host, client) = serving("cycle:yes,yes it is,no,yes,no it is not").await;
    let done = client.run(served(vote(&[MODEL; 5]))).await.unwrap();

    assert_eq!((failure(&done), done.state()), (("", ""), State::Completed));
    let mut said = answers(&done);
    said.sort_unstable();
    assert_eq!(said, ["no", "no it is not", "yes", "yes", "yes it is"]);
    let usage = done.usage.unwrap();
    assert_eq!(
        (
            usage.generations,
            usage.generations_completed,
            usage.generations_cancelled
        ),
        (5, 5, 0)
    );
    assert_eq!(
        (
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.wasted_tokens
        ),
        (5 * PROMPT_TOKENS, 10, 0)
    );

    assert_eq!(asked(&stub), [Some(5)]);
    stub.until(|requests| requests[0].state == stub_server::State::Completed)
        .await;
    assert_eq!(stub.requests()[0].tokens_sent, 10);
    assert_eq!(counted(&host, "conclave_requests_saved_total").await, 4.0);
    let saved = counted(&host, "conclave_prompt_tokens_saved_total").await;
    assert_eq!(saved, (4 * PROMPT_TOKENS) as f64);
}

#[tokio::test]
async fn a_vote_that_is_decided_early_closes_the_request_of_all() {
    // Two of the answers are never whole.
    let behaviour = "hang-after:1:cycle:7,7,7,it is long,it is long";
    let (stub, host, client) = serving(behaviour).await;
    let early = draft(&[MODEL; 5])
        .strategy("sample-vote", json!({"stop": {"rule": "first-m", "m": 3}}))
        .scorer("agreement", json!({}));
    let done = client.run(served(early)).await.unwrap();

    assert_eq!((failure(&done), done.state()), (("", ""), State::Completed));
    assert_eq!(answers(&done), ["7"; 3]);
    assert!(done.outcome.clone().unwrap().stopped_early, "{done:?}");
    stub.until(|requests| requests[0].state == stub_server::State::Aborted)
        .await;
    assert_eq!(asked(&stub), [Some(5)]);
    let usage = done.usage.unwrap();
    assert_eq!(
        (
            usage.generations,
            usage.generations_completed,
            usage.generations_cancelled
        ),
        (5, 3, 2)
    );
    assert_eq!(
        (usage.prompt_tokens, usage.completion_tokens),
        (3 * PROMPT_TOKENS, 3)
    );
    // What came of the other two.
    assert!(usage.wasted_tokens <= 2, "{usage:?}");
    assert_eq!(counted(&host, "conclave_requests_saved_total").await, 4.0);
}

#[tokio::test]
async fn agents_with_other_prompts_are_other_requests() {
    let (stub, host, client) = serving("echo").await;
    let mixed = served(vote(&[MODEL; 5])).task(|task| {
        for agent in &mut task.agents[..2] {
            agent.prompt_template = "Think of {{ task }}".to_owned();
        }
        task.agents[4].prompt_template = "{{ agent }}: {{ task }}".to_owned();
    });
    let done = client.run(mixed).await.unwrap();

    let mut said = answers(&done);
    said.sort_unstable();
    let expected = [
        "Is 7 prime?",
        "Is 7 prime?",
        "Think of Is 7 prime?",
        "Think of Is 7 prime?",
        "e: Is 7 prime?",
    ];
    assert_eq!(said, expected);
    let of = |request: &Recorded| (request.last_user_message.clone(), request.n);
    let mut requests: Vec<_> = stub.requests().iter().map(of).collect();
    requests.sort_unstable();
    let expected = [
        ("Is 7 prime?", Some(2)),
        ("Think of Is 7 prime?", Some(2)),
        ("e: Is 7 prime?", None),
    ];
    assert_eq!(requests, expected.map(|(prompt, n)| (prompt.to_owned(), n)));
    assert_eq!(counted(&host, "conclave_requests_saved_total").await, 2.0);
}

#[tokio::test]
async fn samples_of_each_prompt_have_seeds_that_follow_one_another() {
    let (stub, host, client) = serving("echo").await;
    let params = json!({"samples": 6, "stop": {"rule": "none"}});
    let mixed = served(vote(&[MODEL; 2]).strategy("sample-vote", params));
    let mixed = mixed.task(|task| {
        task.agents[1].prompt_template = "Think of {{ task }}".to_owned();
    });
    let done = client.run(mixed).await.unwrap();
    assert_eq!((failure(&done), done.state()), (("", ""), State::Completed));
    assert_eq!(asked(&stub), [Some(3); 2]);
    assert_eq!(counted(&host, "conclave_requests_saved_total").await, 4.0);
}

#[tokio::test]
async fn first_answers_of_a_critique_are_one_request() {
    let (stub, _host, client) = serving("echo").await;
    let params = json!({"rounds": 1});
    let critique = vote(&[MODEL; 3]).strategy("critique-revise", params);
    let done = client.run(served(critique)).await.unwrap();
    assert_eq!((failure(&done), done.state()), (("", ""), State::Completed));
    assert_eq!(asked(&stub)[0], Some(3));
}

#[tokio::test]
async fn greedy_answers_are_asked_for_alone() {
    let (stub, host, client) = serving("answer:7").await;
    let greedy = vote(&[MODEL; 5]).strategy(
        "sample-vote",
        json!({"stop": {"rule": "none"}, "temperature": 0.0}),
    );
    let done = client.run(served(greedy)).await.unwrap();
    assert_eq!(answers(&done), ["7"; 5]);
    assert_eq!(asked(&stub), [None; 5]);
    assert_eq!(counted(&host, "conclave_requests_saved_total").await, 0.0);
}

#[tokio::test]
async fn a_server_that_refuses_several_answers_is_asked_for_each_alone() {
    let (stub, host, client) = serving("single:cycle:a,b,c,d,e").await;
    let done = client.run(served(vote(&[MODEL; 5]))).await.unwrap();

    assert_eq!((failure(&done), done.state()), (("", ""), State::Completed));
    let mut said = answers(&done);
    said.sort_unstable();
    assert_eq!(said, ["a", "b", "c", "d", "e"]);
    let mut alone = stub.requests();
    let first = alone.remove(0);
    assert_eq!((first.n, first.status), (Some(5), 400));
    assert_eq!(alone.len(), 5);
    assert!(
        alone
            .iter()
            .all(|request| request.n.is_none() && request.status == 200),
        "{alone:?}"
    );
    // Each with the seed that it was journaled with.
    let mut seeds: Vec<_> = alone.iter().map(|request| request.seed.unwrap()).collect();
    seeds.sort_unstable();
    let drawn = first.seed.unwrap();
    assert_eq!(seeds, (drawn..drawn + 5).collect::<Vec<_>>());
    host.logged(&["each is asked for alone", "choices_max"])
        .await
        .unwrap();
    assert_eq!(counted(&host, "conclave_requests_saved_total").await, 0.0);
}
