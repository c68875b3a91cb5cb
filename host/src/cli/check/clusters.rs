//! Whether the Ray clusters can be reached, and let the host in.

use conclave_core::chain::Chain;
use conclave_core::cluster::{Cluster as _, Error, Node};
use futures::future::join_all;

use super::super::terminal::{clean, one_line};
use super::dependencies::{Dependency, State};
use crate::config::ClusterSettings;
use crate::ray::{self, Ray};

/// Tests all of them.
pub(super) async fn test(clusters: &[ClusterSettings]) -> Vec<Dependency> {
    let tested = clusters
        .iter()
        .enumerate()
        .map(|(at, cluster)| one(at, cluster));
    join_all(tested).await
}

/// `at` is its place in the configuration.
async fn one(at: usize, cluster: &ClusterSettings) -> Dependency {
    let name = format!("Ray cluster {} {}", cluster.name, cluster.ray.address);
    // Whoever waits for the answer can ask again.
    let settings = ray::Settings {
        tries_max: 1,
        ..cluster.ray.clone()
    };
    let ray = match Ray::new(settings) {
        Ok(ray) => ray,
        Err(error) => {
            let detail = format!("cannot be called: {}", Chain(&error));
            return Dependency::new(name, State::Refused, detail);
        }
    };
    let found = async {
        let version = ray.version().await?;
        Ok((version, ray.nodes().await?))
    };
    match found.await {
        Ok((version, nodes)) => {
            let version = one_line(&version, 40);
            let detail = format!("reachable, Ray {version}, {}", counted(&nodes));
            Dependency::new(name, State::Ok, detail)
        }
        Err(error) => Dependency::new(name, State::Degraded, unanswered(&error, at)),
    }
}

fn counted(nodes: &[Node]) -> String {
    let alive = || nodes.iter().filter(|node| node.alive);
    let noun = |count: usize| if count == 1 { "node" } else { "nodes" };
    let count = alive().count();
    let gpus: f64 = alive().map(|node| node.gpus.total).sum();
    format!("{count} {}, {gpus} GPUs", noun(count))
}

fn unanswered(error: &Error, at: usize) -> String {
    let key = |member: &str| format!("`clusters[{at}].{member}`");
    let remedy = match error {
        Error::Denied { .. } => {
            let (file, variable) = (key("token_file"), key("token_env"));
            format!("name the file or variable that holds its token, {file} or {variable}")
        }
        Error::Protocol { .. } => format!(
            "set {} to its dashboard, which listens on port 8265 unless it is told otherwise",
            key("address")
        ),
        _ => format!("start it, or change {}", key("address")),
    };
    format!(
        "{}: nothing runs there until it answers; {remedy}",
        clean(&Chain(error).to_string())
    )
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::get;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;
    use crate::config::{self, Sources};

    /// A dashboard that wants this token, or none.
    async fn dashboard(token: &'static str) -> (JoinSet<()>, String) {
        let wanted = format!("Bearer {token}");
        let version = move |headers: HeaderMap| async move {
            let shown = headers.get("authorization");
            if !token.is_empty() && shown.is_none_or(|shown| *shown != *wanted) {
                return (
                    StatusCode::FORBIDDEN,
                    "Forbidden: Invalid authentication token",
                );
            }
            (StatusCode::OK, r#"{"ray_version": "2.60.0"}"#)
        };
        let nodes = include_str!("../../ray/samples/nodes-gpu.json");
        let router = Router::new()
            .route("/api/version", get(version))
            .route("/nodes", get(move || async move { nodes }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        (server, address)
    }

    async fn tested(address: &str) -> Dependency {
        let list = format!("[{{ name = 'a', address = '{address}', token_env = 'TOKEN' }}]");
        let variables = [("CONCLAVE_CLUSTERS", list.as_str()), ("TOKEN", "s3cret")];
        let loaded = config::load(&Sources {
            environment: variables.into_iter().collect(),
            ..Sources::default()
        });
        test(&loaded.unwrap().clusters).await.remove(0)
    }

    #[tokio::test]
    async fn a_cluster_is_told_with_its_version_and_nodes() {
        let (_server, address) = dashboard("s3cret").await;
        let found = tested(&address).await;
        assert_eq!(
            (found.state, found.detail.as_str()),
            (State::Ok, "reachable, Ray 2.60.0, 1 node, 4 GPUs")
        );
        assert_eq!(found.name, format!("Ray cluster a {address}"));
    }

    #[tokio::test]
    async fn what_is_wrong_comes_with_its_remedy() {
        let (_server, address) = dashboard("another").await;
        let denied = tested(&address).await;
        assert_eq!(denied.state, State::Degraded);
        for part in ["status 403", "`clusters[0].token_file`"] {
            assert!(denied.detail.contains(part), "{denied:?}");
        }
        let elsewhere = tested(&format!("{address}/elsewhere")).await;
        assert!(
            elsewhere
                .detail
                .contains("set `clusters[0].address` to its dashboard"),
            "{elsewhere:?}"
        );
        let nobody = tested("http://127.0.0.1:1").await;
        for part in ["refused", "start it, or change `clusters[0].address`"] {
            assert!(nobody.detail.contains(part), "{nobody:?}");
        }
        assert!(!format!("{denied:?}{elsewhere:?}{nobody:?}").contains("s3cret"));
    }
}
