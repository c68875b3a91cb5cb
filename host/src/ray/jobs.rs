//! Jobs on the wire: <https://docs.ray.io/en/latest/cluster/running-applications/job-submission/rest.html>

use std::collections::BTreeMap;

use conclave_core::cluster::{Error, Job, JobSpec, JobStatus};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::call::{Answer, Dashboard};
use super::submission::Submission;

/// What Ray says of a submission id that is in use.
const IN_USE: &str = "already exists";

/// The entrypoint of what comes back of a job that was deleted before its supervisor was noticed to be gone:
/// Ray notes the supervisor's end on a new record, which has nothing of the job but the id.
const OF_A_DELETED_JOB: &str = "Entrypoint not found.";

/// A job as Ray tells it; one of a driver that connected by itself has no submission id.
#[derive(Deserialize)]
pub(super) struct Told {
    submission_id: Option<String>,
    status: String,
    entrypoint: Option<String>,
    message: Option<String>,
    metadata: Option<BTreeMap<String, Value>>,
    driver_agent_http_address: Option<String>,
    /// The node that its driver runs on, once it does.
    pub(super) driver_node_id: Option<String>,
    start_time: Option<u64>,
    end_time: Option<u64>,
}

impl Told {
    /// Whether the job itself was deleted.
    fn is_deleted(&self) -> bool {
        self.entrypoint.as_deref() == Some(OF_A_DELETED_JOB) && self.start_time.is_none()
    }

    fn into_job(self) -> Option<Job> {
        if self.is_deleted() {
            return None;
        }
        let submission_id = self.submission_id?;
        let mut message = self.message.unwrap_or_default();
        let status = match status(&self.status) {
            Some(status) => status,
            // A word of a version to come. Whether it ever changes again is told by its end.
            None => {
                message = format!("its status is `{}`. {message}", self.status);
                match self.end_time {
                    Some(_) => JobStatus::Failed,
                    None => JobStatus::Running,
                }
            }
        };
        let metadata = self.metadata.unwrap_or_default().into_iter();
        Some(Job {
            submission_id,
            status,
            message,
            metadata: metadata.map(|(key, value)| (key, text(value))).collect(),
            node_ip: self.driver_agent_http_address.and_then(|url| host(&url)),
            started_at_ms: self.start_time,
            ended_at_ms: self.end_time,
        })
    }
}

fn status(word: &str) -> Option<JobStatus> {
    Some(match word {
        "PENDING" => JobStatus::Pending,
        "RUNNING" => JobStatus::Running,
        "SUCCEEDED" => JobStatus::Succeeded,
        "FAILED" => JobStatus::Failed,
        "STOPPED" => JobStatus::Stopped,
        _ => return None,
    })
}

/// Metadata are texts; those of somebody's own driver may be anything.
fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        value => value.to_string(),
    }
}

fn host(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    Some(url.host_str()?.trim_matches(['[', ']']).to_owned())
}

impl Dashboard {
    pub(super) async fn submit(&self, job: &JobSpec) -> Result<(), Error> {
        let id = &job.submission_id;
        if self.is_submitted(job).await? {
            return Ok(());
        }
        // A try before this one may have brought it there, or a host before this one.
        match self.told(id).await {
            Ok(there) => {
                let there = there.into_job();
                if there.is_some_and(|there| there.metadata == job.metadata) {
                    return Ok(());
                }
            }
            // It has gone meanwhile, or something is left of it.
            Err(Error::NoJob { .. }) => {
                self.delete(id).await?;
                if self.is_submitted(job).await? {
                    return Ok(());
                }
            }
            Err(error) => return Err(error),
        }
        Err(Error::Taken {
            address: self.address(),
            submission_id: id.clone(),
        })
    }

    /// Submits it; whether its id was free.
    async fn is_submitted(&self, job: &JobSpec) -> Result<bool, Error> {
        let body = serde_json::to_vec(&Submission::new(job));
        let body = body.expect("texts and numbers are JSON");
        let mut request = Request::new(Method::POST, self.url(&["api", "jobs", ""]));
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        *request.body_mut() = Some(body.into());
        match self.call(request).await? {
            Answer::Done(_) => Ok(true),
            Answer::Refused(refused) if refused.text.contains(IN_USE) => Ok(false),
            Answer::Refused(refused) => Err(self.rejected(&refused)),
        }
    }

    pub(super) async fn jobs(&self) -> Result<Vec<Job>, Error> {
        let body = match self.get(self.url(&["api", "jobs", ""])).await? {
            Answer::Done(body) => body,
            Answer::Refused(refused) => return Err(self.rejected(&refused)),
        };
        let told: Vec<Value> = self.read(&body)?;
        let jobs = told.into_iter().filter_map(|one| {
            // One that is not understood hides no other.
            let told = serde_json::from_value::<Told>(one);
            let told = told.inspect_err(|error| {
                tracing::debug!(%error, address = %self.address(), "a job is not understood");
            });
            told.ok()?.into_job()
        });
        Ok(jobs.collect())
    }

    /// What the cluster knows of one job.
    pub(super) async fn told(&self, submission_id: &str) -> Result<Told, Error> {
        let url = self.url(&["api", "jobs", submission_id]);
        match self.get(url).await? {
            Answer::Done(body) => {
                let told: Told = self.read(&body)?;
                match told.is_deleted() {
                    true => Err(self.no_job(submission_id)),
                    false => Ok(told),
                }
            }
            Answer::Refused(refused) if refused.status == 404 => Err(self.no_job(submission_id)),
            Answer::Refused(refused) => Err(self.rejected(&refused)),
        }
    }

    pub(super) async fn stop(&self, submission_id: &str) -> Result<(), Error> {
        let url = self.url(&["api", "jobs", submission_id, "stop"]);
        self.change(Method::POST, url).await
    }

    pub(super) async fn delete(&self, submission_id: &str) -> Result<(), Error> {
        let url = self.url(&["api", "jobs", submission_id]);
        self.change(Method::DELETE, url).await
    }

    /// Changes a job, if there is one.
    async fn change(&self, method: Method, url: Url) -> Result<(), Error> {
        match self.call(Request::new(method, url)).await? {
            Answer::Done(_) => Ok(()),
            Answer::Refused(refused) if refused.status == 404 => Ok(()),
            Answer::Refused(refused) => Err(self.rejected(&refused)),
        }
    }

    fn no_job(&self, submission_id: &str) -> Error {
        Error::NoJob {
            address: self.address(),
            submission_id: submission_id.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_unknown_status_is_told_by_its_end() {
        let job = |told: Value| {
            let told: Told = serde_json::from_value(told).unwrap();
            told.into_job()
        };
        let running = job(json!({"submission_id": "a", "status": "PAUSED"})).unwrap();
        assert_eq!(running.status, JobStatus::Running);
        assert_eq!(running.message, "its status is `PAUSED`. ");
        let ended = json!({"submission_id": "a", "status": "EVICTED", "end_time": 5});
        assert_eq!(job(ended).unwrap().status, JobStatus::Failed);
        assert_eq!(
            job(json!({"submission_id": null, "status": "RUNNING"})),
            None
        );
    }
}
