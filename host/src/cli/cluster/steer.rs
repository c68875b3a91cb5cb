//! `cluster up`, `down`, `drain` and `resume`.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::args::{DownArgs, DrainArgs, ResumeArgs, UpArgs};
use super::models::{named, state};
use super::{connect, id, json};
use crate::cli::client::Client;
use crate::cli::pb::replica::State;
use crate::cli::progress::Progress;
use crate::cli::terminal::{Terminal, clean, one_line};
use crate::cli::{Exit, pb};

/// How often a host is asked again.
const ASKED_EVERY: Duration = Duration::from_millis(500);

/// Starts replicas.
pub(super) async fn up(args: &UpArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let (mut client, as_json) = connect(&args.connection).await?;
    let model = named(&mut client, &args.model).await?;
    let replicas = args.replicas.map(i32::from);
    let wished = client.scale(&model.name, replicas).await?;
    let wait = Wait {
        timeout: (!args.no_wait).then(|| Duration::from_secs(args.timeout)),
        done: |one| {
            let healthy = one
                .replicas
                .iter()
                .filter(|one| one.state() == State::Healthy);
            i32::try_from(healthy.count()).unwrap_or(i32::MAX) >= one.replicas_wanted
        },
        still: "not all replicas are healthy",
    };
    wait.follow(&mut client, wished, terminal, as_json).await
}

/// Stops replicas.
pub(super) async fn down(args: &DownArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let (mut client, as_json) = connect(&args.connection).await?;
    let model = named(&mut client, &args.model).await?;
    let wished = client.scale(&model.name, Some(0)).await?;
    let wait = Wait {
        timeout: (!args.no_wait).then(|| Duration::from_secs(args.timeout)),
        // Those that the host did not start go on.
        done: |one| one.replicas.iter().all(|one| one.submission_id.is_empty()),
        still: "some replicas still run",
    };
    wait.follow(&mut client, wished, terminal, as_json).await
}

/// Waits for a model to be as it shall be.
struct Wait {
    /// `None` does not wait.
    timeout: Option<Duration>,
    done: fn(&pb::Model) -> bool,
    still: &'static str,
}

impl Wait {
    async fn follow(
        &self,
        client: &mut Client,
        wished: pb::Model,
        terminal: &mut Terminal,
        as_json: bool,
    ) -> anyhow::Result<Exit> {
        let mut model = wished;
        let progress = Progress::new(terminal, as_json);
        let by = Instant::now() + self.timeout.unwrap_or_default();
        let mut told = String::new();
        while self.timeout.is_some() && !(self.done)(&model) && Instant::now() < by {
            let now = told_of(&model);
            progress.step(now.clone());
            if !terminal.err_is_terminal && !as_json && now != told {
                terminal.note(&now);
                told = now;
            }
            sleep(ASKED_EVERY).await;
            model = named(client, id(&model.name)).await?;
        }
        progress.done();
        let done = (self.done)(&model);
        let text = match as_json {
            true => json::model(&model).to_string(),
            false => told_of(&model),
        };
        terminal.print(&format!("{text}\n"))?;
        if done || self.timeout.is_none() {
            return Ok(Exit::Success);
        }
        terminal.note(&format!(
            "{} after {} s; `conclave cluster models` shows why",
            self.still,
            self.timeout.unwrap_or_default().as_secs()
        ));
        Ok(Exit::Failure)
    }
}

/// `Qwen3-8B: 1 healthy, 1 starting`, with what went wrong last.
fn told_of(model: &pb::Model) -> String {
    let mut counts: Vec<(State, usize)> = Vec::new();
    for replica in &model.replicas {
        match counts
            .iter_mut()
            .find(|(state, _)| *state == replica.state())
        {
            Some((_, count)) => *count += 1,
            None => counts.push((replica.state(), 1)),
        }
    }
    let counts: Vec<_> = counts
        .into_iter()
        .map(|(of, count)| format!("{count} {}", state(of)))
        .collect();
    let counts = match counts.is_empty() {
        true => "no replica".to_owned(),
        false => counts.join(", "),
    };
    let mut failed = model
        .replicas
        .iter()
        .filter(|one| one.state() != State::Healthy && !one.error.is_empty());
    let failed = failed.next().map_or_else(String::new, |one| {
        format!(" ({})", one_line(&one.error, 200))
    });
    format!("{}: {counts}{failed}", clean(id(&model.name)))
}

/// Gives a cluster no more work.
pub(super) async fn drain(args: &DrainArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let (mut client, as_json) = connect(&args.connection).await?;
    let mut cluster = client.drain_cluster(&args.cluster).await?;
    let progress = Progress::new(terminal, as_json);
    while args.wait && cluster.in_flight > 0 {
        progress.step(format!("{} generations still run", cluster.in_flight));
        sleep(ASKED_EVERY).await;
        let clusters = client.clusters().await?;
        let found = clusters.into_iter().find(|one| one.name == cluster.name);
        cluster = found.ok_or_else(|| anyhow::anyhow!("the host has lost the cluster"))?;
    }
    progress.done();
    print(&cluster, "is given no more work", terminal, as_json)
}

/// Gives a drained cluster work again.
pub(super) async fn resume(args: &ResumeArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let (mut client, as_json) = connect(&args.connection).await?;
    let cluster = client.resume_cluster(&args.cluster).await?;
    print(&cluster, "is given work", terminal, as_json)
}

fn print(
    cluster: &pb::Cluster,
    what: &str,
    terminal: &mut Terminal,
    as_json: bool,
) -> anyhow::Result<Exit> {
    let text = match as_json {
        true => json::cluster(cluster).to_string(),
        false => format!(
            "{} {what}; {} generations in flight there",
            clean(id(&cluster.name)),
            cluster.in_flight
        ),
    };
    terminal.print(&format!("{text}\n"))?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_counts_replicas_by_their_state_and_tells_the_first_error() {
        let replica = |state: State, error: &str| pb::Replica {
            state: state.into(),
            error: error.to_owned(),
            ..pb::Replica::default()
        };
        let mut model = pb::Model {
            name: "models/tiny".to_owned(),
            ..pb::Model::default()
        };
        assert_eq!(told_of(&model), "tiny: no replica");
        model.replicas = vec![
            replica(State::Healthy, "of long ago"),
            replica(State::Starting, ""),
            replica(State::Healthy, ""),
            replica(State::Failed, "no GPU"),
        ];
        assert_eq!(
            told_of(&model),
            "tiny: 2 healthy, 1 starting, 1 failed (no GPU)"
        );
    }
}
