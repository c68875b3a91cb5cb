//! The jobs that the fleet keeps running: how they are named, and how one is made from its plan.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::cluster::{Job, JobSpec, Resources};
use crate::endpoint::{Endpoint, InvalidEndpoint};
use crate::ids::{Digest, ModelName};

use super::plan::{ExecutorJob, ModelJob, ModelPlan, Package};

const KIND: &str = "conclave.kind";
const MODEL: &str = "conclave.model";
const REPLICA: &str = "conclave.replica";
const CLUSTER: &str = "conclave.cluster";
const SPEC: &str = "conclave.spec";
const OWNER: &str = "conclave.owner";

/// Characters of an owner that stand in the names of its jobs.
const OWNER_SHOWN: usize = 8;

/// What a job is for. A cluster runs one of each at most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    Model { model: ModelName, replica: u32 },
    Executor { cluster: String },
}

impl Purpose {
    /// What a job was submitted for, by its metadata; `None` for the jobs of others, other fleets too.
    pub(super) fn of(job: &Job, owner: &str) -> Option<Self> {
        let metadata = |key| job.metadata.get(key);
        if metadata(OWNER).map_or("", String::as_str) != owner {
            return None;
        }
        match metadata(KIND)?.as_str() {
            "model" => Some(Self::Model {
                model: ModelName::new(metadata(MODEL)?.clone()),
                replica: metadata(REPLICA)?.parse().ok()?,
            }),
            "executor" => Some(Self::Executor {
                cluster: metadata(CLUSTER)?.clone(),
            }),
            _ => None,
        }
    }

    fn metadata(&self, digest: &str) -> BTreeMap<String, String> {
        let pairs = match self {
            Self::Model { model, replica } => vec![
                (KIND, "model".to_owned()),
                (MODEL, model.as_str().to_owned()),
                (REPLICA, replica.to_string()),
                (SPEC, digest.to_owned()),
            ],
            Self::Executor { cluster } => vec![
                (KIND, "executor".to_owned()),
                (CLUSTER, cluster.clone()),
                (SPEC, digest.to_owned()),
            ],
        };
        pairs
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }
}

/// The digest of the plan that a job was made from.
pub(super) fn digest_of(job: &Job) -> Option<&str> {
    job.metadata.get(SPEC).map(String::as_str)
}

/// Which start of its purpose a job is, from its name.
pub(super) fn incarnation_of(job: &Job) -> u32 {
    let last = job.submission_id.rsplit('-').next();
    last.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Makes the jobs of one purpose, one for each start.
#[derive(Clone, Debug)]
pub(super) struct Template {
    pub(super) purpose: Purpose,
    /// What its names begin with.
    prefix: String,
    pub(super) digest: String,
    spec: JobSpec,
    pub(super) package: Option<Package>,
    /// Where it will be reached, with `{node}`; `None` where nobody calls it.
    endpoint: Option<String>,
    pub(super) start_timeout: Duration,
    pub(super) drain_timeout: Duration,
}

impl Template {
    pub(super) fn model(plan: &ModelPlan, job: &ModelJob, replica: u32) -> Self {
        let name = &plan.name;
        let first = u32::from(job.port);
        let port = (first + replica).to_string();
        let number = replica.to_string();
        let fill = |text: &String| {
            text.replace("{port}", &port)
                .replace("{host}", &job.host)
                .replace("{replica}", &number)
        };
        let env_vars = job.env_vars.iter();
        let spec = JobSpec {
            entrypoint: fill(&job.entrypoint),
            env_vars: env_vars
                .map(|(name, value)| (name.clone(), fill(value)))
                .collect(),
            working_dir: job.working_dir.clone(),
            pip: job.pip.clone(),
            resources: job.resources.clone(),
            ..JobSpec::default()
        };
        Self {
            prefix: format!("conclave-model-{}-{replica}", slug(name.as_str())),
            digest: digest(&spec, None, Some(&job.endpoint)),
            spec,
            package: None,
            endpoint: Some(job.endpoint.replace("{port}", &port)),
            start_timeout: plan.start_timeout,
            drain_timeout: plan.drain_timeout,
            purpose: Purpose::Model {
                model: name.clone(),
                replica,
            },
        }
    }

    pub(super) fn executor(cluster: &str, job: &ExecutorJob) -> Self {
        let digest = digest(&job.spec, job.package.as_ref(), None);
        Self {
            prefix: format!("conclave-executor-{cluster}-{digest}"),
            digest,
            spec: job.spec.clone(),
            package: job.package.clone(),
            endpoint: None,
            start_timeout: job.start_timeout,
            drain_timeout: job.drain_timeout,
            purpose: Purpose::Executor {
                cluster: cluster.to_owned(),
            },
        }
    }

    /// The same for the jobs of an owner, which are told from those of others by their names, too.
    pub(super) fn owned_by(mut self, owner: &str) -> Self {
        if !owner.is_empty() {
            let shown: String = owner.chars().take(OWNER_SHOWN).collect();
            self.prefix = format!("{}-{shown}", self.prefix);
            let owned = (OWNER.to_owned(), owner.to_owned());
            self.spec.metadata.extend([owned]);
        }
        self
    }

    /// Whether somebody calls what it runs: it is healthy when it answers, and not before.
    pub(super) fn is_server(&self) -> bool {
        self.endpoint.is_some()
    }

    /// The name of a start.
    pub(super) fn submission_id(&self, incarnation: u32) -> String {
        format!("{}-{incarnation}", self.prefix)
    }

    /// The job of a start.
    pub(super) fn job(&self, incarnation: u32) -> JobSpec {
        let submission_id = self.submission_id(incarnation);
        let fill = |text: &String| text.replace("{submission_id}", &submission_id);
        let mut metadata = self.spec.metadata.clone();
        metadata.extend(self.purpose.metadata(&self.digest));
        let env_vars = self.spec.env_vars.iter();
        JobSpec {
            entrypoint: fill(&self.spec.entrypoint),
            env_vars: env_vars
                .map(|(name, value)| (name.clone(), fill(value)))
                .collect(),
            metadata,
            submission_id,
            ..self.spec.clone()
        }
    }

    /// Where a job is reached; `None` while its node is not known, or where nobody calls it.
    pub(super) fn endpoint(&self, node: Option<&str>) -> Option<Result<Endpoint, InvalidEndpoint>> {
        let text = self.endpoint.as_ref()?;
        let text = match node {
            // An IPv6 address in a URL stands in brackets.
            Some(ip) if ip.contains(':') => text.replace("{node}", &format!("[{ip}]")),
            Some(ip) => text.replace("{node}", ip),
            None if text.contains("{node}") => return None,
            None => text.clone(),
        };
        Some(Endpoint::parse(&text))
    }
}

/// A name in characters that every name of a job may have. One that it changes is told from others
/// that it would change to the same by a part of its digest.
fn slug(name: &str) -> String {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '-') => c,
        _ => '-',
    };
    let slug: String = name.chars().map(plain).collect();
    if slug == name {
        return slug;
    }
    let digest = Digest::of(name.as_bytes()).short();
    format!("{slug}-{}", &digest[..6])
}

fn digest(spec: &JobSpec, package: Option<&Package>, endpoint: Option<&str>) -> String {
    let Resources {
        cpus,
        gpus,
        memory_bytes,
        custom,
    } = &spec.resources;
    let text = json!({
        "entrypoint": spec.entrypoint,
        "env_vars": spec.env_vars,
        "metadata": spec.metadata,
        "working_dir": spec.working_dir,
        "pip": spec.pip,
        "resources": [cpus, gpus, memory_bytes, custom],
        "package": package.map(|package| &package.name),
        "endpoint": endpoint,
    });
    Digest::of(text.to_string().as_bytes()).short()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::tests::model;

    #[test]
    fn a_replica_has_its_own_port_and_name_and_one_digest_while_its_plan_stays() {
        let job = ModelJob {
            entrypoint: "serve --host {host} --port {port} # {replica} {submission_id}".to_owned(),
            host: "0.0.0.0".to_owned(),
            endpoint: "http://{node}:{port}".to_owned(),
            port: 8000,
            ..ModelJob::default()
        };
        let plan = model("org/Model-7B");
        let template = Template::model(&plan, &job, 2);
        let spec = template.job(4);
        let id = &spec.submission_id;
        assert!(id.starts_with("conclave-model-org-model-7b-") && id.ends_with("-2-4"));
        assert_eq!(
            spec.entrypoint,
            format!("serve --host 0.0.0.0 --port 8002 # 2 {id}")
        );
        assert_eq!(spec.metadata["conclave.model"], "org/Model-7B");
        assert_eq!(spec.metadata["conclave.spec"], template.digest);
        let endpoint = |node| template.endpoint(node).unwrap().unwrap().to_string();
        assert_eq!(endpoint(Some("10.0.0.7")), "http://10.0.0.7:8002");
        assert_eq!(endpoint(Some("fd00::7")), "http://[fd00::7]:8002");
        assert!(template.endpoint(None).is_none());
        assert_eq!(Template::model(&plan, &job, 2).digest, template.digest);
        let other = ModelJob {
            entrypoint: "serve it otherwise".to_owned(),
            ..job
        };
        assert_ne!(Template::model(&plan, &other, 2).digest, template.digest);
    }

    #[test]
    fn names_that_lose_characters_stay_apart() {
        assert_eq!(slug("qwen-3"), "qwen-3");
        assert_ne!(slug("a/b"), slug("a_b"));
        assert_ne!(slug("a/b"), slug("a-b"));
    }
}
