//! Ray clusters, over the HTTP interface of their dashboards (Ray 2.49 to 2.60): the Jobs API, packages,
//! nodes, and the ends of logs.
//!
//! Every call is bounded in time and size, and tried again where a dashboard could not be reached or
//! failed: all of them can be repeated, since a job has a name of its own. Redirects and proxies are off,
//! and a token goes to its own cluster only.

mod address;
mod call;
mod jobs;
mod log;
mod nodes;
mod packages;
mod refusal;
mod retries;
mod settings;
mod submission;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use conclave_core::cluster::{Cluster, Error, Job, JobSpec, Node};
use serde::Deserialize;

pub use address::{Address, InvalidAddress};
use call::{Answer, Dashboard};
pub use settings::{InvalidSettings, Roots, Settings, Token};

/// One Ray cluster.
#[derive(Debug)]
pub struct Ray {
    dashboard: Dashboard,
}

#[derive(Deserialize)]
struct Version {
    ray_version: String,
}

impl Ray {
    /// Prepares the client; nothing is sent yet. The first one of a process also makes ring the
    /// process's cryptography, unless another was installed before.
    ///
    /// # Errors
    /// When the token is no header, the certificates cannot be read, or the system has none to trust
    /// and the address is an https one.
    pub fn new(settings: Settings) -> Result<Self, InvalidSettings> {
        Ok(Self {
            dashboard: Dashboard::new(settings)?,
        })
    }

    /// The version of Ray that the cluster runs. It is told only to whom the cluster lets in.
    ///
    /// # Errors
    /// As every call of the port.
    pub async fn version(&self) -> Result<String, Error> {
        let url = self.dashboard.url(&["api", "version"]);
        match self.dashboard.get(url).await? {
            Answer::Done(body) => Ok(self.dashboard.read::<Version>(&body)?.ray_version),
            Answer::Refused(refused) => Err(self.dashboard.rejected(&refused)),
        }
    }
}

#[async_trait]
impl Cluster for Ray {
    async fn submit(&self, job: &JobSpec) -> Result<(), Error> {
        self.dashboard.submit(job).await
    }

    async fn jobs(&self) -> Result<Vec<Job>, Error> {
        self.dashboard.jobs().await
    }

    async fn stop(&self, submission_id: &str) -> Result<(), Error> {
        self.dashboard.stop(submission_id).await
    }

    async fn delete(&self, submission_id: &str) -> Result<(), Error> {
        self.dashboard.delete(submission_id).await
    }

    async fn log_tail(&self, submission_id: &str, bytes_max: usize) -> Result<String, Error> {
        self.dashboard.log_tail(submission_id, bytes_max).await
    }

    async fn upload(&self, name: &str, zip: Vec<u8>) -> Result<String, Error> {
        self.dashboard.upload(name, zip).await
    }

    async fn nodes(&self) -> Result<Vec<Node>, Error> {
        self.dashboard.nodes().await
    }
}
