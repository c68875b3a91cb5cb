//! The calls about clusters and models.

use std::path::Path;
use std::sync::Arc;

use conclave_core::clock::Clock;
use conclave_core::tasks::Tasks;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::{Served, told};
use crate::clusters::{Clusters, Settings};
use crate::config::{self, Flag, Sources};
use crate::grpc::pb::conclave::v1 as pb;
use crate::grpc::pb::conclave::v1::clusters_client::ClustersClient;
use crate::openai::OpenAi;

/// A cluster where nobody listens, a model that would run there, and one at an endpoint by hand; nothing
/// of them is watched.
pub(super) async fn none_of_them_answers(data_dir: &Path, tasks: &Tasks) -> Arc<Clusters> {
    let flag = |key: &str, text: &str| Flag {
        name: "--set",
        key: key.to_owned(),
        text: text.to_owned(),
    };
    let sources = Sources {
        flags: vec![
            flag("server.data_dir", data_dir.to_str().unwrap()),
            flag(
                "clusters",
                r#"[{ name = "a100", address = "http://127.0.0.1:1", weight = 3 }]"#,
            ),
            flag(
                "models",
                r#"{ big = { vllm = ["--model", "big"], replicas_max = 2 },
                     small = { endpoints = ["http://127.0.0.1:1"] } }"#,
            ),
        ],
        ..Sources::default()
    };
    let loaded = config::load(&sources).unwrap();
    let openai = loaded.config.openai(Vec::new());
    let settings = Settings {
        config: &loaded.config,
        clusters: loaded.clusters,
        nats: None,
        openai: &openai,
    };
    let direct = Arc::new(OpenAi::new(openai.clone()).unwrap());
    let stop = CancellationToken::new();
    let clusters = Clusters::compose(settings, direct, None, Clock::system(), tasks, &stop).await;
    Arc::new(clusters.unwrap())
}

async fn served() -> (Served, ClustersClient<tonic::transport::Channel>) {
    let served = Served::answering("seven").await;
    let client = ClustersClient::new(served.channel.clone());
    (served, client)
}

#[tokio::test]
async fn clusters_and_models_are_told_as_they_are_configured_and_stand() {
    let (_served, mut client) = served().await;
    let clusters = client.list_clusters(pb::ListClustersRequest {}).await;
    let clusters = clusters.unwrap().into_inner().clusters;
    assert_eq!(clusters.len(), 1);
    let one = &clusters[0];
    assert_eq!((one.name.as_str(), one.weight), ("clusters/a100", 3));
    assert_eq!(one.address, "http://127.0.0.1:1");
    assert!(!one.drained);
    let models = client.list_models(pb::ListModelsRequest {}).await;
    let models = models.unwrap().into_inner().models;
    let names: Vec<_> = models.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["models/big", "models/small"]);
    assert_eq!((models[0].replicas_wanted, models[0].replicas_max), (1, 2));
    let by_hand = &models[1].replicas[0];
    assert_eq!(by_hand.endpoint, "http://127.0.0.1:1");
    assert!(by_hand.submission_id.is_empty());
    assert_eq!((models[1].replicas_wanted, models[1].replicas_max), (0, 0));
}

#[tokio::test]
async fn a_model_is_scaled_within_its_bounds_and_a_cluster_drained() {
    let (_served, mut client) = served().await;
    let scale = |name: &str, replicas| pb::ScaleModelRequest {
        name: name.to_owned(),
        replicas,
    };
    let model = client.scale_model(scale("models/big", Some(2))).await;
    assert_eq!(model.unwrap().into_inner().replicas_wanted, 2);
    let model = client.scale_model(scale("models/big", Some(0))).await;
    assert_eq!(model.unwrap().into_inner().replicas_wanted, 0);
    let model = client.scale_model(scale("models/big", None)).await;
    assert_eq!(model.unwrap().into_inner().replicas_wanted, 1);
    let drain = pb::DrainClusterRequest {
        name: "clusters/a100".to_owned(),
    };
    assert!(
        client
            .drain_cluster(drain)
            .await
            .unwrap()
            .into_inner()
            .drained
    );
    let resume = pb::ResumeClusterRequest {
        name: "clusters/a100".to_owned(),
    };
    assert!(
        !client
            .resume_cluster(resume)
            .await
            .unwrap()
            .into_inner()
            .drained
    );
}

#[tokio::test]
async fn what_cannot_be_steered_is_told_with_its_reason() {
    let (_served, mut client) = served().await;
    let cases = [
        ("models/big", 3, Code::InvalidArgument, "INVALID_FIELD"),
        ("models/big", -1, Code::InvalidArgument, "INVALID_FIELD"),
        ("big", 1, Code::InvalidArgument, "INVALID_FIELD"),
        ("models/none", 0, Code::NotFound, "MODEL_NOT_FOUND"),
        (
            "models/small",
            0,
            Code::FailedPrecondition,
            "MODEL_NOT_STARTED_HERE",
        ),
    ];
    for (name, replicas, code, expected) in cases {
        let request = pb::ScaleModelRequest {
            name: name.to_owned(),
            replicas: Some(replicas),
        };
        let refused = client.scale_model(request).await.unwrap_err();
        let (found, reason, _) = told(&refused);
        assert_eq!((found, reason.as_str()), (code, expected));
    }
    let drain = pb::DrainClusterRequest {
        name: "clusters/none".to_owned(),
    };
    let refused = client.drain_cluster(drain).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert!(refused.message().contains("a100"), "{}", refused.message());
}
