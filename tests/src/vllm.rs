//! vLLM on the CPU with a small real model: how it is started, and what its metrics tell.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use conclave::ray::Ray;
use conclave_core::cluster::{Cluster as _, JobSpec, JobStatus};

use crate::patience::within;
use crate::ray::RayHead;
use crate::web;

/// The name that the model is served by.
pub const MODEL: &str = "smollm2";

/// The tokens that a prompt and its answer may have.
pub const CONTEXT: u32 = 2048;

/// How long vLLM may take from the start of its job: a minute, on an idle machine.
const START: Duration = Duration::from_secs(400);

/// What it needs in its environment to run on two cores with a gigabyte for what it caches.
#[must_use]
pub fn variables() -> BTreeMap<String, String> {
    let variables = [
        ("VLLM_CPU_OMP_THREADS_BIND", "0-1"),
        ("OMP_NUM_THREADS", "2"),
        ("VLLM_CPU_NUM_OF_RESERVED_CPU", "0"),
        ("VLLM_CPU_KVCACHE_SPACE", "1"),
        ("HF_HUB_OFFLINE", "1"),
        ("VLLM_NO_USAGE_STATS", "1"),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    variables.map(owned).into()
}

/// A free port of 127.0.0.1.
///
/// # Errors
/// When there is none.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// The path in a variable that the Makefile sets.
///
/// # Errors
/// When it is not set, or nothing is there.
pub fn given(variable: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    let path = path.with_context(|| format!("`{variable}` is not set: make sets it"))?;
    let missing = || format!("`{}`, which `{variable}` names, is missing", path.display());
    ensure!(path.exists(), missing());
    Ok(path)
}

/// The interpreter that has vLLM.
///
/// # Errors
/// When the Makefile did not say where it is.
pub fn python() -> anyhow::Result<String> {
    let python = given("CONCLAVE_TEST_VLLM")?;
    Ok(python.to_str().context("its path is text")?.to_owned())
}

/// What it is started with, but for its name, address and port: a model, compiled for nothing, and JSON
/// without blanks, of which a small model would print an endless number.
///
/// # Errors
/// When the Makefile did not say where the model is.
pub fn arguments() -> anyhow::Result<Vec<String>> {
    let model = given("CONCLAVE_TEST_VLLM_MODEL")?;
    let model = model.to_str().context("its path is text")?;
    let context = CONTEXT.to_string();
    let arguments = [
        "--model",
        model,
        "--dtype",
        "float32",
        "--enforce-eager",
        "--max-model-len",
        &context,
        "--max-num-seqs",
        "8",
        "--structured-outputs-config",
        r#"{"backend":"xgrammar","disable_any_whitespace":true}"#,
    ];
    Ok(arguments.map(str::to_owned).to_vec())
}

/// A server that a test runs as a job of a Ray cluster; it ends with the cluster.
#[derive(Debug)]
pub struct Vllm {
    url: String,
    cluster: Ray,
}

/// The name of its job.
const JOB: &str = "vllm-by-hand";

impl Vllm {
    /// Submits it, and waits until it is healthy.
    ///
    /// # Errors
    /// When it does not become so; the error has its log.
    pub async fn start(head: &RayHead) -> anyhow::Result<Self> {
        let port = free_port()?;
        let vllm = Self {
            url: format!("http://127.0.0.1:{port}"),
            cluster: Ray::new(head.settings()?)?,
        };
        let arguments = arguments()?.join("' '");
        let job = JobSpec {
            submission_id: JOB.to_owned(),
            entrypoint: format!(
                "{} -m vllm.entrypoints.openai.api_server '{arguments}' \
                 --served-model-name {MODEL} --host 127.0.0.1 --port {port}",
                python()?
            ),
            env_vars: variables(),
            ..JobSpec::default()
        };
        vllm.cluster.submit(&job).await?;
        let healthy = tokio::time::timeout(START, vllm.becomes_healthy()).await;
        let healthy = healthy.context("it took too long").and_then(|done| done);
        if let Err(error) = healthy {
            let log = vllm.cluster.log_tail(JOB, 20_000).await?;
            return Err(error.context(format!("vLLM did not start:\n{log}")));
        }
        Ok(vllm)
    }

    /// Where it answers.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops its job, and waits for the end of both.
    ///
    /// # Errors
    /// When one of them goes on.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.cluster.stop(JOB).await?;
        let ended = async {
            while !self.status().await?.is_terminal() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            anyhow::Ok(())
        };
        within("the end of vLLM's job", ended).await??;
        ensure!(!is_healthy(&self.url).await, "{} answers", self.url);
        Ok(())
    }

    async fn becomes_healthy(&self) -> anyhow::Result<()> {
        while !is_healthy(&self.url).await {
            let status = self.status().await?;
            ensure!(!status.is_terminal(), "its job is {status:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    async fn status(&self) -> anyhow::Result<JobStatus> {
        let jobs = self.cluster.jobs().await?;
        let own = jobs.iter().find(|job| job.submission_id == JOB);
        Ok(own.context("its job is listed")?.status)
    }
}

async fn is_healthy(url: &str) -> bool {
    let health = web::get(&format!("{url}/health")).await;
    health.is_ok_and(|(status, _)| status == 200)
}

/// What a server counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Answers that it works on; several of one request count as several.
    pub running: f64,
    /// Answers that wait.
    pub waiting: f64,
    /// Tokens that it has generated.
    pub generated: f64,
    /// Tokens of prompts that it has worked on: those that it found in its cache are not among them.
    pub prompts: f64,
    /// Requests that it has finished.
    pub requests: f64,
    /// The answers that they asked for.
    pub choices: f64,
}

impl Load {
    /// Reads it from the server's metrics.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn of(url: &str) -> anyhow::Result<Self> {
        let (status, page) = web::get(&format!("{url}/metrics")).await?;
        ensure!(status == 200, "status {status}");
        Ok(Self {
            running: sum(&page, "vllm:num_requests_running"),
            waiting: sum(&page, "vllm:num_requests_waiting"),
            generated: sum(&page, "vllm:generation_tokens_total"),
            prompts: sum(&page, "vllm:prompt_tokens_total")
                - sum(&page, "vllm:prompt_tokens_cached_total"),
            requests: sum(&page, "vllm:request_params_n_count"),
            choices: sum(&page, "vllm:request_params_n_sum"),
        })
    }

    /// Waits until the load is as it shall be, and gives it.
    ///
    /// # Errors
    /// When it does not become so.
    pub async fn until(url: &str, what: &str, is: impl Fn(&Self) -> bool) -> anyhow::Result<Self> {
        let reached = async {
            loop {
                let load = Self::of(url).await?;
                if is(&load) {
                    return anyhow::Ok(load);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        within(what, reached).await?
    }
}

/// The sum of a metric over its labels, in the text format of Prometheus.
fn sum(page: &str, name: &str) -> f64 {
    let values = page.lines().filter_map(|line| {
        let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        // Not a longer name.
        (labels.is_empty() || labels.starts_with('{')).then(|| value.parse::<f64>().ok())?
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_over_longer_names() {
        let page = "# TYPE a gauge\na{engine=\"0\"} 2.0\na{engine=\"1\"} 3.0\na_created{engine=\"0\"} 1.7e9\nab 7\n";
        assert!((sum(page, "a") - 5.0).abs() < f64::EPSILON);
    }
}
