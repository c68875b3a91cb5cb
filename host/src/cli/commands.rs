//! `run`, `get`, `watch` and `cancel`: the client commands.

use conclave_core::plugin::PluginChoice;

use super::args::{CancelArgs, GetArgs, RunArgs, WatchArgs};
use super::client::Client;
use super::costs::costs;
use super::failure::Usage;
use super::live::LiveView;
use super::params::params;
use super::pb;
use super::pb::deliberation::State;
use super::report::report;
use super::story::Story;
use super::terminal::Terminal;
use super::watching::{Ended, Interrupt, Show, Watching};
use super::{Exit, json};

/// Submits, watches and prints the outcome.
pub(super) async fn run(args: &RunArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let request = request(args)?;
    let mut client = Client::connect(&args.connection).await?;
    let accepted = client.create(request).await?;
    if args.detach {
        let shown = if args.connection.json {
            format!("{}\n", json::deliberation(&accepted))
        } else {
            format!("{}\n", accepted.uid)
        };
        terminal.print(&shown)?;
        return Ok(Exit::Success);
    }
    let show = aside(terminal, args.connection.json);
    conclude(client, accepted, show, terminal, args.connection.json).await
}

/// Watches a deliberation that was just submitted, and prints what came of it.
pub(super) async fn conclude(
    client: Client,
    accepted: pb::Deliberation,
    show: Show,
    terminal: &mut Terminal,
    as_json: bool,
) -> anyhow::Result<Exit> {
    let uid = accepted.uid.clone();
    let watching = Watching {
        client: client.clone(),
        terminal: &mut *terminal,
        story: Story::of(accepted),
        show,
        interrupt: Interrupt::Cancels,
    };
    let (ended, story) = Box::pin(watching.until_the_end()).await?;
    if ended == Ended::Left {
        terminal.note(&format!(
            "left; see what has become of it with: conclave get {uid}"
        ));
        return Ok(Exit::Interrupted);
    }
    if as_json {
        terminal.print(&format!("{}\n", json::deliberation(&story.deliberation)))?;
    } else {
        terminal.print(&report(&story, terminal.style))?;
    }
    Ok(exit_of(&story.deliberation))
}

/// Progress beside stdout, which is for the outcome.
pub(super) fn aside(terminal: &Terminal, as_json: bool) -> Show {
    match (as_json, terminal.err_is_terminal) {
        (true, _) => Show::Silent,
        (false, true) => Show::Live(LiveView::new()),
        (false, false) => Show::LinesAside,
    }
}

/// What a typed command asks for.
fn request(args: &RunArgs) -> Result<pb::CreateDeliberationRequest, Usage> {
    if args.task.trim().is_empty() {
        return Err(Usage("the task is empty".to_owned()));
    }
    let agents = (1..=args.agents).map(|at| pb::Agent {
        id: format!("agent-{at}"),
        ..pb::Agent::default()
    });
    let task = pb::Task {
        id: args.task_id.clone(),
        description: args.task.clone(),
        role: args.role.clone(),
        agents: agents.collect(),
        model: args.model.clone().unwrap_or_default(),
        ..pb::Task::default()
    };
    let strategy_params = params("--params", args.params.as_deref(), &args.param)?;
    let scorer_params = params(
        "--scorer-params",
        args.scorer_params.as_deref(),
        &args.scorer_param,
    )?;
    let deliberation = pb::Deliberation {
        task: Some(task),
        endpoint: args.endpoint.clone().unwrap_or_default(),
        strategy: selection(args.strategy.as_ref(), strategy_params),
        scorer: selection(args.scorer.as_ref(), scorer_params),
        timeout: args.timeout.map(|seconds| prost_types::Duration {
            seconds: i64::from(seconds),
            nanos: 0,
        }),
        max_retries: args.max_retries,
        labels: args.label.iter().cloned().collect(),
        priority: args.priority,
        ..pb::Deliberation::default()
    };
    Ok(pb::CreateDeliberationRequest {
        deliberation: Some(deliberation),
        request_id: args.request_id.clone(),
    })
}

/// A plugin with its params; absent when neither was typed.
fn selection(typed: Option<&PluginChoice>, params_json: String) -> Option<pb::PluginSelection> {
    if typed.is_none() && params_json.is_empty() {
        return None;
    }
    let typed = typed.cloned().unwrap_or_else(|| PluginChoice::named(""));
    Some(pb::PluginSelection {
        name: typed.name,
        version: typed.version.unwrap_or_default(),
        digest: typed
            .digest
            .map(|digest| digest.to_string())
            .unwrap_or_default(),
        params_json,
    })
}

/// Prints a deliberation as it is now.
pub(super) async fn get(args: &GetArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let mut client = Client::connect(&args.connection).await?;
    let deliberation = client.get(&args.id).await?;
    let generations = client.generations(&args.id).await?;
    let usage = client.usage(&args.id).await?;
    if args.connection.json {
        let mut all = json::deliberation(&deliberation);
        let scores = client.scores(&args.id).await?;
        all["generations"] = generations.iter().map(json::generation_record).collect();
        all["scores"] = scores.iter().map(json::score_record).collect();
        all["usage_by"] = json::usage_by(&usage);
        terminal.print(&format!("{all}\n"))?;
        return Ok(Exit::Success);
    }
    let mut story = Story::of(deliberation);
    story.take_records(&generations);
    let shown = report(&story, terminal.style);
    terminal.print(&format!("{shown}{}", costs(&usage, terminal.style)))?;
    Ok(Exit::Success)
}

/// Watches to the end. The end of the deliberation is no failure of watching it.
pub(super) async fn watch(args: &WatchArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let mut client = Client::connect(&args.connection).await?;
    let mut story = Story::of(client.get(&args.id).await?);
    // The events tell the state again; what is told last is not known yet.
    story.deliberation.set_state(State::Running);
    story.after = args.after;
    let as_json = args.connection.json;
    let live = !as_json && terminal.out_is_terminal && terminal.err_is_terminal;
    let show = match (as_json, live) {
        (true, _) => Show::Json,
        (false, true) => Show::Live(LiveView::new()),
        (false, false) => Show::Lines,
    };
    let watching = Watching {
        client,
        terminal: &mut *terminal,
        story,
        show,
        interrupt: Interrupt::Leaves,
    };
    let (ended, story) = Box::pin(watching.until_the_end()).await?;
    if ended == Ended::Left {
        let (id, after) = (&args.id, story.after);
        terminal.note(&format!(
            "the deliberation goes on; watch on with: conclave watch {id} --after {after}"
        ));
        return Ok(Exit::Interrupted);
    }
    if live {
        terminal.print(&report(&story, terminal.style))?;
    }
    Ok(Exit::Success)
}

/// Cancels, and prints what has become of the deliberation: one that had finished stays as it was.
pub(super) async fn cancel(args: &CancelArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let mut client = Client::connect(&args.connection).await?;
    let deliberation = client.cancel(&args.id, &args.reason).await?;
    let cancelled = deliberation.state() == State::Cancelled;
    if !cancelled {
        terminal.note("it had finished before, and stays as it was");
    }
    print(deliberation, args.connection.json, terminal)?;
    Ok(if cancelled {
        Exit::Success
    } else {
        Exit::Failure
    })
}

fn print(
    deliberation: pb::Deliberation,
    as_json: bool,
    terminal: &mut Terminal,
) -> std::io::Result<()> {
    if as_json {
        return terminal.print(&format!("{}\n", json::deliberation(&deliberation)));
    }
    let shown = report(&Story::of(deliberation), terminal.style);
    terminal.print(&shown)
}

fn exit_of(deliberation: &pb::Deliberation) -> Exit {
    match deliberation.state() {
        State::Completed => Exit::Success,
        _ => Exit::Failure,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::args::{Cli, Command};
    use super::*;

    fn typed(line: &[&str]) -> Result<pb::Deliberation, String> {
        let line = ["conclave", "run"].iter().chain(line);
        match Cli::try_parse_from(line)
            .map_err(|error| error.to_string())?
            .command
        {
            Command::Run(args) => {
                let request = request(&args).map_err(|usage| usage.to_string())?;
                request.deliberation.ok_or_else(String::new)
            }
            _ => unreachable!("it is run"),
        }
    }

    #[test]
    fn what_is_not_typed_is_left_to_the_host() {
        let deliberation = typed(&["2+2?", "--agents", "2"]).unwrap();
        let task = deliberation.task.clone().unwrap();
        assert_eq!(
            task.agents
                .iter()
                .map(|agent| agent.id.as_str())
                .collect::<Vec<_>>(),
            ["agent-1", "agent-2"]
        );
        assert_eq!(
            (
                deliberation.strategy,
                deliberation.scorer,
                deliberation.timeout
            ),
            (None, None, None)
        );
        assert_eq!(
            (task.model.as_str(), deliberation.endpoint.as_str()),
            ("", "")
        );
    }

    #[test]
    fn what_is_typed_stands_in_the_request() {
        let deliberation = typed(&[
            "2+2?",
            "--strategy",
            "sample-vote@0.1.0",
            "--param",
            "samples=9",
            "--scorer-params",
            "{}",
            "--timeout",
            "60",
            "--max-retries",
            "0",
            "--label",
            "team=a",
            "--priority",
            "9",
        ]);
        let deliberation = deliberation.unwrap();
        let strategy = deliberation.strategy.unwrap();
        assert_eq!(
            (strategy.name.as_str(), strategy.version.as_str()),
            ("sample-vote", "0.1.0")
        );
        assert_eq!(strategy.params_json, r#"{"samples":9}"#);
        assert_eq!(deliberation.scorer.unwrap().name, "");
        assert_eq!(deliberation.timeout.unwrap().seconds, 60);
        assert_eq!(deliberation.max_retries, Some(0));
        assert_eq!(deliberation.labels["team"], "a");
        assert_eq!(deliberation.priority, Some(9));
        assert_eq!(typed(&[" "]).unwrap_err(), "the task is empty");
    }
}
