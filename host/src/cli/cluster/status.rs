//! `cluster status`: the clusters of a host.

use super::args::StatusArgs;
use super::{breaker, columns, connect, id, json};
use crate::cli::terminal::{Style, Terminal, clean, one_line};
use crate::cli::{Exit, pb};

/// Prints the clusters; fails when one of them does not answer.
pub(super) async fn status(args: &StatusArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let (mut client, as_json) = connect(&args.connection).await?;
    let mut clusters = client.clusters().await?;
    if !args.cluster.is_empty() {
        let known: Vec<_> = clusters
            .iter()
            .map(|one| id(&one.name).to_owned())
            .collect();
        clusters.retain(|one| id(&one.name) == args.cluster);
        anyhow::ensure!(
            !clusters.is_empty(),
            "the host has no cluster `{}`; it has {}",
            args.cluster,
            match known.is_empty() {
                true => "none".to_owned(),
                false => known.join(", "),
            }
        );
    }
    if clusters.is_empty() {
        if !as_json {
            terminal.note("the host has no clusters: configure `[[clusters]]` or RAY_ADDRESS");
        }
        return Ok(Exit::Success);
    }
    let mut text = String::new();
    for one in &clusters {
        match as_json {
            true => text.push_str(&format!("{}\n", json::cluster(one))),
            false => text.push_str(&cluster(one, terminal.style)),
        }
    }
    terminal.print(&text)?;
    let well = clusters.iter().all(|one| one.error.is_empty());
    Ok(if well { Exit::Success } else { Exit::Failure })
}

fn cluster(one: &pb::Cluster, style: Style) -> String {
    let state = match (one.breaker(), one.drained) {
        (pb::Breaker::Closed, false) => style.green("well"),
        (pb::Breaker::Closed, true) => "drained".to_owned(),
        (state, _) => style.red(&format!("out of reach, breaker {}", breaker(state))),
    };
    let name = style.bold(&clean(id(&one.name)));
    let mut text = format!("{name}  {state}  {}\n", clean(&one.address));
    let mut line = |word: &str, said: String| {
        text.push_str(&format!("  {} {said}\n", style.dim(&format!("{word:<9}"))));
    };
    if !one.error.is_empty() {
        line("Error", one_line(&one.error, 400));
    }
    if !one.labels.is_empty() {
        let mut labels: Vec<_> = one.labels.iter().collect();
        labels.sort();
        let labels = labels.iter().map(|(key, value)| format!("{key}={value}"));
        line("Labels", clean(&labels.collect::<Vec<_>>().join(" ")));
    }
    line(
        "Work",
        format!("{} in flight, {} queued", one.in_flight, one.queued),
    );
    if !one.executor_submission_id.is_empty() {
        let slots: i32 = one.actors.iter().map(|actor| actor.slots).sum();
        let running: i32 = one.actors.iter().map(|actor| actor.running).sum();
        line(
            "Executor",
            format!(
                "{} ({}), {} actors, {running} of {slots} slots taken",
                clean(&one.executor_submission_id),
                clean(&one.executor_state),
                one.actors.len()
            ),
        );
    }
    if !one.executor_error.is_empty() && one.executor_state != "healthy" {
        line("", one_line(&one.executor_error, 400));
    }
    text.push_str(&nodes(one, style));
    text
}

fn nodes(one: &pb::Cluster, style: Style) -> String {
    if one.nodes.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = one.nodes.iter().map(node).collect();
    let (header, lines) = columns(&["node", "", "cpus free", "gpus free", "gpu use"], &rows);
    let mut text = format!("  {}\n", style.dim(&header));
    for line in lines {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

fn node(one: &pb::Node) -> Vec<String> {
    let used: Vec<_> = one
        .devices
        .iter()
        .map(|gpu| match gpu.utilization_percent {
            Some(percent) => format!("{percent:.0} %"),
            None => "?".to_owned(),
        })
        .collect();
    let alive = if one.alive { "alive" } else { "dead" };
    vec![
        clean(&one.ip),
        alive.to_owned(),
        format!("{} of {}", one.cpus_free, one.cpus),
        format!("{} of {}", one.gpus_free, one.gpus),
        used.join(" "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_shown_with_its_nodes_and_what_is_wrong_with_it() {
        let one = pb::Cluster {
            name: "clusters/a100".to_owned(),
            address: "http://head:8265".to_owned(),
            breaker: pb::Breaker::Closed.into(),
            queued: 3,
            in_flight: 8,
            executor_submission_id: "conclave-executor-a100".to_owned(),
            executor_state: "running".to_owned(),
            actors: vec![pb::Actor {
                slots: 64,
                running: 8,
                ..pb::Actor::default()
            }],
            nodes: vec![pb::Node {
                ip: "10.0.0.7".to_owned(),
                alive: true,
                cpus: 16.0,
                cpus_free: 12.5,
                gpus: 2.0,
                gpus_free: 0.0,
                devices: vec![
                    pb::Gpu {
                        utilization_percent: Some(97.4),
                        ..pb::Gpu::default()
                    },
                    pb::Gpu::default(),
                ],
                ..pb::Node::default()
            }],
            ..pb::Cluster::default()
        };
        insta::assert_snapshot!(cluster(&one, Style::PLAIN), @r"
        a100  well  http://head:8265
          Work      8 in flight, 3 queued
          Executor  conclave-executor-a100 (running), 1 actors, 8 of 64 slots taken
          node             cpus free   gpus free  gpu use
          10.0.0.7  alive  12.5 of 16  0 of 2     97 % ?
        ");
        let lost = pb::Cluster {
            breaker: pb::Breaker::Open.into(),
            error: "no route to host".to_owned(),
            nodes: Vec::new(),
            executor_submission_id: String::new(),
            ..one
        };
        insta::assert_snapshot!(cluster(&lost, Style::PLAIN), @r"
        a100  out of reach, breaker open  http://head:8265
          Error     no route to host
          Work      8 in flight, 3 queued
        ");
    }
}
