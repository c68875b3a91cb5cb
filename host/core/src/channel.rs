//! Channels: which component a plugin's name stands for, and how an operator changes that.
//!
//! Every name has a channel `stable`, and may have a `canary` beside it that serves a share of the
//! deliberations. [`Channels`] is the whole state of one name; its methods decide what an order makes
//! of it, and change nothing when they refuse. Keeping it is the registry's work.

mod share;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ids::{DeliberationId, Digest, Tenant};
use crate::plugin::Kind;
use crate::task_type::TaskType;

pub use self::share::{NotAShare, Share};

/// A name that requests use; a strategy and a scorer of one name are two.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PluginName {
    /// Which kind of plugin.
    pub kind: Kind,
    /// What requests call it.
    pub name: String,
}

impl PluginName {
    /// The name of a plugin of this kind.
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        let name = name.into();
        Self { kind, name }
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind, self.name)
    }
}

/// One of the two components that a name may stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// What serves unless something else is said.
    Stable,
    /// What is tried beside it.
    Canary,
}

impl Arm {
    /// The channel's name, which a request may give instead of a version.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
        }
    }

    /// The channel of this name.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        match text {
            "stable" => Some(Self::Stable),
            "canary" => Some(Self::Canary),
            _ => None,
        }
    }
}

/// How a deliberation came to its component while there was a canary: by chance. Pinned with it, so
/// that its end can be held against the other arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draw {
    /// With which probability it came to the canary.
    pub share: Share,
    /// Where it came.
    pub arm: Arm,
    /// Which canary it was, by the [`Canary::since`] that no other one of the name has.
    pub canary: u64,
}

/// A deliberation that asks for a plugin, as far as rules look at it.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Decides the draw: the same deliberation always draws the same.
    pub id: &'a DeliberationId,
    /// The role that the answer is for; may be empty.
    pub role: &'a str,
    /// What kind of work it is.
    pub task_type: TaskType,
    /// The client's labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Whose it is.
    pub tenant: &'a Tenant,
}

/// Which deliberations another share holds for. What it does not name matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryRule {
    /// Those for this role, without regard to case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Those of this type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_type: Option<TaskType>,
    /// Those that have all of these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Those of this tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// Their share.
    pub share: Share,
}

impl CanaryRule {
    fn matches(&self, asking: &Asking<'_>) -> bool {
        let role = |role: &String| role.trim().eq_ignore_ascii_case(asking.role.trim());
        let labels = |(key, value): (&String, &String)| asking.labels.get(key) == Some(value);
        self.role.as_ref().is_none_or(role)
            && self.task_type.is_none_or(|of| of == asking.task_type)
            && self.labels.iter().all(labels)
            && self.tenant.as_ref().is_none_or(|of| of == asking.tenant)
    }
}

/// A component that is tried beside the stable one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Which.
    pub digest: Digest,
    /// The share of the deliberations that no rule matches.
    pub share: Share,
    /// The first that matches a deliberation decides its share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<CanaryRule>,
    /// The revision at which it began.
    pub since: u64,
}

impl Canary {
    /// The probability with which this deliberation comes to the canary.
    #[must_use]
    pub fn share_of(&self, asking: &Asking<'_>) -> Share {
        let rule = self.rules.iter().find(|rule| rule.matches(asking));
        rule.map_or(self.share, |rule| rule.share)
    }
}

/// What a name stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channels {
    /// What serves.
    pub stable: Option<Digest>,
    /// What is tried beside it.
    pub canary: Option<Canary>,
    /// What was stable before, the latest last; what a rollback goes back to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Digest>,
    /// Whether an operator has chosen `stable`. Until then a plugin in the box follows the host's own
    /// build.
    #[serde(default)]
    pub chosen: bool,
    /// How often this changed.
    pub revision: u64,
}

/// Rollbacks that a name remembers; more are not of today.
const BEFORE_MAX: usize = 32;

/// What an operator wants of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A component becomes stable; the canary ends. Without a digest, the canary becomes it.
    Promote(Option<Digest>),
    /// A component is tried, instead of the one that is tried now; of that one, share and rules
    /// change.
    Canary {
        /// Which.
        digest: Digest,
        /// The share of what no rule matches.
        share: Share,
        /// Others' shares.
        rules: Vec<CanaryRule>,
    },
    /// The canary ends; where there is none, what was stable before is again.
    Rollback,
    /// What the host's own build has in the box becomes stable, unless an operator has chosen.
    Follow(Digest),
}

/// Why an order changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no canary to promote.
    #[error("has no canary to promote; name a version")]
    NoCanary,
    /// It is what it shall become.
    #[error("already has sha256:{} as {}", .0.short(), .1.as_str())]
    Already(Digest, Arm),
    /// There is no version besides the stable one.
    #[error("has no version besides its stable sha256:{}; push another one first", .0.short())]
    NothingElse(Digest),
    /// Nothing was stable before.
    #[error("has no canary, and nothing was stable before: there is nothing to go back to")]
    NothingBefore,
    /// A component cannot be removed while it serves.
    #[error("needs sha256:{} as {}; promote another version or roll back first", .0.short(), .1.as_str())]
    InUse(Digest, Arm),
    /// The last component of a name stays.
    #[error(
        "has no component besides sha256:{}, which stays: a name keeps its revisions; push another version to replace it",
        .0.short()
    )]
    OnlyOne(Digest),
    /// Somebody else was quicker.
    #[error(
        "is at revision {actual}, not at {expected}: somebody changed it meanwhile; look at it again"
    )]
    Changed {
        /// What the order was made for.
        expected: u64,
        /// What it is.
        actual: u64,
    },
    /// More rules than a canary may have.
    #[error("a canary may have {max} rules, not {given}")]
    TooManyRules {
        /// How many there are.
        given: usize,
        /// How many are allowed.
        max: usize,
    },
}

/// Rules that a canary may have.
pub const RULES_MAX: usize = 64;

impl Channels {
    /// What becomes of the name by this order.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn after(&self, order: Order) -> Result<Self, Refused> {
        let mut next = self.clone();
        next.revision += 1;
        match order {
            Order::Promote(digest) => {
                let canary = self.canary.as_ref().map(|canary| canary.digest);
                let digest = digest.or(canary).ok_or(Refused::NoCanary)?;
                // Whoever promotes what only follows the host's build holds on to it from now on.
                if self.stable == Some(digest) && self.chosen {
                    return Err(Refused::Already(digest, Arm::Stable));
                }
                next.serve(digest);
                next.chosen = true;
            }
            Order::Canary {
                digest,
                share,
                rules,
            } => {
                if self.stable == Some(digest) {
                    return Err(Refused::Already(digest, Arm::Stable));
                }
                if rules.len() > RULES_MAX {
                    return Err(Refused::TooManyRules {
                        given: rules.len(),
                        max: RULES_MAX,
                    });
                }
                let same = self.canary.as_ref().filter(|it| it.digest == digest);
                if same.is_some_and(|it| it.share == share && it.rules == rules) {
                    return Err(Refused::Already(digest, Arm::Canary));
                }
                // Another share of the same canary: what was seen of it holds.
                let since = same.map_or(next.revision, |it| it.since);
                next.canary = Some(Canary {
                    digest,
                    share,
                    rules,
                    since,
                });
            }
            Order::Rollback => {
                if next.canary.take().is_none() {
                    let before = next.before.pop().ok_or(Refused::NothingBefore)?;
                    next.stable = Some(before);
                    next.chosen = true;
                }
            }
            Order::Follow(digest) => {
                if self.stable == Some(digest) {
                    return Err(Refused::Already(digest, Arm::Stable));
                }
                next.serve(digest);
            }
        }
        Ok(next)
    }

    fn serve(&mut self, digest: Digest) {
        self.canary = None;
        let served = self.stable.replace(digest);
        if let Some(served) = served.filter(|served| *served != digest) {
            self.before.push(served);
            let surplus = self.before.len().saturating_sub(BEFORE_MAX);
            self.before.drain(..surplus);
        }
    }

    /// What becomes of the name when a component is removed.
    ///
    /// # Errors
    /// [`Refused::InUse`] while a channel points to it.
    pub fn without(&self, digest: &Digest) -> Result<Self, Refused> {
        if self.stable == Some(*digest) {
            return Err(Refused::InUse(*digest, Arm::Stable));
        }
        if self.canary.as_ref().is_some_and(|it| it.digest == *digest) {
            return Err(Refused::InUse(*digest, Arm::Canary));
        }
        let mut next = self.clone();
        next.before.retain(|before| before != digest);
        // A component that was stable twice around the removed one is there once.
        next.before.dedup();
        if next.before.last() == next.stable.as_ref() {
            next.before.pop();
        }
        Ok(next)
    }

    /// The component on this channel.
    #[must_use]
    pub fn digest(&self, arm: Arm) -> Option<Digest> {
        match arm {
            Arm::Stable => self.stable,
            Arm::Canary => self.canary.as_ref().map(|canary| canary.digest),
        }
    }

    /// Which component a deliberation gets that names no version, and how it came to it.
    #[must_use]
    pub fn assign(&self, name: &PluginName, asking: &Asking<'_>) -> Option<(Digest, Option<Draw>)> {
        let stable = self.stable?;
        let Some(canary) = &self.canary else {
            return Some((stable, None));
        };
        let share = canary.share_of(asking);
        let arm = match share.takes(place_of(name, canary.since, asking.id)) {
            true => Arm::Canary,
            false => Arm::Stable,
        };
        let draw = Draw {
            share,
            arm,
            canary: canary.since,
        };
        let digest = match arm {
            Arm::Canary => canary.digest,
            Arm::Stable => stable,
        };
        Some((digest, Some(draw)))
    }
}

/// Where a deliberation stands among all, evenly spread: a hash, so that every host draws the same, and
/// another one for every name and canary, so that no deliberation is unlucky twice.
fn place_of(name: &PluginName, since: u64, id: &DeliberationId) -> u32 {
    let text = format!("{}\0{}\0{since}\0{id}", name.kind, name.name);
    let hash = Sha256::digest(text.as_bytes());
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
}

#[cfg(test)]
mod tests;
