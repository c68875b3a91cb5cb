//! Draws when each generation ran, as a Gantt chart that fits the terminal.

use super::lines::seconds;
use super::story::{Generation, Progress, Story};
use super::terminal::{Style, one_line};

/// Rows that are drawn at most.
const ROWS_MAX: usize = 40;

/// The glyphs of a bar.
struct Glyphs {
    completed: char,
    cancelled: char,
    failed: char,
    running: char,
    rule: char,
}

const UNICODE: Glyphs = Glyphs {
    completed: '█',
    cancelled: '░',
    failed: '▚',
    running: '▒',
    rule: '─',
};

const ASCII: Glyphs = Glyphs {
    completed: '#',
    cancelled: '.',
    failed: 'x',
    running: '=',
    rule: '-',
};

/// The chart, a line for each generation, sorted by agent and start; empty when there is none.
pub(super) fn timeline(story: &Story, style: Style) -> String {
    let rows = rows(story);
    let end_ms = rows
        .iter()
        .map(|(_, one)| one.ended_ms.unwrap_or(story.now_ms))
        .max();
    let Some(end_ms) = end_ms.map(|end_ms| end_ms.max(1)) else {
        return String::new();
    };
    let glyphs = if style.unicode { &UNICODE } else { &ASCII };
    let labels: Vec<_> = rows.iter().map(|(job, one)| label(*job, one)).collect();
    let label_width = labels
        .iter()
        .map(|label| label.chars().count())
        .max()
        .unwrap_or_default();
    let notes: Vec<_> = rows.iter().map(|(_, one)| note(story, one)).collect();
    let note_width = notes.iter().map(String::len).max().unwrap_or_default();
    let bar_width = style
        .width
        .saturating_sub(label_width + note_width + 6)
        .max(10);

    let mut chart = format!(
        "  {:label_width$}  {}\n",
        "",
        axis(end_ms, bar_width, glyphs.rule)
    );
    for (((_, one), label), note) in rows.iter().zip(&labels).zip(&notes).take(ROWS_MAX) {
        let bar = bar(one, story.now_ms, end_ms, bar_width, glyphs);
        let bar = match one.progress {
            Progress::Completed => style.green(&bar),
            Progress::Failed(_) => style.red(&bar),
            Progress::Cancelled | Progress::Running => style.dim(&bar),
        };
        let line = format!("  {label:label_width$}  {bar}  {note}");
        chart.push_str(line.trim_end());
        chart.push('\n');
    }
    if rows.len() > ROWS_MAX {
        chart.push_str(&format!("  and {} more\n", rows.len() - ROWS_MAX));
    }
    chart
}

fn rows(story: &Story) -> Vec<(i32, &Generation)> {
    let place = |one: &Generation| {
        story
            .agents()
            .iter()
            .position(|agent| agent.id == one.agent)
    };
    let mut rows: Vec<_> = story
        .generations
        .iter()
        .map(|(job, one)| (*job, one))
        .collect();
    rows.sort_by_key(|(job, one)| (place(one).unwrap_or(usize::MAX), one.started_ms, *job));
    rows
}

fn label(job: i32, one: &Generation) -> String {
    format!(
        "{} #{job} {}",
        one_line(&one.agent, 20),
        one_line(&one.phase, 16)
    )
    .trim()
    .to_owned()
}

fn note(story: &Story, one: &Generation) -> String {
    let took = one
        .ended_ms
        .unwrap_or(story.now_ms)
        .saturating_sub(one.started_ms);
    let retried = if one.attempt > 1 {
        format!(" attempt {}", one.attempt)
    } else {
        String::new()
    };
    let state = match one.progress {
        Progress::Completed | Progress::Running => "",
        Progress::Cancelled => " cancelled",
        Progress::Failed(_) => " failed",
    };
    format!(
        "{:>4} tok {:>5.1} s{state}{retried}",
        one.tokens,
        seconds(took)
    )
}

/// `0 s ------- 3.2 s`
fn axis(end_ms: u64, width: usize, rule: char) -> String {
    let end = format!(" {:.1} s", seconds(end_ms));
    let line = width.saturating_sub("0 s ".len() + end.len());
    format!("0 s {}{end}", rule.to_string().repeat(line))
}

/// Exactly `width` columns; at least one of them is drawn.
fn bar(one: &Generation, now_ms: u64, end_ms: u64, width: usize, glyphs: &Glyphs) -> String {
    let column = |ms: u64| usize::try_from(ms.min(end_ms) * width as u64 / end_ms).unwrap_or(width);
    let from = column(one.started_ms).min(width - 1);
    let to = column(one.ended_ms.unwrap_or(now_ms)).clamp(from + 1, width);
    let glyph = match one.progress {
        Progress::Completed => glyphs.completed,
        Progress::Cancelled => glyphs.cancelled,
        Progress::Failed(_) => glyphs.failed,
        Progress::Running => glyphs.running,
    };
    let drawn = glyph.to_string().repeat(to - from);
    format!("{}{drawn}{}", " ".repeat(from), " ".repeat(width - to))
}
