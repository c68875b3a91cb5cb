//! Follows a deliberation to its end, shows it, and goes on where it was when the host restarts.

use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tonic::Status;

use super::client::Client;
use super::failure::Refused;
use super::live::LiveView;
use super::story::{Story, is_final};
use super::terminal::Terminal;
use super::{json, lines, pb};

/// How long a host may be away before watching it is given up: a restart takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a host must have held a quiet stream to count as back.
const SETTLED: Duration = Duration::from_secs(5);
/// How long to wait before asking an absent host again.
const PAUSE: Duration = Duration::from_millis(500);

/// How events are shown.
pub(super) enum Show {
    /// As a view that changes in its place.
    Live(LiveView),
    /// As lines on stdout.
    Lines,
    /// As lines on stderr: stdout is for the outcome.
    LinesAside,
    /// As JSON objects on stdout, a line each.
    Json,
    /// Not at all.
    Silent,
}

/// What Ctrl-C means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// The first cancels the deliberation, the second leaves.
    Cancels,
    /// The first leaves; the deliberation goes on.
    Leaves,
}

/// How watching ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// With the deliberation.
    Finished,
    /// Before it, by Ctrl-C.
    Left,
}

/// Watches one deliberation.
pub(super) struct Watching<'t> {
    pub(super) client: Client,
    pub(super) terminal: &'t mut Terminal,
    pub(super) story: Story,
    pub(super) show: Show,
    pub(super) interrupt: Interrupt,
}

impl Watching<'_> {
    /// Watches to the end of the deliberation, or until Ctrl-C; answers with the story so far.
    pub(super) async fn until_the_end(mut self) -> anyhow::Result<(Ended, Story)> {
        let interrupts = signal(SignalKind::interrupt()).context("cannot listen to Ctrl-C")?;
        let ended = self.follow(interrupts).await;
        if let Show::Live(view) = self.show {
            view.close();
        }
        Ok((ended?, self.story))
    }

    async fn follow(&mut self, mut interrupts: Signal) -> anyhow::Result<Ended> {
        let uid = self.story.deliberation.uid.clone();
        let mut cancelling = false;
        // Since when nothing was heard of the host, if it is away.
        let mut away: Option<Instant> = None;
        loop {
            let lost = match self.client.watch(&uid, self.story.after).await {
                Err(refused) => refused,
                Ok(mut stream) => loop {
                    tokio::select! {
                        () = tokio::time::sleep(SETTLED), if away.is_some() => away = None,
                        event = stream.message() => match event {
                            Ok(Some(event)) => {
                                away = None;
                                self.take(&event)?;
                                if self.story.is_finished() {
                                    return Ok(Ended::Finished);
                                }
                            }
                            Ok(None) => match self.client.get(&uid).await {
                                // Everything behind `after` was told: there was nothing left.
                                Ok(ended) if is_final(&ended) => {
                                    self.story.deliberation = ended;
                                    return Ok(Ended::Finished);
                                }
                                Ok(_) => break Refused::from(Status::unavailable("the stream ended early")),
                                Err(refused) => break refused,
                            },
                            Err(status) => break Refused::from(status),
                        },
                        _ = interrupts.recv() => {
                            if cancelling || self.interrupt == Interrupt::Leaves {
                                return Ok(Ended::Left);
                            }
                            cancelling = true;
                            if self.cancel(&uid, &mut interrupts).await? == Ended::Left {
                                return Ok(Ended::Left);
                            }
                        }
                    }
                },
            };
            let waited = away.map(|since| since.elapsed());
            if !lost.may_come_back() || waited.is_some_and(|waited| waited > PATIENCE) {
                let lost = anyhow::Error::new(lost);
                return Err(lost.context(format!("cannot watch `{uid}` any longer")));
            }
            if away.is_none() {
                away = Some(Instant::now());
                self.note(&format!("{lost}; watching on when the host is back"));
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                _ = interrupts.recv() => return Ok(Ended::Left),
            }
        }
    }

    /// Cancels, unless a second Ctrl-C comes first; the watch goes on to the last event.
    async fn cancel(&mut self, uid: &str, interrupts: &mut Signal) -> anyhow::Result<Ended> {
        self.note("cancelling the deliberation and its generations; Ctrl-C again leaves at once");
        let mut client = self.client.clone();
        tokio::select! {
            cancelled = client.cancel(uid, "cancelled by Ctrl-C at the terminal") => {
                cancelled.context("cannot cancel")?;
                Ok(Ended::Finished)
            }
            _ = interrupts.recv() => Ok(Ended::Left),
        }
    }

    fn take(&mut self, event: &pb::DeliberationEvent) -> std::io::Result<()> {
        self.story.apply(event);
        match &mut self.show {
            Show::Live(view) => view.show(&self.story),
            Show::Lines => {
                if let Some(line) = lines::line(&self.story, event) {
                    self.terminal.print(&format!("{line}\n"))?;
                }
            }
            Show::LinesAside => {
                if let Some(line) = lines::line(&self.story, event) {
                    self.terminal.note(&line);
                }
            }
            Show::Json => self.terminal.print(&format!("{}\n", json::event(event)))?,
            Show::Silent => {}
        }
        Ok(())
    }

    fn note(&mut self, line: &str) {
        match &self.show {
            Show::Live(view) => view.note(line),
            _ => self.terminal.note(line),
        }
    }
}
