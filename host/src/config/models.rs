//! `[models.NAME]`: the models that the host serves, as jobs on Ray clusters or at endpoints by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use conclave_core::cluster::Resources;
use conclave_core::endpoint::Endpoint;
use conclave_core::fleet::{ModelJob, ModelPlan};
use conclave_core::ids::ModelName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::secrets::hidden;

/// `[models.NAME]`: a model, under the name that requests have for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    /// The arguments of vLLM's OpenAI-compatible server, which the host starts as a Ray job for each
    /// replica; it adds address, port and name. At most one of `vllm` and `entrypoint`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vllm: Option<Vec<String>>,
    /// The shell command of another model server, with `{port}`, `{host}` and `{replica}` in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<String>,
    /// Servers that run anyway: the host uses them, and neither starts nor stops them.
    #[schemars(with = "Vec<String>")]
    pub endpoints: Vec<Endpoint>,
    /// Requests that name one of these endpoints go to the model's servers; they may name it without
    /// an entry of `inference.allowed_endpoints`.
    #[schemars(with = "Vec<String>")]
    pub replaces: Vec<Endpoint>,
    /// The clusters that it may run on, by name; none stands for all.
    pub clusters: Vec<String>,
    /// The interpreter that runs `vllm`.
    pub python: String,
    /// The port of the first replica; each further one takes the next.
    pub port: u16,
    /// The address that replicas listen on.
    pub host: String,
    /// Where the host reaches a replica, with `{node}` (the address of its node), `{port}` and
    /// `{replica}` in it.
    pub endpoint: String,
    /// Variables of a replica's environment. Ray shows them to everybody who sees its dashboard.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "hidden")]
    pub env: BTreeMap<String, String>,
    /// CPUs that Ray sets aside for a replica.
    pub cpus: f64,
    /// GPUs that Ray sets aside for a replica.
    pub gpus: f64,
    /// Bytes of memory that Ray sets aside for a replica; 0 sets none aside.
    pub memory_bytes: u64,
    /// Other resources that nodes declare, and that a replica takes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, f64>,
    /// Replicas that run always.
    pub replicas_min: u32,
    /// Replicas that run when there is much to do.
    pub replicas_max: u32,
    /// Generations that a replica works on at once; vLLM's `--max-num-seqs` is 256 unless it is told
    /// otherwise.
    pub slots: usize,
    /// Generations that may wait for a replica; more are refused.
    pub queue_max: usize,
    /// How many answers to requests that differ only in their seed are asked for at once (`n`); 1 asks
    /// for each alone. 16 where `vllm` is set, else 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choices_max: Option<usize>,
    /// Whether the engine works in the order of priorities; with `vllm`, it is told to.
    pub priority: bool,
    /// Whether a replica must have generated a token before it is given work.
    pub warm_up: bool,
    /// How long a replica may take until it is healthy, from the start of its job.
    pub start_timeout_seconds: u64,
    /// How long generations may go on of a replica that is to be stopped.
    pub drain_timeout_seconds: u64,
    /// How long generations must have waited before another replica is started.
    pub scale_up_after_seconds: u64,
    /// How long there must have been less to do before a replica is stopped.
    pub scale_down_after_seconds: u64,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            vllm: None,
            entrypoint: None,
            endpoints: Vec::new(),
            replaces: Vec::new(),
            clusters: Vec::new(),
            python: "python".to_owned(),
            port: 8_000,
            host: "0.0.0.0".to_owned(),
            endpoint: "http://{node}:{port}".to_owned(),
            env: BTreeMap::new(),
            cpus: 1.0,
            gpus: 0.0,
            memory_bytes: 0,
            resources: BTreeMap::new(),
            replicas_min: 1,
            replicas_max: 1,
            slots: 256,
            queue_max: 10_000,
            choices_max: None,
            priority: false,
            warm_up: true,
            // Weights of 140 GB from a network disk.
            start_timeout_seconds: 1_800,
            drain_timeout_seconds: 300,
            scale_up_after_seconds: 15,
            scale_down_after_seconds: 600,
        }
    }
}

/// The choices that vLLM is asked for at once: a wave of that many agents is rarely exceeded.
const VLLM_CHOICES: usize = 16;

impl Model {
    /// How many answers are asked for at once.
    #[must_use]
    pub fn choices_max(&self) -> usize {
        let usual = if self.vllm.is_some() { VLLM_CHOICES } else { 1 };
        self.choices_max.unwrap_or(usual)
    }

    /// Whether any server of it is called by https.
    #[must_use]
    pub fn is_https(&self) -> bool {
        let mut by_hand = self.endpoints.iter();
        self.endpoint.starts_with("https:") || by_hand.any(|one| one.url().scheme() == "https")
    }

    /// What the fleet does for it.
    #[must_use]
    pub fn plan(&self, name: &str) -> ModelPlan {
        ModelPlan {
            name: ModelName::new(name),
            clusters: self.clusters.clone(),
            job: self.command(name).map(|entrypoint| self.job(entrypoint)),
            endpoints: self.endpoints.clone(),
            replaces: self.replaces.clone(),
            replicas: self.replicas_min..=self.replicas_max,
            slots: self.slots,
            queue_max: self.queue_max,
            choices_max: self.choices_max(),
            takes_priority: self.priority,
            start_timeout: Duration::from_secs(self.start_timeout_seconds),
            warm_up: self.warm_up,
            scale_up_after: Duration::from_secs(self.scale_up_after_seconds),
            scale_down_after: Duration::from_secs(self.scale_down_after_seconds),
            drain_timeout: Duration::from_secs(self.drain_timeout_seconds),
        }
    }

    fn job(&self, entrypoint: String) -> ModelJob {
        ModelJob {
            entrypoint,
            endpoint: self.endpoint.clone(),
            port: self.port,
            host: self.host.clone(),
            env_vars: self.env.clone(),
            working_dir: None,
            pip: Vec::new(),
            resources: Resources {
                cpus: self.cpus,
                gpus: self.gpus,
                memory_bytes: self.memory_bytes,
                custom: self.resources.clone(),
            },
        }
    }

    /// The shell command of a replica, with its placeholders; `None` where the host starts none.
    fn command(&self, name: &str) -> Option<String> {
        if let Some(entrypoint) = &self.entrypoint {
            return Some(entrypoint.clone());
        }
        let mut words = vec![
            self.python.clone(),
            "-m vllm.entrypoints.openai.api_server".to_owned(),
        ];
        words.extend(self.vllm.as_ref()?.iter().map(|word| quoted(word)));
        words.push(format!("--served-model-name {}", quoted(name)));
        if self.priority {
            words.push("--scheduling-policy priority".to_owned());
        }
        words.push("--host {host} --port {port}".to_owned());
        Some(words.join(" "))
    }
}

/// A word as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vllm_is_told_its_name_its_address_and_its_order() {
        let model = Model {
            vllm: Some(vec![
                "--model".to_owned(),
                "/models/it's here".to_owned(),
                "--max-model-len".to_owned(),
                "8192".to_owned(),
            ]),
            priority: true,
            ..Model::default()
        };
        assert_eq!(
            model.command("Qwen/Qwen3-8B").unwrap(),
            "python -m vllm.entrypoints.openai.api_server --model '/models/it'\\''s here' \
             --max-model-len 8192 --served-model-name Qwen/Qwen3-8B --scheduling-policy priority \
             --host {host} --port {port}"
        );
        assert_eq!(model.choices_max(), 16);
    }

    #[test]
    fn servers_that_run_anyway_are_no_job() {
        let model = Model {
            endpoints: vec![Endpoint::parse("http://vllm:8000").unwrap()],
            ..Model::default()
        };
        let plan = model.plan("tiny");
        assert!(plan.job.is_none());
        assert_eq!((plan.endpoints.len(), plan.choices_max), (1, 1));
    }
}
