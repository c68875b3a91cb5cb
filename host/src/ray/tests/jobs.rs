//! Jobs, their logs, and packages.

use conclave_core::cluster::{Error, Job, JobStatus};
use serde_json::{Value, json};

use super::*;

fn in_use(told: Value) -> impl Fn(usize, &Call) -> Reply {
    move |_, call| match call.what.as_str() {
        "POST /api/jobs/" => Reply::Answer(500, samples::ALREADY_EXISTS.to_owned()),
        _ => ok(told.to_string()),
    }
}

#[tokio::test]
async fn a_job_is_submitted_as_json() {
    let fake = Fake::start(|_, _| ok(r#"{"job_id": "probe", "submission_id": "probe"}"#)).await;
    ray(&fake).submit(&spec()).await.unwrap();
    let call = &fake.calls()[0];
    assert_eq!(call.header("content-type"), "application/json");
    let body: Value = serde_json::from_slice(&call.body).unwrap();
    assert_eq!(
        (&body["submission_id"], &body["metadata"]),
        (&json!("probe"), &json!({"host": "h1"}))
    );
}

#[tokio::test]
async fn a_job_that_is_there_already_is_ours_by_its_metadata() {
    let job = |metadata: Value| json!({"submission_id": "probe", "status": "RUNNING", "metadata": metadata});
    let fake = Fake::start(in_use(job(json!({"host": "h1"})))).await;
    ray(&fake).submit(&spec()).await.unwrap();
    assert_eq!(fake.asked(), ["POST /api/jobs/", "GET /api/jobs/probe"]);

    for foreign in [json!({"host": "h2"}), json!({}), Value::Null] {
        let fake = Fake::start(in_use(job(foreign))).await;
        let error = ray(&fake).submit(&spec()).await.unwrap_err();
        assert!(
            matches!(&error, Error::Taken { submission_id, .. } if submission_id == "probe"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_is_left_of_a_deleted_job_makes_room() {
    let left = r#"{"submission_id": "probe", "status": "FAILED", "metadata": null, "start_time": null,
        "entrypoint": "Entrypoint not found.", "message": "Job supervisor actor died"}"#;
    let fake = Fake::start(move |n, call| match call.what.as_str() {
        "POST /api/jobs/" if n == 1 => Reply::Answer(500, samples::ALREADY_EXISTS.to_owned()),
        _ => ok(left),
    })
    .await;
    ray(&fake).submit(&spec()).await.unwrap();
    assert_eq!(
        fake.asked(),
        [
            "POST /api/jobs/",
            "GET /api/jobs/probe",
            "DELETE /api/jobs/probe",
            "POST /api/jobs/"
        ]
    );
}

#[tokio::test]
async fn a_submit_whose_answer_was_lost_is_one_job() {
    let fake = Fake::start(|n, _| match n {
        1 => Reply::Answer(502, "the gateway lost the answer".to_owned()),
        2 => Reply::Answer(500, samples::ALREADY_EXISTS.to_owned()),
        _ => ok(r#"{"submission_id": "probe", "status": "PENDING", "metadata": {"host": "h1"}}"#),
    })
    .await;
    ray(&fake).submit(&spec()).await.unwrap();
}

#[tokio::test]
async fn a_job_that_no_cluster_takes_is_rejected_at_once() {
    let text = "Traceback (most recent call last):\n  x\nTypeError: metadata must be a dict";
    let fake = Fake::start(move |_, _| Reply::Answer(400, text.to_owned())).await;
    let error = ray(&fake).submit(&spec()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Rejected { status: 400, message, .. }
        if message == "TypeError: metadata must be a dict")
    );
    assert!(!error.is_retryable());
    assert_eq!(fake.calls().len(), 1);
}

#[tokio::test]
async fn submitted_jobs_are_listed_as_either_version_tells_them() {
    let list = async |text: &'static str| {
        let fake = Fake::start(move |_, _| ok(text)).await;
        ray(&fake).jobs().await.unwrap()
    };
    let old = list(samples::JOBS_2_49).await;
    assert_eq!(
        old[0],
        Job {
            submission_id: "vllm-2.49-1795363941".to_owned(),
            status: JobStatus::Running,
            message: "Job is currently running.".to_owned(),
            metadata: [("conclave".to_owned(), "x".to_owned())].into(),
            node_ip: Some("127.0.0.2".to_owned()),
            started_at_ms: Some(1_795_363_943_894),
            ended_at_ms: None,
        }
    );
    assert_eq!(old[1].status, JobStatus::Failed);
    assert!(old[1].message.contains("exit code 3") && old[1].ended_at_ms.is_some());

    // One was deleted, one is a driver's, and one is not understood.
    let new = list(samples::JOBS_2_60).await;
    let told = |job: &Job| (job.status, job.metadata.len(), job.node_ip.is_some());
    let told: Vec<_> = new.iter().map(told).collect();
    assert_eq!(told, [(JobStatus::Pending, 1, false)]);
}

#[tokio::test]
async fn stopping_and_deleting_what_is_not_there_changes_nothing() {
    let fake = Fake::start(|_, _| Reply::Answer(404, "Job probe does not exist".to_owned())).await;
    let cluster = ray(&fake);
    cluster.stop("probe").await.unwrap();
    cluster.delete("probe").await.unwrap();
    assert_eq!(
        fake.asked(),
        ["POST /api/jobs/probe/stop", "DELETE /api/jobs/probe"]
    );
    let error = cluster.log_tail("probe", 100).await.unwrap_err();
    assert!(matches!(error, Error::NoJob { .. }), "{error}");
}

#[tokio::test]
async fn a_job_that_has_not_ended_is_not_deleted() {
    let fake = Fake::start(|_, _| Reply::Answer(500, samples::NOT_ENDED.to_owned())).await;
    let error = ray(&fake).delete("probe").await.unwrap_err();
    assert!(matches!(&error, Error::Rejected { message, .. }
        if message.ends_with("it is in a non-terminal state PENDING.")));
    assert_eq!(fake.calls().len(), 1);
}

#[tokio::test]
async fn the_end_of_a_log_is_read_from_the_drivers_node() {
    let fake = Fake::start(|_, call| match call.what.as_str() {
        "GET /api/jobs/probe" => {
            ok(r#"{"submission_id": "probe", "status": "FAILED", "driver_node_id": "a1"}"#)
        }
        _ => ok("one\ntwo\nthree\n"),
    })
    .await;
    let cluster = ray(&fake);
    assert_eq!(
        cluster.log_tail("probe", 100).await.unwrap(),
        "one\ntwo\nthree\n"
    );
    assert_eq!(cluster.log_tail("probe", 11).await.unwrap(), "two\nthree\n");
    assert_eq!(
        fake.asked()[1],
        "GET /api/v0/logs/file?node_id=a1&filename=job-driver-probe.log&lines=1000"
    );
}

#[tokio::test]
async fn a_job_without_a_log_has_an_empty_end() {
    let lost = Fake::start(|_, call| match call.what.as_str() {
        "GET /api/jobs/probe" => {
            ok(r#"{"submission_id": "probe", "status": "FAILED", "driver_node_id": "a1"}"#)
        }
        _ => Reply::Answer(
            500,
            "A file is not found at: /tmp/ray/job-driver-probe.log".to_owned(),
        ),
    })
    .await;
    assert_eq!(ray(&lost).log_tail("probe", 100).await.unwrap(), "");
    let told = r#"{"submission_id": "probe", "status": "FAILED", "driver_node_id": null}"#;
    let never_ran = Fake::start(move |_, _| ok(told)).await;
    assert_eq!(ray(&never_ran).log_tail("probe", 100).await.unwrap(), "");
    assert_eq!(never_ran.calls().len(), 1);
}

#[tokio::test]
async fn a_package_is_uploaded_unless_it_is_there() {
    let fake = Fake::start(|_, call| match call.what.split(' ').next() {
        Some("GET") => Reply::Answer(404, "Package gcs://p1.zip does not exist".to_owned()),
        _ => ok(""),
    })
    .await;
    let zip = b"zip".to_vec();
    let uri = ray(&fake).upload("p1", zip.clone()).await.unwrap();
    assert_eq!(uri, "gcs://p1.zip");
    let path = "/api/packages/gcs/p1.zip";
    assert_eq!(fake.asked(), [format!("GET {path}"), format!("PUT {path}")]);
    assert_eq!(fake.calls()[1].body, zip);

    let there = Fake::start(|_, _| ok("")).await;
    assert_eq!(ray(&there).upload("p1", zip).await.unwrap(), uri);
    assert_eq!(there.calls().len(), 1);
}
