//! What dashboards of Ray 2.49.2 and 2.60.0 answered, trimmed.

/// To the second submit of an id (status 500).
pub(crate) const ALREADY_EXISTS: &str = r#"Traceback (most recent call last):
  File "ray/dashboard/modules/job/job_head.py", line 419, in submit_job
    resp = await job_agent_client.submit_job_internal(submit_request)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
RuntimeError: Request failed with status code 400: Traceback (most recent call last):
  File "ray/dashboard/modules/job/job_manager.py", line 553, in submit_job
    raise ValueError(
ValueError: Job with submission_id probe already exists. Please use a different submission_id.
.
"#;

/// To the deletion of a job that has not ended (status 500).
pub(crate) const NOT_ENDED: &str = r#"Traceback (most recent call last):
  File "ray/dashboard/modules/job/job_head.py", line 500, in delete_job
    resp = await job_agent_client.delete_job_internal(job.submission_id)
RuntimeError: Request failed with status code 500: Traceback (most recent call last):
  File "ray/dashboard/modules/job/job_manager.py", line 655, in delete_job
    raise RuntimeError(
RuntimeError: Attempted to delete job 'probe', but it is in a non-terminal state PENDING.
.
"#;

pub(crate) const JOBS_2_49: &str = include_str!("../samples/jobs-2.49.2.json");

/// The first is what is left of a job that was deleted while its supervisor died.
pub(crate) const JOBS_2_60: &str = include_str!("../samples/jobs-2.60.0.json");

pub(crate) const NODES_2_49: &str = include_str!("../samples/nodes-2.49.2.json");

pub(crate) const NODES_2_60: &str = include_str!("../samples/nodes-2.60.0.json");

/// GPUs and lines of resources as Ray's own code makes them, put together by hand.
pub(crate) const NODES_GPU: &str = include_str!("../samples/nodes-gpu.json");
