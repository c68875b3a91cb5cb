//! The names that each API has for the fields of a request, so that an error names what the client
//! sent and not what the core calls it.

/// An API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// Both `RayExecutorService` packages.
    RayExecutor,
    /// `conclave.v1`.
    ConclaveV1,
}

/// The core's name of a field, or how its path begins, and the API's.
type Names = [(&'static str, &'static str)];

const RAY_EXECUTOR: &Names = &[
    ("task.id", "task_id"),
    ("task.description", "task_description"),
    ("task.role", "role"),
    ("task.metadata", "constraints.metadata"),
    ("model", "vllm_model"),
    ("endpoint", "vllm_url"),
    ("timeout", "constraints.timeout_seconds"),
    ("max_retries", "constraints.max_retries"),
    ("strategy.name", "constraints.metadata[strategy]"),
    ("strategy", "constraints.metadata[strategy]"),
    ("strategy_params", "constraints.metadata[strategy_params]"),
    ("scorer.name", "constraints.metadata[scorer]"),
    ("scorer", "constraints.metadata[scorer]"),
    ("correlation_id", "constraints.metadata[correlation_id]"),
    ("priority", "constraints.metadata[priority]"),
];

const CONCLAVE_V1: &Names = &[
    ("task", "deliberation.task"),
    ("agents", "deliberation.task.agents"),
    ("model", "deliberation.task.model"),
    ("endpoint", "deliberation.endpoint"),
    ("timeout", "deliberation.timeout"),
    ("max_retries", "deliberation.max_retries"),
    ("strategy", "deliberation.strategy"),
    ("strategy_params", "deliberation.strategy.params_json"),
    ("scorer", "deliberation.scorer"),
    ("scorer_params", "deliberation.scorer.params_json"),
    ("labels", "deliberation.labels"),
    ("correlation_id", "deliberation.correlation_id"),
    ("priority", "deliberation.priority"),
];

impl Api {
    /// The API's name of a field that the core names, with the path behind it.
    pub(super) fn field(self, core: &str) -> String {
        let names = match self {
            Self::RayExecutor => RAY_EXECUTOR,
            Self::ConclaveV1 => CONCLAVE_V1,
        };
        let found = names.iter().find_map(|(name, wire)| {
            let path = core.strip_prefix(name)?;
            let ends_here = path.is_empty() || path.starts_with(['.', '[', '/', ' ']);
            ends_here.then(|| format!("{wire}{path}"))
        });
        found.unwrap_or_else(|| core.to_owned())
    }

    /// The API's name of a field in which two requests differ.
    pub(super) fn difference(self, core: &str) -> String {
        self.field(match core {
            "task_id" => "task.id",
            "task_description" => "task.description",
            "role" => "task.role",
            "metadata" => "task.metadata",
            other => other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_names_of_the_api() {
        let cases = [
            ("task.id", "task_id", "deliberation.task.id"),
            (
                "task.metadata key",
                "constraints.metadata key",
                "deliberation.task.metadata key",
            ),
            (
                "task.metadata[x.y]",
                "constraints.metadata[x.y]",
                "deliberation.task.metadata[x.y]",
            ),
            (
                "agents[3].id",
                "agents[3].id",
                "deliberation.task.agents[3].id",
            ),
            ("model", "vllm_model", "deliberation.task.model"),
            ("endpoint", "vllm_url", "deliberation.endpoint"),
            (
                "timeout",
                "constraints.timeout_seconds",
                "deliberation.timeout",
            ),
            (
                "strategy.name",
                "constraints.metadata[strategy]",
                "deliberation.strategy.name",
            ),
            (
                "strategy_params/stop/m",
                "constraints.metadata[strategy_params]/stop/m",
                "deliberation.strategy.params_json/stop/m",
            ),
            (
                "scorer_params",
                "scorer_params",
                "deliberation.scorer.params_json",
            ),
            ("labels key", "labels key", "deliberation.labels key"),
        ];
        for (core, ray_executor, conclave) in cases {
            assert_eq!(Api::RayExecutor.field(core), ray_executor);
            assert_eq!(Api::ConclaveV1.field(core), conclave);
        }
        assert_eq!(Api::RayExecutor.difference("role"), "role");
        assert_eq!(
            Api::ConclaveV1.difference("task_description"),
            "deliberation.task.description"
        );
    }
}
