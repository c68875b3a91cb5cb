//! What every adapter of [`Cluster`] keeps, checked against a cluster.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, Error, Job, JobSpec, JobStatus};

/// How long a job may take to get from one status to the next: a worker of Ray starts in seconds, on a busy
/// machine in some tens of them.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a cluster is checked with. Nobody else has jobs there whose ids begin with `contract-`.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The entrypoint of a job that runs until it is stopped.
    pub lasts: String,
    /// The entrypoint of a job that writes a line `last words` to its log, and fails.
    pub fails: String,
    /// The entrypoint of a job that succeeds where its working directory is that of `package`, and fails
    /// anywhere else.
    pub reads: String,
    /// A zip archive.
    pub package: Vec<u8>,
}

/// Checks all of the contract.
///
/// # Panics
/// When the adapter breaks it.
pub async fn check(cluster: &dyn Cluster, subject: &Subject) {
    nodes_have_what_they_give_away(cluster).await;
    a_job_is_submitted_once_and_stopped(cluster, subject).await;
    a_failed_job_leaves_the_end_of_its_log(cluster, subject).await;
    a_package_is_uploaded_once_and_used(cluster, subject).await;
    what_is_not_there_is_neither_stopped_nor_deleted(cluster).await;
}

/// A job with metadata and a variable.
#[must_use]
pub fn spec(name: &str, entrypoint: &str) -> JobSpec {
    JobSpec {
        submission_id: format!("contract-{name}"),
        entrypoint: entrypoint.to_owned(),
        metadata: [("conclave".to_owned(), "contract".to_owned())].into(),
        env_vars: [("CONCLAVE".to_owned(), "1".to_owned())].into(),
        ..JobSpec::default()
    }
}

async fn nodes_have_what_they_give_away(cluster: &dyn Cluster) {
    let nodes = cluster.nodes().await.expect("nodes are told");
    let mut alive = nodes.iter().filter(|node| node.alive);
    assert!(alive.any(|node| node.cpus.total > 0.0), "{nodes:?}");
    for node in &nodes {
        assert!(!node.id.is_empty() && !node.ip.is_empty(), "{node:?}");
        for share in [node.cpus, node.gpus] {
            assert!((0.0..=share.total).contains(&share.free), "{node:?}");
        }
    }
}

async fn a_job_is_submitted_once_and_stopped(cluster: &dyn Cluster, subject: &Subject) {
    let job = spec("lasts", &subject.lasts);
    let id = &job.submission_id;
    for _ in 0..2 {
        cluster.submit(&job).await.expect("it is taken");
    }
    let jobs = cluster.jobs().await.expect("jobs are listed");
    let of_id = jobs.iter().filter(|one| one.submission_id == *id);
    assert_eq!(of_id.count(), 1, "{jobs:?}");

    let mut foreign = job.clone();
    foreign
        .metadata
        .insert("conclave".to_owned(), "other".to_owned());
    let taken = cluster.submit(&foreign).await;
    let taken = taken.expect_err("it is somebody else's");
    assert!(
        matches!(&taken, Error::Taken { submission_id, .. } if submission_id == id),
        "{taken:?}"
    );

    let running = until(cluster, id, |status| status == JobStatus::Running).await;
    assert_eq!(running.metadata, job.metadata);
    assert!(running.node_ip.is_some(), "{running:?}");
    assert!(running.started_at_ms.is_some() && running.ended_at_ms.is_none());
    let refused = cluster.delete(id).await.expect_err("it runs");
    assert!(matches!(refused, Error::Rejected { .. }), "{refused:?}");

    cluster.stop(id).await.expect("it is told to stop");
    let stopped = until(cluster, id, JobStatus::is_terminal).await;
    assert_eq!(stopped.status, JobStatus::Stopped, "{stopped:?}");
    assert!(stopped.ended_at_ms.is_some(), "{stopped:?}");
    cluster.stop(id).await.expect("it is left as it is");
    cluster.submit(&job).await.expect("it is that job still");
    delete(cluster, id).await;
}

async fn a_failed_job_leaves_the_end_of_its_log(cluster: &dyn Cluster, subject: &Subject) {
    let job = spec("fails", &subject.fails);
    let id = &job.submission_id;
    cluster.submit(&job).await.expect("it is taken");
    let failed = until(cluster, id, JobStatus::is_terminal).await;
    assert_eq!(failed.status, JobStatus::Failed, "{failed:?}");
    assert!(!failed.message.is_empty(), "it says why: {failed:?}");
    let tail = cluster.log_tail(id, 4_096).await.expect("it has a log");
    assert!(tail.contains("last words\n"), "{tail:?}");
    let bytes_max = tail.len() - 1;
    let end = cluster.log_tail(id, bytes_max).await.expect("it has a log");
    assert!(!end.is_empty() && end.len() <= bytes_max, "{end:?}");
    let first = end.lines().next();
    let is_whole = tail.lines().any(|line| Some(line) == first);
    assert!(is_whole, "it is cut at a line: {end:?} of {tail:?}");
    delete(cluster, id).await;
    let gone = cluster.log_tail(id, 12).await.expect_err("it is forgotten");
    assert!(matches!(gone, Error::NoJob { .. }), "{gone:?}");
}

async fn a_package_is_uploaded_once_and_used(cluster: &dyn Cluster, subject: &Subject) {
    let upload = || cluster.upload("contract_package", subject.package.clone());
    let uri = upload().await.expect("it is uploaded");
    assert_eq!(upload().await.expect("it is there"), uri);
    let mut job = spec("reads", &subject.reads);
    job.working_dir = Some(uri);
    cluster.submit(&job).await.expect("it is taken");
    let ended = until(cluster, &job.submission_id, JobStatus::is_terminal).await;
    assert_eq!(ended.status, JobStatus::Succeeded, "{ended:?}");
    delete(cluster, &job.submission_id).await;
}

async fn what_is_not_there_is_neither_stopped_nor_deleted(cluster: &dyn Cluster) {
    let id = "contract-of-nobody";
    cluster.stop(id).await.expect("it is left as it is");
    cluster.delete(id).await.expect("it is forgotten already");
    let unknown = cluster.log_tail(id, 12).await.expect_err("there is no log");
    assert!(matches!(unknown, Error::NoJob { .. }), "{unknown:?}");
}

/// Deletes a job that has ended, twice.
async fn delete(cluster: &dyn Cluster, id: &str) {
    cluster.delete(id).await.expect("it has ended");
    cluster.delete(id).await.expect("it is forgotten already");
    let jobs = cluster.jobs().await.expect("jobs are listed");
    assert!(jobs.iter().all(|job| job.submission_id != id), "{jobs:?}");
}

/// Waits until a job has such a status.
async fn until(cluster: &dyn Cluster, id: &str, wanted: impl Fn(JobStatus) -> bool) -> Job {
    let started = Instant::now();
    loop {
        let jobs = cluster.jobs().await.expect("jobs are listed");
        let job = jobs.into_iter().find(|job| job.submission_id == id);
        let job = job.expect("it was submitted");
        if wanted(job.status) {
            return job;
        }
        let waits = !job.status.is_terminal() && started.elapsed() < PATIENCE;
        assert!(waits, "it never got there: {job:?}");
        // A cluster tells nobody when a job changes: it can only be asked again.
        sleep(Duration::from_millis(100)).await;
    }
}
