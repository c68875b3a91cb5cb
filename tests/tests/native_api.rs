//! The native API beside the calls of one deliberation: lists, records and plugins.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::collections::HashMap;
use std::sync::Arc;

use conclave_tests::client::pb::deliberations_client::DeliberationsClient;
use conclave_tests::client::pb::plugins_client::PluginsClient;
use conclave_tests::client::pb::records_client::RecordsClient;
use conclave_tests::client::pb::{self, DeliberationView};
use conclave_tests::client::{reason, violations};
use conclave_tests::draft::vote;
use conclave_tests::host::Host;
use conclave_tests::stub_server::StubServer;
use tonic::Code;
use tonic::transport::Channel;

async fn channel(host: &Host) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", host.grpc_addr()));
    endpoint.unwrap().connect().await.unwrap()
}

fn query(filter: &str, page_size: i32) -> pb::ListDeliberationsRequest {
    pb::ListDeliberationsRequest {
        filter: filter.to_owned(),
        page_size,
        ..pb::ListDeliberationsRequest::default()
    }
}

/// The ids of all pages.
async fn listed(
    client: &mut DeliberationsClient<Channel>,
    mut request: pb::ListDeliberationsRequest,
) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let page = client.list_deliberations(request.clone()).await.unwrap();
        let page = page.into_inner();
        ids.extend(page.deliberations.into_iter().map(|one| one.uid));
        if page.next_page_token.is_empty() {
            return ids;
        }
        request.page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn deliberations_are_listed_filtered_and_paged_while_new_ones_arrive() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let mut lists = DeliberationsClient::new(channel(&host).await);
    let mut ids = Vec::new();
    for number in 0..5 {
        let model = if number == 2 {
            "status:400"
        } else {
            "answer:yes"
        };
        let mut asked = vote(&[model]);
        asked.labels = HashMap::from([("number".to_owned(), number.to_string())]);
        asked.priority = Some(number);
        ids.push(client.run(asked).await.unwrap().uid);
    }
    ids.reverse();
    assert_eq!(listed(&mut lists, query("", 0)).await, ids);
    assert_eq!(listed(&mut lists, query("", 2)).await, ids);
    assert_eq!(
        listed(&mut lists, query("state = FAILED", 2)).await,
        ids[2..3]
    );
    let filter = "state = COMPLETED AND (labels.number = 0 OR priority >= 4)";
    let some = [ids[0].clone(), ids[4].clone()];
    assert_eq!(listed(&mut lists, query(filter, 1)).await, some);

    // A page that was begun goes on where it was.
    let first = lists
        .list_deliberations(query("", 2))
        .await
        .unwrap()
        .into_inner();
    let later = client.run(vote(&["answer:yes"])).await.unwrap().uid;
    let mut rest = query("", 2);
    rest.page_token.clone_from(&first.next_page_token);
    assert_eq!(listed(&mut lists, rest).await, ids[2..]);
    assert_eq!(listed(&mut lists, query("", 1)).await[0], later);

    let page = lists
        .list_deliberations(query("", 2))
        .await
        .unwrap()
        .into_inner();
    let basic = &page.deliberations[1];
    let task = basic.task.as_ref().unwrap();
    assert_eq!(
        (task.title.as_str(), task.description.as_str()),
        ("Is 7 prime?", "")
    );
    assert_eq!(
        (&basic.labels["number"][..], basic.priority),
        ("4", Some(4))
    );
    assert!(basic.usage.unwrap().completion_tokens > 0 && basic.end_time.is_some());
    let mut full = query("labels.number = 4", 2);
    full.set_view(DeliberationView::Full);
    let full = lists.list_deliberations(full).await.unwrap().into_inner();
    assert_eq!(full.deliberations[0], client.get(&ids[0]).await.unwrap());
}

#[tokio::test]
async fn a_list_that_cannot_be_says_which_field_is_wrong() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    for _ in 0..2 {
        client.run(vote(&["answer:yes"])).await.unwrap();
    }
    let mut lists = DeliberationsClient::new(channel(&host).await);
    let page = lists
        .list_deliberations(query("state = COMPLETED", 1))
        .await;
    let token = page.unwrap().into_inner().next_page_token;
    assert!(!token.is_empty());
    let with = |filter: &str, page_token: &str| pb::ListDeliberationsRequest {
        page_token: page_token.to_owned(),
        ..query(filter, 1)
    };
    let ordered = pb::ListDeliberationsRequest {
        order_by: "priority".to_owned(),
        ..query("", 1)
    };
    for (request, field, rule) in [
        (with("state = FAILED", &token), "page_token", "another list"),
        (
            with("state = COMPLETED", "nonsense"),
            "page_token",
            "not one that",
        ),
        (query("", -1), "page_size", "must not be negative"),
        (
            query("stat = FAILED", 1),
            "filter",
            "at character 1, `stat`: is no field; did you mean `state`?",
        ),
        (ordered, "order_by", "must be empty or `create_time desc`"),
    ] {
        let refused = lists.list_deliberations(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        let told = violations(&refused);
        assert!(told[field].contains(rule), "{told:?}");
    }
    assert_eq!(
        listed(&mut lists, with("state = COMPLETED", &token))
            .await
            .len(),
        1
    );
}

#[tokio::test]
async fn the_record_of_a_vote_is_its_generations_its_scores_and_its_usage() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let client = host.client().await.unwrap();
    let asked = vote(&["answer:yes", "answer:no", "status:400"]);
    let done = client.run(asked).await.unwrap();
    let channel = channel(&host).await;
    let mut records = RecordsClient::new(channel.clone());
    let mut names = Vec::new();
    let mut all = Vec::new();
    let mut request = pb::ListGenerationsRequest {
        parent: done.name.clone(),
        page_size: 2,
        page_token: String::new(),
    };
    loop {
        let page = records
            .list_generations(request.clone())
            .await
            .unwrap()
            .into_inner();
        names.extend(page.generations.iter().map(|one| one.name.clone()));
        all.extend(page.generations);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let expected: Vec<_> = (1..=3)
        .map(|job| format!("{}/generations/{job}", done.name))
        .collect();
    assert_eq!(names, expected);
    let mut states: Vec<_> = all.iter().map(|one| one.state().as_str_name()).collect();
    states.sort_unstable();
    assert_eq!(states, ["COMPLETED", "COMPLETED", "FAILED"]);
    for one in &all {
        assert_eq!((one.attempts, one.score_call), (1, 0));
        assert!(one.end_time.is_some() && one.start_time.is_some() && one.create_time.is_some());
        let text = one.result.as_ref().map(|result| result.text.as_str());
        match one.model.as_str() {
            "answer:yes" => assert_eq!(text, Some("yes")),
            "answer:no" => assert_eq!(text, Some("no")),
            _ => assert_eq!(one.failure.as_ref().unwrap().kind, "rejected"),
        }
    }
    let name = names[1].clone();
    let one = records
        .get_generation(pb::GetGenerationRequest { name })
        .await;
    assert_eq!(one.unwrap().into_inner(), all[1]);

    let request = pb::ListScoresRequest {
        parent: done.name.clone(),
        ..pb::ListScoresRequest::default()
    };
    let scores = records
        .list_scores(request)
        .await
        .unwrap()
        .into_inner()
        .scores;
    assert_eq!((scores.len(), scores[0].call), (1, 1));
    assert_eq!(scores[0].candidates.len(), scores[0].scores.len());
    assert!(
        scores[0]
            .scores
            .iter()
            .all(|score| (0.0..=1.0).contains(&score.value))
    );

    let name = format!("{}/usage", done.name);
    let usage = records
        .get_usage(pb::GetUsageRequest { name })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(usage.total.as_ref().unwrap().usage, done.usage);
    let keys = |costs: &[pb::Cost]| costs.iter().map(|one| one.key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&usage.agents), ["a", "b", "c"]);
    assert_eq!(
        keys(&usage.models),
        ["answer:no", "answer:yes", "status:400"]
    );
    let sum: i32 = usage
        .phases
        .iter()
        .map(|one| one.usage.unwrap().generations)
        .sum();
    assert_eq!(sum, 3);

    for (name, code, why) in [
        (
            format!("{}/generations/4", done.name),
            Code::NotFound,
            "GENERATION_NOT_FOUND",
        ),
        (
            "deliberations/none/generations/1".to_owned(),
            Code::NotFound,
            "DELIBERATION_NOT_FOUND",
        ),
        (done.name.clone(), Code::InvalidArgument, "INVALID_FIELD"),
    ] {
        let refused = records
            .get_generation(pb::GetGenerationRequest { name })
            .await
            .unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (code, why));
    }
    let other = pb::ListGenerationsRequest {
        parent: client.run(vote(&["answer:yes"])).await.unwrap().name,
        page_size: 1,
        page_token: {
            let request = pb::ListGenerationsRequest {
                parent: done.name,
                page_size: 1,
                page_token: String::new(),
            };
            records
                .list_generations(request)
                .await
                .unwrap()
                .into_inner()
                .next_page_token
        },
    };
    let refused = records.list_generations(other).await.unwrap_err();
    assert!(
        violations(&refused).contains_key("page_token"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn plugins_are_listed_in_pages_and_shown_by_their_digest() {
    let stub = StubServer::start().await.unwrap();
    let host = Host::asking(&stub).await.unwrap();
    let mut plugins = PluginsClient::new(channel(&host).await);
    let mut request = pb::ListPluginsRequest {
        page_size: 3,
        page_token: String::new(),
    };
    let first = plugins
        .list_plugins(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first.plugins.len(), 3);
    request.page_token = first.next_page_token;
    let second = plugins
        .list_plugins(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(second.next_page_token.is_empty());
    let all: Vec<_> = first
        .plugins
        .into_iter()
        .chain(second.plugins)
        .map(Arc::new)
        .collect();
    let vote = all
        .iter()
        .find(|one| one.plugin_name == "sample-vote")
        .unwrap();
    assert_eq!(
        (vote.kind(), vote.origin()),
        (pb::plugin::Kind::Strategy, pb::plugin::Origin::BuiltIn)
    );
    assert!(vote.is_default && vote.size_bytes > 1_000 && vote.contract == "0.1");
    assert!(vote.params_schema_json.contains("samples") && !vote.summary.is_empty());
    let defaults = all.iter().filter(|one| one.is_default).count();
    assert_eq!(defaults, 2);
    let name = format!("plugins/{}", vote.digest);
    let one = plugins
        .get_plugin(pb::GetPluginRequest { name })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(one, **vote);
    for (name, code) in [
        (format!("plugins/{}", "0".repeat(64)), Code::NotFound),
        ("plugins/sample-vote".to_owned(), Code::InvalidArgument),
    ] {
        let refused = plugins
            .get_plugin(pb::GetPluginRequest { name })
            .await
            .unwrap_err();
        assert_eq!(refused.code(), code, "{refused:?}");
    }
    request.page_token = "AAAAAAAAAAEAAAAAAAAAAA".to_owned();
    let refused = plugins.list_plugins(request).await.unwrap_err();
    assert_eq!(reason(&refused), "PLUGINS_CHANGED");
}
