//! The live view on a terminal: a header, a line for each agent, the votes and the scores.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::lines::{plugin, scores, tally};
use super::story::{Generation, Progress, Story};
use super::terminal::one_line;

/// Agents that have a line of their own.
const AGENT_LINES_MAX: usize = 24;

/// Draws a story on stderr while it goes on.
pub(super) struct LiveView {
    lines: MultiProgress,
    header: ProgressBar,
    agents: BTreeMap<String, ProgressBar>,
    footer: ProgressBar,
}

impl LiveView {
    pub(super) fn new() -> Self {
        let lines = MultiProgress::new();
        let header = lines
            .add(ProgressBar::new_spinner().with_style(style("{spinner} {elapsed:>4} {wide_msg}")));
        header.enable_steady_tick(Duration::from_millis(120));
        let footer = lines.add(ProgressBar::new_spinner().with_style(style("       {wide_msg}")));
        Self {
            lines,
            header,
            agents: BTreeMap::new(),
            footer,
        }
    }

    /// Shows the story as it is now.
    pub(super) fn show(&mut self, story: &Story) {
        self.header.set_message(headline(story));
        for agent in story.agents().iter().take(AGENT_LINES_MAX) {
            if !self.agents.contains_key(&agent.id) {
                let line = ProgressBar::new_spinner()
                    .with_style(style("       {prefix:.bold} {wide_msg}"));
                let line = self.lines.insert_before(&self.footer, line);
                line.set_prefix(format!("{:<12}", one_line(&agent.id, 24)));
                self.agents.insert(agent.id.clone(), line);
            }
        }
        for (agent, line) in &self.agents {
            line.set_message(agent_line(story, agent));
        }
        self.footer.set_message(footline(story));
    }

    /// Writes a line above the view.
    pub(super) fn note(&self, line: &str) {
        // An error means that nobody looks.
        let _ = self.lines.println(line);
    }

    /// Takes the view off the terminal.
    pub(super) fn close(self) {
        self.header.finish_and_clear();
        let _ = self.lines.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is written for it")
}

fn headline(story: &Story) -> String {
    let deliberation = &story.deliberation;
    let question = deliberation
        .task
        .as_ref()
        .map_or("", |task| &task.description);
    let state = if story.paused {
        "paused"
    } else if story.is_finished() {
        "finished"
    } else {
        "running"
    };
    format!(
        "{state}  {}  {}",
        plugin(deliberation.strategy.as_ref()),
        one_line(question, 120)
    )
}

/// What an agent does now, and else what it did last.
fn agent_line(story: &Story, agent: &str) -> String {
    let of_agent = || {
        story
            .generations
            .iter()
            .filter(|(_, one)| one.agent == agent)
    };
    let running = of_agent().rfind(|(_, one)| one.progress == Progress::Running);
    let Some((job, one)) = running.or_else(|| of_agent().next_back()) else {
        return "waiting".to_owned();
    };
    let answered = of_agent()
        .filter(|(_, one)| one.progress == Progress::Completed)
        .count();
    let before = if answered > 1 {
        format!("{answered} answers, ")
    } else {
        String::new()
    };
    format!("{before}{}", generation_line(*job, one))
}

fn generation_line(job: i32, one: &Generation) -> String {
    let tokens = one.tokens;
    let attempt = if one.attempt > 1 {
        format!(" attempt {}", one.attempt)
    } else {
        String::new()
    };
    match &one.progress {
        Progress::Running => {
            let tail: String = one.text.chars().rev().take(160).collect();
            let tail: String = tail.chars().rev().collect();
            format!(
                "#{job} {}{attempt}  {tokens:>4} tokens  {}",
                one_line(&one.phase, 16),
                tail_of(&tail, 60)
            )
        }
        Progress::Completed => format!(
            "#{job} answered  {tokens} tokens  {}",
            one_line(&one.text, 60)
        ),
        Progress::Cancelled => format!("#{job} cancelled after {tokens} tokens"),
        Progress::Failed(why) => format!("#{job} failed: {}", one_line(why, 80)),
    }
}

/// The last characters, on one line: what is being written stands at the end.
fn tail_of(text: &str, chars_max: usize) -> String {
    let line = one_line(text, usize::MAX);
    let count = line.chars().count();
    line.chars().skip(count.saturating_sub(chars_max)).collect()
}

fn footline(story: &Story) -> String {
    let mut parts = Vec::new();
    let more = story.agents().len().saturating_sub(AGENT_LINES_MAX);
    if more > 0 {
        parts.push(format!("and {more} more agents"));
    }
    if !story.votes.is_empty() {
        parts.push(format!("votes: {}", tally(&story.votes)));
    }
    if !story.scores.is_empty() {
        parts.push(format!("scores: {}", scores(&story.scores)));
    }
    parts.join("   ")
}
