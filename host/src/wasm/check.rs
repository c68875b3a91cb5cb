//! Decides whether a component may be a plugin here, and says why not.

use std::fmt;
use std::sync::Arc;

use conclave_core::ids::Digest;
use conclave_core::plugin::{Descriptor, Plugin, PluginRef};

use super::artifacts::Found;
use super::component::Prepared;
use super::engine::Engine;
use super::instance::ended;
use super::verdict::Verdict;
use super::work::Work;
use super::world::World;
use super::{ComponentError, descriptor};
use crate::rehearsal::canned::{Canned, canned};

/// A component that may be a plugin, and is ready to run.
#[derive(Debug)]
pub struct Checked {
    /// What it is.
    pub plugin: Plugin,
    /// The contract version that it is served as, for example `0.1`.
    pub contract: &'static str,
    /// What became of its canned deliberation.
    pub canned: Canned,
}

impl Checked {
    /// The world that it is of, for example `conclave:deliberation/strategy@0.1`.
    #[must_use]
    pub fn world(&self) -> String {
        format!(
            "conclave:deliberation/{}@{}",
            self.plugin.kind, self.contract
        )
    }
}

/// Every reason that was found why a component cannot be a plugin. What stands first may have kept
/// later checks from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Each names what is wrong and the rule; never empty.
    pub reasons: Vec<String>,
}

/// Reasons that are told; a component can be wrong in a hundred thousand ways.
const REASONS_MAX: usize = 20;
/// Characters of a reason.
const REASON_CHARS_MAX: usize = 1_500;

impl Refusal {
    pub(super) fn because(reason: impl Into<String>) -> Self {
        Self {
            reasons: vec![reason.into()],
        }
    }

    /// As many reasons as somebody reads, each as long as somebody reads.
    fn bounded(mut self) -> Self {
        let more = self.reasons.len().saturating_sub(REASONS_MAX);
        self.reasons.truncate(REASONS_MAX);
        for reason in &mut self.reasons {
            if let Some((end, _)) = reason.char_indices().nth(REASON_CHARS_MAX) {
                reason.truncate(end);
                reason.push('…');
            }
        }
        if more > 0 {
            self.reasons.push(format!("and {more} reasons more"));
        }
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reasons.join("; "))
    }
}

impl std::error::Error for Refusal {}

impl Engine {
    /// Checks a component: that it is one, is of a world that is served, imports only what is linked,
    /// fits the limits, compiles, describes itself by the rules, and survives a canned deliberation.
    /// One that was accepted before by the same rules is neither compiled nor run again.
    ///
    /// # Errors
    /// All reasons that were found; or that it cannot be found out now.
    pub async fn check(&self, bytes: impl Into<Arc<[u8]>>) -> Result<Checked, ComponentError> {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        if let Some(remembered) = self.remembered(digest).await {
            self.did(&Work::Checked {
                result: "remembered",
            });
            return Ok(remembered);
        }
        let checked = self.examine(digest, bytes).await;
        let result = match &checked {
            Ok(_) => "accepted",
            Err(ComponentError::Refused(_)) => "refused",
            Err(ComponentError::NotNow(_)) => "failed",
        };
        self.did(&Work::Checked { result });
        checked.map_err(|error| match error {
            ComponentError::Refused(refusal) => refusal.bounded().into(),
            not_now @ ComponentError::NotNow(_) => not_now,
        })
    }

    /// What an earlier check has found out.
    async fn remembered(&self, digest: Digest) -> Option<Checked> {
        let verdict = self.verdict(digest).await?;
        let world = verdict.world()?;
        if !verdict.holds(&self.limits) {
            return None;
        }
        accepted(digest, world, verdict.descriptor).await.ok()
    }

    async fn examine(&self, digest: Digest, bytes: Arc<[u8]>) -> Result<Checked, ComponentError> {
        let prepared = self.prepare(digest, bytes).await?;
        let checked = self.run(&prepared, digest).await;
        match &checked {
            Ok(checked) => self.remember(checked, prepared.world).await,
            Err(_) => self.forget(&digest),
        }
        checked
    }

    /// Lets it describe itself and deliberate once. One plugin does at a time: its instances are beside
    /// those of the host's deliberations.
    async fn run(
        &self,
        prepared: &Arc<Prepared>,
        digest: Digest,
    ) -> Result<Checked, ComponentError> {
        let turn = self.rehearsing.acquire().await;
        let _turn = turn.expect("the semaphore is never closed");
        let descriptor = self.describe(prepared, digest).await?;
        let checked = accepted(digest, prepared.world, descriptor).await?;
        let solo = self.solo_of(Arc::clone(prepared), digest);
        let canned = canned(&solo, &checked.plugin).await?;
        Ok(Checked { canned, ..checked })
    }

    async fn describe(
        &self,
        prepared: &Arc<Prepared>,
        digest: Digest,
    ) -> Result<Descriptor, Refusal> {
        let mut store = self.store(&format!("sha256:{}", digest.short()), None);
        let meter = store.data().meter();
        let called = Arc::clone(prepared);
        let limits = self.limits.clone();
        let call = async move {
            let described = called.describe(&mut store).await;
            described.map_err(|error| ended(&error, &limits, store.data()))
        };
        let described = self.background.run(meter, call).await;
        described.map_err(|error| Refusal::because(format!("`describe` failed: {error}")))
    }

    /// What an earlier check has written down, by whatever rules.
    pub(super) async fn verdict(&self, digest: Digest) -> Option<Verdict> {
        let artifacts = Arc::clone(self.artifacts.as_ref()?);
        let read = tokio::task::spawn_blocking(move || match artifacts.verdict(&digest) {
            Found::Good(verdict) => serde_json::from_slice(&verdict).ok(),
            Found::Absent | Found::Refused => None,
        });
        read.await.ok().flatten()
    }

    /// Writes down for the next start that a component was accepted.
    async fn remember(&self, checked: &Checked, world: World) {
        let Some(artifacts) = self.artifacts.clone() else {
            return;
        };
        let Plugin {
            descriptor,
            reference,
            ..
        } = &checked.plugin;
        let verdict = Verdict::accepted(&self.limits, world, descriptor.clone());
        let verdict = serde_json::to_vec(&verdict).expect("a verdict is JSON");
        let digest = reference.digest;
        let kept = tokio::task::spawn_blocking(move || artifacts.keep_verdict(&digest, &verdict));
        // It does not panic, and what is not kept is found out again.
        let _ = kept.await;
    }
}

/// The plugin that describes itself so, unless it breaks a rule.
async fn accepted(
    digest: Digest,
    world: World,
    descriptor: Descriptor,
) -> Result<Checked, Refusal> {
    // It may take seconds to compile the schema of its params.
    let checking = tokio::task::spawn_blocking(move || {
        let params = descriptor::check(&descriptor)?;
        Ok((descriptor, params))
    });
    let checked = checking.await.unwrap_or_else(|panicked| {
        let reason = format!("describes its params so that the host fails: {panicked}");
        Err(Refusal::because(reason))
    });
    let (descriptor, params) = checked?;
    let plugin = Plugin {
        reference: PluginRef {
            name: descriptor.name.clone(),
            version: descriptor.version.clone(),
            digest,
        },
        kind: world.kind,
        descriptor,
        params,
    };
    let canned = Canned::Skipped("it was when it was accepted first".to_owned());
    Ok(Checked {
        plugin,
        contract: world.contract,
        canned,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_as_long_as_somebody_reads() {
        let reasons = (0..50).map(|at| format!("{at}{}", "é".repeat(2_000)));
        let refusal = Refusal {
            reasons: reasons.collect(),
        };
        let told = refusal.bounded().reasons;
        assert_eq!(told.len(), 21);
        assert_eq!(told[0].chars().count(), 1_501);
        assert_eq!(told[20], "and 30 reasons more");
    }
}
