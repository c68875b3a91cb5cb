//! Nodes and their GPUs.

use conclave_core::cluster::{Gpu, Node, Share};

use super::*;

async fn nodes(text: &'static str) -> Vec<Node> {
    let fake = Fake::start(move |_, _| ok(text)).await;
    let nodes = ray(&fake).nodes().await.unwrap();
    assert_eq!(fake.asked(), ["GET /nodes?view=summary"]);
    nodes
}

#[tokio::test]
async fn nodes_are_told_as_either_version_tells_them() {
    for text in [samples::NODES_2_49, samples::NODES_2_60] {
        let nodes = nodes(text).await;
        let [node] = nodes.as_slice() else {
            unreachable!("{nodes:?}");
        };
        assert_eq!((node.ip.as_str(), node.alive), ("127.0.0.2", true));
        assert_eq!(node.id.len(), 56);
        let (total, free) = (2.0, 2.0);
        assert_eq!(node.cpus, Share { total, free });
        assert_eq!(node.gpus, Share::default());
        assert!(node.devices.is_empty());
    }
}

#[tokio::test]
async fn gpus_are_told_with_what_they_do_and_what_is_reserved() {
    let nodes = nodes(samples::NODES_GPU).await;
    let [busy, dead] = nodes.as_slice() else {
        unreachable!("{nodes:?}");
    };
    assert_eq!((busy.cpus.total, busy.cpus.free), (8.0, 6.5));
    // Two are taken, and of two that are reserved one is idle.
    assert_eq!((busy.gpus.total, busy.gpus.free), (4.0, 1.0));
    let mib = 1 << 20;
    assert_eq!(
        busy.devices[0],
        Gpu {
            index: 0,
            name: "NVIDIA A100-SXM4-80GB".to_owned(),
            utilization_percent: Some(87.0),
            memory_used_bytes: Some(73_348 * mib),
            memory_total_bytes: Some(81_559 * mib),
        }
    );
    assert_eq!(
        (busy.devices[1].index, busy.devices[1].utilization_percent),
        (1, None)
    );
    assert_eq!((dead.ip.as_str(), dead.alive), ("10.0.0.8", false));
}
