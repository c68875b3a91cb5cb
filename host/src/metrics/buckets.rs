//! The bounds of histogram buckets, in seconds unless the name says otherwise.

/// From a cached answer of a small model to a reasoning model on a loaded engine.
pub(super) const GENERATION: [f64; 14] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0,
];

/// A deliberation takes several generations, and ends after half an hour by default.
pub(super) const DELIBERATION: [f64; 14] = [
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0,
];

/// From an answer out of memory to a call that waits for a deliberation.
pub(super) const CALL: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0,
];

/// From a disk with a battery to one that hangs.
pub(super) const COMMIT: [f64; 12] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
];

/// Writes of one commit; 512 is the most.
pub(super) const COMMIT_WRITES: [f64; 10] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// A pooled instance takes tens of microseconds, one of Python some milliseconds.
pub(super) const INSTANTIATION: [f64; 12] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 1.0,
];

/// A small plugin takes a tenth of a second, one of Python half a minute.
pub(super) const COMPILATION: [f64; 12] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0,
];

/// The same bounds in milliseconds.
pub(super) fn milliseconds(seconds: &'static [f64]) -> impl Iterator<Item = f64> {
    seconds.iter().map(|bound| bound * 1_000.0)
}
