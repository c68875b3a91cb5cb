//! How urgent a deliberation is to its client.

use serde::{Deserialize, Serialize};

/// 0 (last) to 9 (first), the scale of JMS (`JMSPriority`) and AMQP.
///
/// It decides which generations are sent first while more wait than the host may have in flight; what
/// is in flight is never aborted for one that is more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Priority(u8);

impl Priority {
    /// The most urgent.
    pub const MAX: u8 = 9;

    /// This priority; `None` when it is not on the scale.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        let number = u8::try_from(number).ok()?;
        (number <= Self::MAX).then_some(Self(number))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }

    /// Whether it is what a request has that says nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// 4, as in JMS: there is more room above, for what cannot wait, than below.
impl Default for Priority {
    fn default() -> Self {
        Self(4)
    }
}
