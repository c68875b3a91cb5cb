//! `cluster models`: the models that a host serves.

use super::args::ModelsArgs;
use super::{breaker, columns, connect, id, json};
use crate::cli::client::Client;
use crate::cli::pb::replica::State;
use crate::cli::terminal::{Style, Terminal, clean, one_line};
use crate::cli::{Exit, pb};

/// Prints the models.
pub(super) async fn models(args: &ModelsArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let (mut client, as_json) = connect(&args.connection).await?;
    let models = match args.model.as_str() {
        "" => client.models().await?,
        name => vec![named(&mut client, name).await?],
    };
    if models.is_empty() && !as_json {
        terminal.note("the host serves no models itself: configure `[models.NAME]`");
    }
    let mut text = String::new();
    for one in &models {
        match as_json {
            true => text.push_str(&format!("{}\n", json::model(one))),
            false => text.push_str(&model(one, terminal.style)),
        }
    }
    terminal.print(&text)?;
    Ok(Exit::Success)
}

/// The model of this name.
pub(super) async fn named(client: &mut Client, name: &str) -> anyhow::Result<pb::Model> {
    let models = client.models().await?;
    let known: Vec<_> = models.iter().map(|one| id(&one.name).to_owned()).collect();
    let found = models.into_iter().find(|one| id(&one.name) == name);
    found.ok_or_else(|| {
        let known = match known.is_empty() {
            true => "none: configure `[models.NAME]`".to_owned(),
            false => known.join(", "),
        };
        anyhow::anyhow!("the host serves no model `{name}`; it serves {known}")
    })
}

fn model(one: &pb::Model, style: Style) -> String {
    let name = style.bold(&clean(id(&one.name)));
    let mut text = format!("{name}  {}, {} waiting\n", health(one), one.waiting);
    let rows: Vec<Vec<String>> = one.replicas.iter().map(replica).collect();
    if rows.is_empty() {
        return text;
    }
    let header = [
        "#",
        "state",
        "breaker",
        "in flight",
        "tokens",
        "starts",
        "cluster",
        "job",
        "endpoint",
    ];
    let (header, lines) = columns(&header, &rows);
    text.push_str(&format!("  {}\n", style.dim(&header)));
    for (line, replica) in lines.iter().zip(&one.replicas) {
        text.push_str(&format!("  {line}\n"));
        if !replica.error.is_empty() && replica.state() != State::Healthy {
            text.push_str(&format!("     {}\n", one_line(&replica.error, 400)));
        }
    }
    text
}

/// How many of those that the host starts, and of those that run anyway, are well.
fn health(one: &pb::Model) -> String {
    let (by_hand, started): (Vec<_>, Vec<_>) = one
        .replicas
        .iter()
        .partition(|one| one.cluster.is_empty() && !one.endpoint.is_empty());
    let healthy = |replicas: &[&pb::Replica]| {
        let healthy = replicas.iter().filter(|one| one.state() == State::Healthy);
        healthy.count()
    };
    let mut told = Vec::new();
    if !started.is_empty() || one.replicas_max > 0 || by_hand.is_empty() {
        let healthy = healthy(&started);
        let (wanted, least, most) = (one.replicas_wanted, one.replicas_min, one.replicas_max);
        told.push(format!(
            "{healthy} healthy of {wanted} wanted ({least} to {most})"
        ));
    }
    if !by_hand.is_empty() {
        let healthy = healthy(&by_hand);
        told.push(format!("{healthy} healthy of {} endpoints", by_hand.len()));
    }
    told.join(", ")
}

fn replica(one: &pb::Replica) -> Vec<String> {
    let or_dash = |text: &str| match text {
        "" => "-".to_owned(),
        text => clean(text),
    };
    vec![
        one.index.to_string(),
        state(one.state()).to_owned(),
        breaker(one.breaker()).to_owned(),
        one.in_flight.to_string(),
        one.outstanding_tokens.to_string(),
        one.starts.to_string(),
        or_dash(&one.cluster),
        or_dash(&one.submission_id),
        or_dash(&one.endpoint),
    ]
}

pub(super) fn state(state: State) -> &'static str {
    match state {
        State::Pending => "pending",
        State::Starting => "starting",
        State::Healthy => "healthy",
        State::Draining => "draining",
        State::Failed => "failed",
        State::Unhealthy => "unhealthy",
        State::Unspecified => "-",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_shown_with_its_replicas_and_why_one_is_not_well() {
        let replica = |index, state: State| pb::Replica {
            index,
            state: state.into(),
            breaker: pb::Breaker::Closed.into(),
            cluster: "a100".to_owned(),
            submission_id: format!("conclave-model-qwen-{index}-0"),
            starts: 1,
            ..pb::Replica::default()
        };
        let one = pb::Model {
            name: "models/Qwen/Qwen3-8B".to_owned(),
            replicas_wanted: 2,
            replicas_min: 1,
            replicas_max: 4,
            waiting: 7,
            replicas: vec![
                pb::Replica {
                    endpoint: "http://10.0.0.7:8000".to_owned(),
                    in_flight: 12,
                    outstanding_tokens: 9_000,
                    ..replica(0, State::Healthy)
                },
                pb::Replica {
                    error: "CUDA out\nof memory".to_owned(),
                    starts: 3,
                    ..replica(1, State::Failed)
                },
            ],
        };
        insta::assert_snapshot!(model(&one, Style::PLAIN), @r"
        Qwen/Qwen3-8B  1 healthy of 2 wanted (1 to 4), 7 waiting
          #  state    breaker  in flight  tokens  starts  cluster  job                      endpoint
          0  healthy  closed   12         9000    1       a100     conclave-model-qwen-0-0  http://10.0.0.7:8000
          1  failed   closed   0          0       3       a100     conclave-model-qwen-1-0  -
             CUDA out of memory
        ");
        let by_hand = pb::Replica {
            index: 0,
            state: State::Healthy.into(),
            endpoint: "http://10.0.0.9:8000".to_owned(),
            ..pb::Replica::default()
        };
        let both = pb::Model {
            replicas: one
                .replicas
                .iter()
                .cloned()
                .chain([by_hand.clone()])
                .collect(),
            ..one.clone()
        };
        assert_eq!(
            health(&both),
            "1 healthy of 2 wanted (1 to 4), 1 healthy of 1 endpoints"
        );
        let anyway = pb::Model {
            replicas_wanted: 0,
            replicas_min: 0,
            replicas_max: 0,
            replicas: vec![by_hand],
            ..one
        };
        assert_eq!(health(&anyway), "1 healthy of 1 endpoints");
    }
}
