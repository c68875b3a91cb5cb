//! What a job is submitted as.

use std::collections::BTreeMap;

use conclave_core::cluster::JobSpec;
use serde::Serialize;

/// A job to be submitted; what is absent is Ray's default.
#[derive(Serialize)]
pub(super) struct Submission<'a> {
    submission_id: &'a str,
    entrypoint: &'a str,
    metadata: &'a BTreeMap<String, String>,
    runtime_env: RuntimeEnv<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint_num_cpus: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint_num_gpus: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint_memory: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint_resources: Option<&'a BTreeMap<String, f64>>,
}

/// What a job runs in.
#[derive(Serialize)]
struct RuntimeEnv<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env_vars: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_dir: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pip: Option<Pip<'a>>,
}

/// What is installed for a job. Ray writes the packages into a `requirements.txt`, line by line.
#[derive(Serialize)]
struct Pip<'a> {
    packages: &'a [String],
    /// Whether what the node has must fit together too, which is not this job's business.
    pip_check: bool,
}

impl<'a> Submission<'a> {
    pub(super) fn new(job: &'a JobSpec) -> Self {
        let resources = &job.resources;
        let some = |amount: f64| Some(amount).filter(|amount| *amount > 0.0);
        Self {
            submission_id: &job.submission_id,
            entrypoint: &job.entrypoint,
            metadata: &job.metadata,
            runtime_env: RuntimeEnv {
                env_vars: &job.env_vars,
                working_dir: job.working_dir.as_deref(),
                pip: Some(job.pip.as_slice())
                    .filter(|packages| !packages.is_empty())
                    .map(|packages| Pip {
                        packages,
                        pip_check: false,
                    }),
            },
            entrypoint_num_cpus: some(resources.cpus),
            entrypoint_num_gpus: some(resources.gpus),
            entrypoint_memory: Some(resources.memory_bytes).filter(|bytes| *bytes > 0),
            entrypoint_resources: Some(&resources.custom).filter(|custom| !custom.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_was_asked_for_is_submitted() {
        let bare = JobSpec {
            submission_id: "a".to_owned(),
            entrypoint: "true".to_owned(),
            ..JobSpec::default()
        };
        assert_eq!(
            serde_json::to_value(Submission::new(&bare)).unwrap(),
            json!({"submission_id": "a", "entrypoint": "true", "metadata": {}, "runtime_env": {}})
        );
        let mut whole = bare;
        whole.env_vars.insert("X".to_owned(), "1".to_owned());
        whole.metadata.insert("host".to_owned(), "h".to_owned());
        whole.pip = vec!["nats-py==2.11.0".to_owned()];
        whole.working_dir = Some("gcs://p.zip".to_owned());
        whole.resources.cpus = 0.5;
        whole.resources.gpus = 1.0;
        whole.resources.memory_bytes = 1 << 30;
        whole.resources.custom.insert("a100".to_owned(), 1.0);
        assert_eq!(
            serde_json::to_value(Submission::new(&whole)).unwrap(),
            json!({
                "submission_id": "a",
                "entrypoint": "true",
                "metadata": {"host": "h"},
                "runtime_env": {
                    "env_vars": {"X": "1"},
                    "working_dir": "gcs://p.zip",
                    "pip": {"packages": ["nats-py==2.11.0"], "pip_check": false},
                },
                "entrypoint_num_cpus": 0.5,
                "entrypoint_num_gpus": 1.0,
                "entrypoint_memory": 1 << 30,
                "entrypoint_resources": {"a100": 1.0},
            })
        );
    }
}
