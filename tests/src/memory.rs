//! The memory of a process, as Linux counts it.

use std::fs;

use anyhow::Context as _;

/// Bytes of a process that are in memory now. A page that stands at several addresses, as those of a
/// plugin's data that no instance has changed, counts at each.
///
/// # Errors
/// When the process is gone.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    of_file(pid, "status", "VmRSS:")
}

/// As [`resident_bytes`], with each page counted once.
///
/// # Errors
/// When the process is gone, or another user's.
pub fn proportional_bytes(pid: u32) -> anyhow::Result<u64> {
    of_file(pid, "smaps_rollup", "Pss:")
}

/// Bytes of files that a process has mapped and in memory now, as those of its program that have run.
///
/// # Errors
/// When the process is gone.
pub fn mapped_bytes(pid: u32) -> anyhow::Result<u64> {
    of_file(pid, "status", "RssFile:")
}

/// The most bytes of a process that were in memory at once since its start, or since
/// [`reset_peak`].
///
/// # Errors
/// When the process is gone.
pub fn peak_bytes(pid: u32) -> anyhow::Result<u64> {
    of_file(pid, "status", "VmHWM:")
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

fn of_file(pid: u32, file: &str, field: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/{file}");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
    let value = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = value.and_then(|value| value.trim().strip_suffix(" kB")?.parse().ok());
    let kib: u64 = kib.with_context(|| format!("`{path}` has no `{field}`"))?;
    Ok(kib * 1024)
}
