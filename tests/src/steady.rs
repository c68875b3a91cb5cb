//! Versions of one plugin, as many as a test wants: the component `steady` with other digits.

use anyhow::ensure;

use crate::components::component;

/// What requests call it.
pub const NAME: &str = "steady";

/// Numbers from here on are of versions whose candidates have nothing in common, at their weak spot.
pub const DISAGREES: u32 = 700_000;
/// Numbers from here on are of versions that fail there.
pub const FAILS: u32 = 800_000;
/// Numbers from here on are of versions that trap there.
pub const TRAPS: u32 = 900_000;

/// What a task speaks of that is about the weak spot of these versions.
pub const WEAK_SPOT: &str = "the weak spot";

/// The digits of the version that was built.
const BUILT: &[u8] = b"7654321.0.0";

/// The version of this number, up to 999,999; a higher number is a higher version.
#[must_use]
pub fn version(number: u32) -> String {
    format!("{}.0.0", 1_000_000 + number)
}

/// The component of this version: it describes itself so, and tells it in the outcome.
///
/// # Errors
/// When the component has other digits than are looked for.
pub fn steady(number: u32) -> anyhow::Result<Vec<u8>> {
    let mut bytes = component(NAME)?.to_vec();
    let version = version(number);
    ensure!(version.len() == BUILT.len(), "{number} has too many digits");
    let mut places = Vec::new();
    for (at, window) in bytes.windows(BUILT.len()).enumerate() {
        if window == BUILT {
            places.push(at);
        }
    }
    ensure!(
        !places.is_empty(),
        "the component `{NAME}` tells no version"
    );
    for at in places {
        bytes[at..at + BUILT.len()].copy_from_slice(version.as_bytes());
    }
    Ok(bytes)
}
