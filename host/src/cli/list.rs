//! `list`: deliberations as a table, or as a JSON object a line.

use std::time::{SystemTime, UNIX_EPOCH};

use super::args::ListArgs;
use super::client::Client;
use super::pb;
use super::pb::deliberation::State;
use super::story::unix_ms;
use super::terminal::{Style, Terminal, one_line};
use super::{Exit, json};

/// Deliberations of one page.
const PAGE_SIZE: usize = 200;

/// Prints deliberations, the newest first, page by page.
pub(super) async fn list(args: &ListArgs, terminal: &mut Terminal) -> anyhow::Result<Exit> {
    let mut client = Client::connect(&args.connection).await?;
    let limit = if args.limit == 0 {
        usize::MAX
    } else {
        args.limit
    };
    let mut request = pb::ListDeliberationsRequest {
        filter: args.filter.clone(),
        ..pb::ListDeliberationsRequest::default()
    };
    let mut shown = 0;
    loop {
        let size = PAGE_SIZE.min(limit - shown);
        request.page_size = i32::try_from(size).unwrap_or(i32::MAX);
        let page = client.list(request.clone()).await?;
        for one in &page.deliberations {
            let line = if args.connection.json {
                json::deliberation(one).to_string()
            } else {
                if shown == 0 {
                    terminal.print(&format!("{}\n", header(terminal.style)))?;
                }
                row(one, now_ms(), terminal.style)
            };
            terminal.print(&format!("{line}\n"))?;
            shown += 1;
        }
        if page.next_page_token.is_empty() {
            if shown == 0 && !args.connection.json {
                let nothing = match args.filter.is_empty() {
                    true => "there are no deliberations yet",
                    false => "no deliberation is like that",
                };
                terminal.note(nothing);
            }
            return Ok(Exit::Success);
        }
        if shown >= limit {
            if !args.connection.json {
                terminal.note(&format!(
                    "there are more; show them with --limit {}",
                    limit * 5
                ));
            }
            return Ok(Exit::Success);
        }
        request.page_token = page.next_page_token;
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// Columns before the task; the id's is as wide as an id.
const ID_WIDTH: usize = 45;
const STRATEGY_WIDTH: usize = 16;

fn header(style: Style) -> String {
    let header = format!(
        "{:ID_WIDTH$}  {:9}  {:>5}  {:>6}  {:STRATEGY_WIDTH$}  {:>7}  task",
        "id", "state", "age", "took", "strategy", "tokens"
    );
    style.dim(&header)
}

fn row(one: &pb::Deliberation, now_ms: i64, style: Style) -> String {
    let create_ms = one.create_time.as_ref().map_or(now_ms, unix_ms);
    let end_ms = one.end_time.as_ref().map(unix_ms);
    let strategy = one.strategy.as_ref().map_or("", |strategy| &strategy.name);
    let usage = one.usage.unwrap_or_default();
    let tokens = usage.prompt_tokens + usage.completion_tokens;
    let state = format!("{:9}", one.state().as_str_name().to_lowercase());
    let state = match one.state() {
        State::Completed => style.green(&state),
        State::Failed => style.red(&state),
        _ => state,
    };
    let before = ID_WIDTH + STRATEGY_WIDTH + 9 + 5 + 6 + 7 + 12;
    // A line that is broken anyway shows as much as helps.
    let room = style
        .width
        .checked_sub(before)
        .filter(|room| *room >= 12)
        .unwrap_or(24);
    let title = one.task.as_ref().map_or("", |task| &task.title);
    format!(
        "{:ID_WIDTH$}  {state}  {:>5}  {:>6}  {:STRATEGY_WIDTH$}  {tokens:>7}  {}",
        one.uid,
        short((now_ms - create_ms) / 1_000),
        took(end_ms.map(|end_ms| end_ms - create_ms)),
        one_line(strategy, STRATEGY_WIDTH),
        one_line(title, room),
    )
}

/// `12s`, `3m`, `5h`, `9d`
fn short(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ ..100 => format!("{seconds}s"),
        seconds @ 100..6_000 => format!("{}m", seconds / 60),
        seconds @ 6_000..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// `0.4s`, `75.0s`, and then as [`short`]; `-` for what runs.
fn took(ms: Option<i64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms @ ..100_000) => format!("{:.1}s", ms as f64 / 1_000.0),
        Some(ms) => short(ms / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> pb::Deliberation {
        pb::Deliberation {
            uid: "deliberation-0197f0c2a5b87c1e9d3f4a6b8c0d2e1f".to_owned(),
            state: State::Completed.into(),
            task: Some(pb::Task {
                title: "Is 7 prime, and if it is, why are so many of its multiples not?".to_owned(),
                ..pb::Task::default()
            }),
            create_time: Some(prost_types::Timestamp {
                seconds: 100,
                nanos: 0,
            }),
            end_time: Some(prost_types::Timestamp {
                seconds: 101,
                nanos: 500_000_000,
            }),
            ..pb::Deliberation::default()
        }
    }

    #[test]
    fn a_row_fits_its_terminal_and_stands_under_its_header() {
        for width in [120, 160] {
            let style = Style {
                width,
                ..Style::PLAIN
            };
            let (header, row) = (header(style), row(&sample(), 400_000, style));
            assert!(row.chars().count() <= width, "{row}");
            assert_eq!(header.find("task"), row.find("Is 7"), "{header}\n{row}");
            assert!(row.contains("completed     5m    1.5s"), "{row}");
        }
    }

    #[test]
    fn times_are_short() {
        assert_eq!(
            [0, 99, 100, 5_999, 6_000, 172_800].map(short),
            ["0s", "99s", "1m", "99m", "1h", "2d"]
        );
        assert_eq!(
            [None, Some(40), Some(3_600_000)].map(took),
            ["-", "0.0s", "60m"]
        );
    }
}
