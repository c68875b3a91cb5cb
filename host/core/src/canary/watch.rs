//! Watches all deliberations for the canaries that are tried.

use std::sync::Mutex;

use tokio::sync::Notify;

use crate::channel::PluginName;
use crate::entry::{Accepted, Entry, Record};
use crate::live::lock;
use crate::observer::Observer;

use super::{Finding, Trial};

/// Shows every deliberation to the trials that it belongs to.
///
/// Nothing is written here: whoever ends canaries keeps [`Watch::trials`], and gives them back by
/// [`Watch::start`] after a restart. What was not kept is lost as evidence, and harms nothing else.
#[derive(Debug, Default)]
pub struct Watch {
    watched: Mutex<Vec<Watched>>,
    found: Notify,
}

#[derive(Debug)]
struct Watched {
    trial: Trial,
    /// Whether its verdict was told.
    told: bool,
}

/// A canary that was found worse than stable.
#[derive(Clone, Debug, PartialEq)]
pub struct Regression {
    /// Whose canary.
    pub plugin: PluginName,
    /// Which: the revision at which it began.
    pub canary: u64,
    /// Why.
    pub finding: Finding,
}

impl Watch {
    /// Watches for this trial from now on, instead of any other of the same name. A verdict that it
    /// already holds is told again.
    pub fn start(&self, trial: Trial) {
        let mut watched = lock(&self.watched);
        watched.retain(|it| it.trial.plugin() != trial.plugin());
        watched.push(Watched { trial, told: false });
        drop(watched);
        self.found.notify_one();
    }

    /// Ends the trial of a name, if there is one.
    pub fn stop(&self, plugin: &PluginName) {
        lock(&self.watched).retain(|it| it.trial.plugin() != plugin);
    }

    /// Which canary of a name is tried, by the revision at which it began.
    #[must_use]
    pub fn canary(&self, plugin: &PluginName) -> Option<u64> {
        self.of(plugin, |it| it.trial.canary())
    }

    /// What is known of a name's canary, by the test that is nearest to a verdict.
    #[must_use]
    pub fn nearest(&self, plugin: &PluginName) -> Option<Finding> {
        self.of(plugin, |it| it.trial.evidence().nearest())
    }

    /// Tells the verdict on a name's canary once more: nothing could be done about it.
    pub fn tell_again(&self, plugin: &PluginName) {
        self.of(plugin, |it| it.told = false);
        self.found.notify_one();
    }

    /// Sessions wait meanwhile, so `ask` must be quick.
    fn of<T>(&self, plugin: &PluginName, ask: impl FnOnce(&mut Watched) -> T) -> Option<T> {
        let mut watched = lock(&self.watched);
        let one = watched.iter_mut().find(|it| it.trial.plugin() == plugin);
        one.map(ask)
    }

    /// All trials as they are now, to keep them. They may be large, and sessions wait while they are
    /// copied.
    #[must_use]
    pub fn trials(&self) -> Vec<Trial> {
        let watched = lock(&self.watched);
        watched.iter().map(|it| it.trial.clone()).collect()
    }

    /// Waits for the next canary that is found worse. Each is told once, to one caller; what a caller
    /// that is dropped was not told stays for the next.
    pub async fn regression(&self) -> Regression {
        loop {
            if let Some(regression) = self.next() {
                return regression;
            }
            self.found.notified().await;
        }
    }

    fn next(&self) -> Option<Regression> {
        let mut watched = lock(&self.watched);
        watched.iter_mut().find_map(|it| {
            let finding = *it.trial.evidence().verdict()?;
            let plugin = it.trial.plugin().clone();
            let canary = it.trial.canary();
            let regression = Regression {
                plugin,
                canary,
                finding,
            };
            (!std::mem::replace(&mut it.told, true)).then_some(regression)
        })
    }
}

impl Observer for Watch {
    fn journaled(&self, accepted: &Accepted, record: &Record) {
        let trials = |tell: &mut dyn FnMut(&mut Trial)| {
            lock(&self.watched)
                .iter_mut()
                .for_each(|it| tell(&mut it.trial));
        };
        match &record.entry {
            Entry::Accepted(_) => trials(&mut |trial| trial.accepted(accepted)),
            Entry::Finished { verdict, .. } => {
                let mut found = false;
                trials(&mut |trial| {
                    let finding = trial.finished(accepted, record.at_ms, verdict);
                    found |= finding.is_some();
                });
                if found {
                    self.found.notify_one();
                }
            }
            _ => {}
        }
    }
}
