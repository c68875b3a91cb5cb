//! The Ray job that an executor is.

use std::collections::BTreeMap;
use std::time::Duration;

use conclave_core::cluster::JobSpec;
use serde::Serialize;
use serde_json::{Value, json};

use super::package::Package;
use super::settings::Queue;
use crate::nats::Credentials;
use crate::openai::ApiKey;

/// Where a job's metadata has the name of the queue that it takes work from.
pub const QUEUE: &str = "conclave.queue";

/// The variable with an executor's settings.
const SETTINGS: &str = "CONCLAVE_EXECUTOR";

/// The variable with the keys of model servers.
const MODEL_KEYS: &str = "CONCLAVE_MODEL_API_KEYS";

/// How long an executor that is told to stop may end what it runs, before it puts it back. Ray is told to
/// wait for longer before it kills (`RAY_JOB_STOP_WAIT_TIME_S`).
const DRAIN_MS: u64 = 10_000;

/// How the executors of one cluster are started.
#[derive(Clone, Debug)]
pub struct Executor {
    /// The cluster's name in the configuration.
    pub cluster: String,
    /// The Python interpreter on the cluster.
    pub python: String,
    /// The servers as the cluster reaches them, with commas in between.
    pub nats_url: String,
    /// Who the executors are to NATS.
    pub nats_credentials: Credentials,
    /// Certificates, as PEM, that NATS is trusted by instead of the system's.
    pub nats_tls_ca: Option<String>,
    /// How many actors there are; each is a process.
    pub actors: u32,
    /// How many generations an actor runs at a time.
    pub slots: u32,
    /// CPUs that Ray sets aside for an actor.
    pub actor_cpus: f64,
    /// GPUs, in fractions too.
    pub actor_gpus: f64,
    /// Resources that the cluster's nodes declare, by name.
    pub actor_resources: BTreeMap<String, f64>,
    /// After how long without a sign of life work is delivered again.
    pub ack_wait: Duration,
    /// How often work is started that never comes to an end.
    pub tries_max: u32,
    /// The keys of model servers, by their origins.
    pub model_keys: BTreeMap<String, ApiKey>,
    /// Beside what the job needs.
    pub env_vars: BTreeMap<String, String>,
}

/// Executors cannot use the host's credentials.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "executors on a cluster cannot use a credentials file: give them a user and a password, or a token"
)]
pub struct UnusableCredentials;

#[derive(Serialize)]
struct Settings<'a> {
    cluster: &'a str,
    queue: &'a str,
    nats_url: &'a str,
    nats_credentials: Value,
    nats_tls_ca: Option<&'a str>,
    actors: u32,
    slots: u32,
    actor_cpus: f64,
    actor_gpus: f64,
    actor_resources: &'a BTreeMap<String, f64>,
    ack_wait_ms: u64,
    tries_max: u32,
    count: Option<usize>,
    drain_ms: u64,
    submission_id: &'a str,
}

impl Executor {
    /// The job that serves a queue. `count` is the size of a wave, after which the job ends; without it, it
    /// serves until it is stopped. `working_dir` is where the package was uploaded to.
    ///
    /// # Errors
    /// When the credentials are a file.
    pub fn job(
        &self,
        submission_id: &str,
        queue: &Queue,
        count: Option<usize>,
        package: &Package,
        working_dir: String,
    ) -> Result<JobSpec, UnusableCredentials> {
        let settings = Settings {
            cluster: &self.cluster,
            queue: queue.as_str(),
            nats_url: &self.nats_url,
            nats_credentials: credentials(&self.nats_credentials)?,
            nats_tls_ca: self.nats_tls_ca.as_deref(),
            actors: self.actors,
            slots: self.slots,
            actor_cpus: self.actor_cpus,
            actor_gpus: self.actor_gpus,
            actor_resources: &self.actor_resources,
            ack_wait_ms: u64::try_from(self.ack_wait.as_millis()).unwrap_or(u64::MAX),
            tries_max: self.tries_max,
            count,
            drain_ms: DRAIN_MS,
            submission_id,
        };
        let settings = serde_json::to_string(&settings).expect("texts and numbers are JSON");
        let mut env_vars = self.env_vars.clone();
        env_vars.insert(SETTINGS.to_owned(), settings);
        if !self.model_keys.is_empty() {
            let keys = self.model_keys.iter();
            let keys: BTreeMap<_, _> = keys.map(|(of, key)| (of, key.reveal())).collect();
            let keys = serde_json::to_string(&keys).expect("texts are JSON");
            env_vars.insert(MODEL_KEYS.to_owned(), keys);
        }
        let metadata = [
            // The fleet keeps the one running, and leaves the others alone.
            (
                "conclave.kind",
                if queue.is_pool() { "executor" } else { "wave" },
            ),
            ("conclave.cluster", &self.cluster),
            (QUEUE, queue.as_str()),
            ("conclave.package", &package.name),
        ];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Ok(JobSpec {
            submission_id: submission_id.to_owned(),
            entrypoint: format!("{} -m conclave_executor", self.python),
            metadata: metadata.into(),
            env_vars,
            working_dir: Some(working_dir),
            pip: package.requirements.clone(),
            ..JobSpec::default()
        })
    }
}

fn credentials(credentials: &Credentials) -> Result<Value, UnusableCredentials> {
    match credentials {
        Credentials::None => Ok(Value::Null),
        Credentials::User { name, password } => {
            Ok(json!({ "user": name, "password": password.reveal() }))
        }
        Credentials::Token(token) => Ok(json!({ "token": token.reveal() })),
        Credentials::File(_) => Err(UnusableCredentials),
    }
}

#[cfg(test)]
mod tests {
    use crate::nats::Secret;

    use super::*;

    fn executor(nats_credentials: Credentials) -> Executor {
        Executor {
            cluster: "east".to_owned(),
            python: "/opt/python".to_owned(),
            nats_url: "nats://nats:4222".to_owned(),
            nats_credentials,
            nats_tls_ca: Some("PEM".to_owned()),
            actors: 2,
            slots: 64,
            actor_cpus: 0.5,
            actor_gpus: 0.0,
            actor_resources: BTreeMap::new(),
            ack_wait: Duration::from_secs(10),
            tries_max: 3,
            model_keys: BTreeMap::from([("http://h:1".to_owned(), ApiKey::new("key"))]),
            env_vars: BTreeMap::from([("HF_HOME".to_owned(), "/models".to_owned())]),
        }
    }

    fn job(credentials: Credentials, count: Option<usize>) -> Result<JobSpec, UnusableCredentials> {
        let package = Package::embedded();
        let queue = match count {
            Some(_) => Queue::wave("1").unwrap(),
            None => Queue::pool(),
        };
        executor(credentials).job(
            "conclave-1",
            &queue,
            count,
            &package,
            "gcs://p.zip".to_owned(),
        )
    }

    #[test]
    fn an_executor_is_told_all_that_it_needs() {
        let token = Credentials::Token(Secret::new("t"));
        let job = job(token, Some(5)).unwrap();
        assert_eq!(job.entrypoint, "/opt/python -m conclave_executor");
        assert_eq!(job.working_dir.as_deref(), Some("gcs://p.zip"));
        assert!(!job.pip.is_empty());
        assert_eq!(job.metadata["conclave.queue"], "wave-1");
        assert_eq!(job.env_vars["HF_HOME"], "/models");
        assert_eq!(job.env_vars[MODEL_KEYS], r#"{"http://h:1":"key"}"#);
        let settings: Value = serde_json::from_str(&job.env_vars[SETTINGS]).unwrap();
        assert_eq!(
            settings,
            json!({
                "cluster": "east", "queue": "wave-1", "nats_url": "nats://nats:4222",
                "nats_credentials": {"token": "t"}, "nats_tls_ca": "PEM", "actors": 2, "slots": 64, "actor_cpus": 0.5,
                "actor_gpus": 0.0, "actor_resources": {}, "ack_wait_ms": 10_000, "tries_max": 3,
                "count": 5, "drain_ms": 10_000, "submission_id": "conclave-1",
            })
        );
    }

    #[test]
    fn a_credentials_file_is_not_shipped() {
        let file = Credentials::File(Secret::new("f"));
        assert_eq!(job(file, None), Err(UnusableCredentials));
        assert!(job(Credentials::None, None).is_ok());
    }
}
