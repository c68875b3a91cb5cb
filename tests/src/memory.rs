//! The memory of a process, as Linux counts it.

use std::fs;

use anyhow::Context as _;

/// Bytes of a process that are in memory now.
///
/// # Errors
/// When the process is gone.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    of_status(pid, "VmRSS:")
}

/// The most bytes of a process that were in memory at once since its start, or since
/// [`reset_peak`].
///
/// # Errors
/// When the process is gone.
pub fn peak_bytes(pid: u32) -> anyhow::Result<u64> {
    of_status(pid, "VmHWM:")
}

/// Forgets the peak up to now.
///
/// # Errors
/// When the process is gone, or another user's.
pub fn reset_peak(pid: u32) -> anyhow::Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    // `man 5 proc_pid_clear_refs`
    fs::write(&path, "5").with_context(|| format!("cannot write `{path}`"))
}

fn of_status(pid: u32, field: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
    let value = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = value.and_then(|value| value.trim().strip_suffix(" kB")?.parse().ok());
    let kib: u64 = kib.with_context(|| format!("`{path}` has no `{field}`"))?;
    Ok(kib * 1024)
}
