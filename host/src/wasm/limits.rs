//! What one plugin instance may use, and how the engine is told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wasmtime::ResourceLimiter;

/// The limits of one plugin instance that the engine enforces.
///
/// Generations, journal entries and wall time are bounded by the session instead
/// ([`conclave_core::limits::Limits`]). None of these is pinned in a journal: they bound the host's
/// cost, and a plugin cannot observe them but by being ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PluginLimits {
    /// Bytes of a component. A Python component has 18 MB.
    pub component_bytes_max: u64,
    /// Milliseconds of CPU time that compiling a component may take, rounded up to seconds. A Python
    /// component takes 30 s.
    pub compile_ms_max: u64,
    /// Bytes of memory that compiling a component may take. A Python component takes 350 MB.
    pub compile_memory_bytes_max: u64,
    /// Bytes of all linear memories of an instance together.
    pub memory_bytes_max: u64,
    /// Linear memories of an instance.
    pub memories_max: u32,
    /// Tables of an instance.
    pub tables_max: u32,
    /// Elements of one table. A JavaScript component has 7,705.
    pub table_elements_max: u32,
    /// Core instances that a component is made of. A Python component has 14.
    pub core_instances_max: u32,
    /// Handles (jobs, job sets, streams, pollables) that an instance may hold at once.
    pub handles_max: u32,
    /// Bytes that an instance may give to one call of the host, or return.
    pub call_bytes_max: u64,
    /// Calls of the host in all; to grow a memory is one, too.
    pub calls_max: u64,
    /// Milliseconds of CPU time between two calls of the host.
    pub cpu_slice_ms_max: u64,
    /// Milliseconds of CPU time in all.
    pub cpu_ms_max: u64,
    /// Bytes of log lines; what exceeds them is dropped.
    pub log_bytes_max: u64,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            component_bytes_max: 32 << 20,
            compile_ms_max: 120_000,
            compile_memory_bytes_max: 1 << 30,
            memory_bytes_max: 64 << 20,
            memories_max: 4,
            tables_max: 8,
            table_elements_max: 10_000,
            core_instances_max: 32,
            // Open generations are 64 by default; streams and pollables are a handful.
            handles_max: 4_096,
            // Above the largest task description (1 MiB) with the answers of a whole council.
            call_bytes_max: 16 << 20,
            // A thousand generations need some ten thousand calls; a polling loop is not a strategy.
            calls_max: 1_000_000,
            cpu_slice_ms_max: 2_000,
            cpu_ms_max: 30_000,
            log_bytes_max: 64 << 10,
        }
    }
}

/// Names of limits as they stand in the configuration.
pub(super) mod key {
    macro_rules! keys {
        ($($name:ident = $field:literal),+ $(,)?) => {
            $(pub(in crate::wasm) const $name: &str = concat!("plugins.limits.", $field);)+
        };
    }
    keys! {
        COMPONENT_BYTES = "component_bytes_max",
        COMPILE_MS = "compile_ms_max",
        COMPILE_MEMORY_BYTES = "compile_memory_bytes_max",
        MEMORY_BYTES = "memory_bytes_max",
        MEMORIES = "memories_max",
        TABLES = "tables_max",
        TABLE_ELEMENTS = "table_elements_max",
        CORE_INSTANCES = "core_instances_max",
        HANDLES = "handles_max",
        CALL_BYTES = "call_bytes_max",
        CALLS = "calls_max",
        CPU_SLICE_MS = "cpu_slice_ms_max",
        CPU_MS = "cpu_ms_max",
    }
}

/// A limit that an instance exceeded; as an error of a host call it ends the instance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("exceeded the limit `{limit}`: {detail}")]
pub(super) struct LimitExceeded {
    pub(super) limit: &'static str,
    pub(super) detail: String,
}

impl LimitExceeded {
    pub(super) fn new(limit: &'static str, detail: impl Into<String>) -> Self {
        Self {
            limit,
            detail: detail.into(),
        }
    }
}

/// Bounds what an instance allocates. Exceeding a bound ends the instance with the limit's name,
/// since most guests would answer a refused growth with a trap that tells nothing.
#[derive(Debug)]
pub(super) struct Ceiling {
    memory_bytes_max: usize,
    memory_bytes: usize,
    table_elements_max: usize,
    core_instances_max: usize,
    memories_max: usize,
    tables_max: usize,
}

impl Ceiling {
    pub(super) fn new(limits: &PluginLimits) -> Self {
        Self {
            memory_bytes_max: usize::try_from(limits.memory_bytes_max).unwrap_or(usize::MAX),
            memory_bytes: 0,
            table_elements_max: as_usize(limits.table_elements_max),
            core_instances_max: as_usize(limits.core_instances_max),
            memories_max: as_usize(limits.memories_max),
            tables_max: as_usize(limits.tables_max),
        }
    }
}

impl ResourceLimiter for Ceiling {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_add(desired - current);
        if total > self.memory_bytes_max {
            let detail = format!(
                "its memories would have {total} bytes, at most {} are allowed",
                self.memory_bytes_max
            );
            return Err(LimitExceeded::new(key::MEMORY_BYTES, detail).into());
        }
        // The module's own maximum is its author's bound: the growth fails as WebAssembly says.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > self.table_elements_max {
            let detail = format!(
                "a table would have {desired} elements, at most {} are allowed",
                self.table_elements_max
            );
            return Err(LimitExceeded::new(key::TABLE_ELEMENTS, detail).into());
        }
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn instances(&self) -> usize {
        self.core_instances_max
    }

    fn tables(&self) -> usize {
        self.tables_max
    }

    fn memories(&self) -> usize {
        self.memories_max
    }
}

pub(super) fn as_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_counted_together() {
        let mut ceiling = Ceiling::new(&PluginLimits {
            memory_bytes_max: 100,
            ..PluginLimits::default()
        });
        assert!(ceiling.memory_growing(0, 60, None).unwrap());
        assert!(ceiling.memory_growing(0, 40, None).unwrap());
        let error = ceiling.memory_growing(40, 41, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "exceeded the limit `plugins.limits.memory_bytes_max`: \
             its memories would have 101 bytes, at most 100 are allowed"
        );
    }

    #[test]
    fn a_growth_past_the_modules_own_maximum_only_fails() {
        let mut ceiling = Ceiling::new(&PluginLimits::default());
        assert!(!ceiling.memory_growing(0, 2 << 16, Some(1 << 16)).unwrap());
        assert!(!ceiling.table_growing(0, 20, Some(10)).unwrap());
    }

    #[test]
    fn limits_read_from_a_part_of_them() {
        let limits: PluginLimits = serde_json::from_str(r#"{"cpu_ms_max": 5}"#).unwrap();
        assert_eq!(limits.cpu_ms_max, 5);
        assert_eq!(limits.memory_bytes_max, 64 << 20);
        assert!(serde_json::from_str::<PluginLimits>(r#"{"cpu": 5}"#).is_err());
    }
}
