//! Draws what a deliberation cost, by agent, phase and model.

use super::pb;
use super::terminal::{Style, one_line};

/// Rows of one table at most: a deliberation has up to 64 agents.
const ROWS_MAX: usize = 16;

/// Three tables under one another; empty when nothing was generated.
pub(super) fn costs(usage: &pb::UsageReport, style: Style) -> String {
    if usage.agents.is_empty() {
        return String::new();
    }
    let tables = [
        ("agent", &usage.agents),
        ("phase", &usage.phases),
        ("model", &usage.models),
    ];
    let keys = tables.iter().flat_map(|(_, costs)| costs.iter().map(key));
    let width = keys
        .map(|key| key.chars().count())
        .max()
        .unwrap_or_default();
    let width = width.max("agent".len());
    let mut text = String::new();
    for (name, costs) in tables {
        let header = format!(
            "  {name:width$}  {:>5}  {:>6}  {:>8}  {:>10}  {:>7}  {:>9}",
            "calls", "failed", "prompt", "completion", "wasted", "latency"
        );
        text.push_str(&format!("\n{}\n", style.dim(&header)));
        for cost in costs.iter().take(ROWS_MAX) {
            text.push_str(&row(cost, width));
        }
        if costs.len() > ROWS_MAX {
            text.push_str(&format!("  and {} more\n", costs.len() - ROWS_MAX));
        }
    }
    text
}

fn row(cost: &pb::Cost, width: usize) -> String {
    let usage = cost.usage.unwrap_or_default();
    let latency = cost.latency.unwrap_or_default();
    let latency = latency.seconds as f64 + f64::from(latency.nanos) / 1e9;
    format!(
        "  {:width$}  {:>5}  {:>6}  {:>8}  {:>10}  {:>7}  {latency:>7.1} s\n",
        key(cost),
        usage.generations,
        usage.generations_failed,
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.wasted_tokens,
    )
}

fn key(cost: &pb::Cost) -> String {
    match cost.key.as_str() {
        "" => "-".to_owned(),
        key => one_line(key, 32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_stand_under_one_another_in_the_same_columns() {
        let cost = |key: &str, generations| pb::Cost {
            key: key.to_owned(),
            usage: Some(pb::Usage {
                generations,
                prompt_tokens: 120,
                completion_tokens: 45,
                ..pb::Usage::default()
            }),
            latency: Some(prost_types::Duration {
                seconds: 2,
                nanos: 500_000_000,
            }),
            cached_tokens: 0,
        };
        let usage = pb::UsageReport {
            agents: vec![cost("", 1), cost("ada", 2)],
            phases: vec![cost("propose", 3)],
            models: vec![cost("Qwen/Qwen3-8B", 3)],
            ..pb::UsageReport::default()
        };
        let shown = costs(&usage, Style::PLAIN);
        let lines: Vec<_> = shown.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 7);
        assert!(
            lines.iter().all(|line| line.len() == lines[0].len()),
            "{shown}"
        );
        assert_eq!(
            lines[1],
            "  -                  1       0       120          45        0      2.5 s"
        );
        assert_eq!(costs(&pb::UsageReport::default(), Style::PLAIN), "");
    }
}
