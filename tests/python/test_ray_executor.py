"""Both RayExecutorService packages, as the clients that were there before Conclave use them."""

import grpc
import pytest
from conftest import SECONDS, fields, poll, refusal, submit_request, unique


@pytest.fixture(params=["documented", "fleet"])
def package(request, contracts):
    """One of the packages: its messages and its stub."""
    return getattr(contracts, request.param), request.getfixturevalue(request.param)


def test_a_submit_is_polled_to_its_result(package, stub_url):
    pb, stub = package
    submitted = stub.ExecuteDeliberation(submit_request(pb, stub_url), timeout=SECONDS)
    assert submitted.status == "submitted"
    assert submitted.message == "Deliberation submitted to Ray cluster"
    assert submitted.deliberation_id.startswith("deliberation-")
    answer = poll(pb, stub, submitted.deliberation_id)
    assert (answer.status, answer.error_message) == ("completed", "")
    assert "42" in answer.result.proposal
    assert answer.result.agent_id.startswith("agent-")
    assert 0 <= answer.result.score <= 1
    facts = answer.result.metadata
    assert (facts["total_agents"], facts["completed_agents"], facts["failed_agents"]) == ("3", "3", "0")
    assert {"average_score", "strategy", "scorer"} <= set(facts)
    assert "@" in facts["strategy"] and "@" in facts["scorer"]
    assert poll(pb, stub, submitted.deliberation_id) == answer


def test_agents_that_all_fail_make_a_failed_deliberation(package, stub_url):
    pb, stub = package
    request = submit_request(pb, stub_url, model="status:400")
    answer = poll(pb, stub, stub.ExecuteDeliberation(request, timeout=SECONDS).deliberation_id)
    assert answer.status == "failed"
    assert answer.error_message and not answer.HasField("result")


def test_an_unknown_id_is_not_found_without_an_error(package):
    pb, stub = package
    request = pb.GetDeliberationStatusRequest(deliberation_id="deliberation-none")
    assert stub.GetDeliberationStatus(request, timeout=SECONDS).status == "not_found"


INVALID = [
    ("task_id", {"task_id": ""}, "task_id cannot be empty"),
    ("task_description", {"task_description": ""}, "task_description cannot be empty"),
    ("role", {"role": ""}, "role cannot be empty"),
    ("agents", {"agents": []}, "At least one agent is required"),
    ("agents[0].id", {"agents": [{"role": "DEV", "model": "m"}]}, "agent_id cannot be empty"),
    ("vllm_url", {"vllm_url": ""}, "vllm_url cannot be empty"),
    ("vllm_url", {"vllm_url": "ftp://h"}, None),
    ("vllm_model", {"vllm_model": ""}, "vllm_model cannot be empty"),
    ("constraints.story_id", {"constraints": {"plan_id": "p"}}, "story_id cannot be empty"),
    (
        "constraints.timeout_seconds",
        {"constraints": {"story_id": "s", "timeout_seconds": -5}},
        "timeout_seconds must be positive, got -5",
    ),
    ("constraints.timeout_seconds", {"constraints": {"story_id": "s", "timeout_seconds": 2_000_000}}, None),
    (
        "constraints.max_retries",
        {"constraints": {"story_id": "s", "max_retries": -1}},
        "max_retries cannot be negative, got -1",
    ),
    (
        "constraints.max_retries",
        {"constraints": {"story_id": "s", "max_retries": 11}},
        "constraints.max_retries: is 11, at most 10 are allowed",
    ),
    (
        "agents[0].prompt_template",
        {"agents": [{"id": "a", "role": "DEV", "model": "m", "prompt_template": "{{ task"}]},
        None,
    ),
    (
        "constraints.metadata[strategy]",
        {"constraints": {"story_id": "s", "metadata": {"strategy": "no-such-strategy"}}},
        None,
    ),
    (
        "constraints.metadata[scorer]",
        {"constraints": {"story_id": "s", "metadata": {"scorer": "no-such-scorer"}}},
        None,
    ),
    (
        "constraints.metadata[scorer]",
        {"constraints": {"story_id": "s", "metadata": {"scorer": "judge@sha256:12"}}},
        None,
    ),
    (
        "constraints.metadata[strategy_params]",
        {"constraints": {"story_id": "s", "metadata": {"strategy_params": "[]"}}},
        None,
    ),
]


@pytest.mark.parametrize("field,changes,message", INVALID)
def test_an_invalid_field_is_named(package, stub_url, field, changes, message):
    pb, stub = package
    refused = refusal(stub.ExecuteDeliberation, submit_request(pb, stub_url, **changes))
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert fields(refused) == [field]
    if message is not None:
        assert refused.message == message


def test_an_empty_model_of_an_agent_is_the_request_s_in_the_documented_package_only(
    documented_pb, documented, fleet_pb, fleet, stub_url
):
    agents = [{"id": "a", "role": "DEV"}]
    request = submit_request(documented_pb, stub_url, agents=agents)
    assert documented.ExecuteDeliberation(request, timeout=SECONDS).status == "submitted"
    refused = refusal(fleet.ExecuteDeliberation, submit_request(fleet_pb, stub_url, agents=agents))
    assert (refused.code, refused.message) == (grpc.StatusCode.INVALID_ARGUMENT, "model cannot be empty")


def test_an_endpoint_that_is_not_listed_is_refused(package):
    pb, stub = package
    refused = refusal(stub.ExecuteDeliberation, submit_request(pb, "http://169.254.169.254/latest"))
    assert refused.code == grpc.StatusCode.PERMISSION_DENIED
    assert refused.ErrorInfo.reason == "ENDPOINT_NOT_ALLOWED"


def test_a_key_is_one_deliberation(package, stub_url):
    pb, stub = package
    headers = [("idempotency-key", unique("key"))]
    request = submit_request(pb, stub_url)
    first = stub.ExecuteDeliberation(request, timeout=SECONDS, metadata=headers)
    assert stub.ExecuteDeliberation(request, timeout=SECONDS, metadata=headers) == first
    request.role = "QA"
    refused = refusal(stub.ExecuteDeliberation, request, metadata=headers)
    assert refused.code == grpc.StatusCode.ALREADY_EXISTS
    assert refused.ErrorInfo.metadata["differences"] == "role"
    assert refused.ErrorInfo.metadata["deliberation_id"] == first.deliberation_id
    refused = refusal(stub.ExecuteDeliberation, request, metadata=[("idempotency-key", "k" * 129)])
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert fields(refused) == ["idempotency-key"]


INVALID_HEADERS = [
    ("x-correlation-id", "c" * 129, "INVALID_FIELD", "x-correlation-id must have 1 to 128 printable characters"),
    ("x-conclave-strategy", "s" * 129, "INVALID_FIELD", "x-conclave-strategy must have 1 to 128 printable characters"),
    ("x-conclave-scorer", "judge@sha256:12", "INVALID_FIELD", "x-conclave-scorer must be a sha256 digest"),
    ("x-conclave-strategy", "sampel-vote", "PLUGIN_NOT_FOUND", "did you mean `sample-vote`?"),
    ("x-conclave-strategy", "sample-vote@9.9.9", "PLUGIN_NOT_FOUND", "no strategy `sample-vote@9.9.9`"),
    ("x-conclave-scorer", "jugde", "PLUGIN_NOT_FOUND", "did you mean `judge`?"),
]


@pytest.mark.parametrize("header,text,reason,words", INVALID_HEADERS)
def test_an_invalid_header_is_refused(package, stub_url, header, text, reason, words):
    pb, stub = package
    refused = refusal(stub.ExecuteDeliberation, submit_request(pb, stub_url), metadata=[(header, text)])
    assert (refused.code, refused.ErrorInfo.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert words in refused.message
    if reason == "INVALID_FIELD":
        assert fields(refused) == [header]


def test_the_deployed_package_repeats_the_task_id(fleet_pb, fleet, stub_url):
    request = submit_request(fleet_pb, stub_url)
    assert fleet.ExecuteDeliberation(request, timeout=SECONDS).task_id == request.task_id


def review(pb, url, **changes):
    plain = submit_request(pb, url)
    fields = {
        "task_id": "ceremony-1:story-2:role-QA",
        "task_description": plain.task_description,
        "role": plain.role,
        "constraints": pb.BacklogReviewTaskConstraints(story_id="2"),
        "agents": plain.agents,
        "vllm_url": plain.vllm_url,
        "vllm_model": plain.vllm_model,
    }
    return pb.ExecuteBacklogReviewDeliberationRequest(**{**fields, **changes})


def test_a_backlog_review_is_a_deliberation(fleet_pb, fleet, stub_url):
    submitted = fleet.ExecuteBacklogReviewDeliberation(review(fleet_pb, stub_url), timeout=SECONDS)
    assert (submitted.task_id, submitted.status) == ("ceremony-1:story-2:role-QA", "submitted")
    assert poll(fleet_pb, fleet, submitted.deliberation_id).status == "completed"


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"task_id": ""}, "task_id is MISSING"),
        ({"task_id": "task-1"}, "Invalid task_id format"),
        ({"task_id": "ceremony-1:story-2"}, "Invalid task_id format"),
        ({"constraints": {}}, "story_id cannot be empty"),
        ({"agents": []}, "At least one agent is required"),
        ({"role": ""}, "role cannot be empty"),
        ({"task_description": " "}, "task_description cannot be empty"),
        ({"agents": [{"role": "QA", "model": "m"}]}, "agent_id cannot be empty"),
        ({"agents": [{"id": "a", "role": "QA"}]}, "model cannot be empty"),
        ({"vllm_url": ""}, "vllm_url cannot be empty"),
        ({"vllm_model": ""}, "vllm_model cannot be empty"),
        ({"constraints": {"story_id": "2", "timeout_seconds": -1}}, "timeout_seconds must be positive, got -1"),
        ({"constraints": {"story_id": "2", "max_retries": -1}}, "max_retries cannot be negative, got -1"),
        (
            {"constraints": {"story_id": "2", "max_retries": 11}},
            "constraints.max_retries: is 11, at most 10 are allowed",
        ),
    ],
)
def test_an_invalid_backlog_review_is_refused(fleet_pb, fleet, stub_url, changes, message):
    refused = refusal(fleet.ExecuteBacklogReviewDeliberation, review(fleet_pb, stub_url, **changes))
    assert (refused.code, refused.message) == (grpc.StatusCode.INVALID_ARGUMENT, message)


def test_statistics_count_each_deliberation_once(package, stub_url):
    pb, stub = package

    def stats():
        answer = stub.GetStatus(pb.GetStatusRequest(include_stats=True), timeout=SECONDS)
        assert answer.status in ("healthy", "degraded")
        assert answer.uptime_seconds >= 0
        return answer.stats

    before = stats()
    deliberation_id = stub.ExecuteDeliberation(submit_request(pb, stub_url), timeout=SECONDS).deliberation_id
    for _ in range(3):
        poll(pb, stub, deliberation_id)
    after = stats()
    assert after.total_deliberations == before.total_deliberations + 1
    assert after.completed_deliberations >= before.completed_deliberations + 1
    assert after.active_deliberations >= 0
    assert after.average_execution_time_ms > 0
    assert not stub.GetStatus(pb.GetStatusRequest(), timeout=SECONDS).HasField("stats")


def test_what_runs_is_listed_and_what_is_cancelled_has_failed(package, native_pb, native, stub_url):
    pb, stub = package
    request = submit_request(pb, stub_url, model="hang")
    deliberation_id = stub.ExecuteDeliberation(request, timeout=SECONDS).deliberation_id

    def job():
        jobs = stub.GetActiveJobs(pb.GetActiveJobsRequest(), timeout=SECONDS).jobs
        return next((job for job in jobs if job.submission_id == deliberation_id), None)

    running = job()
    assert running.name == f"vllm-agent-job-{deliberation_id}"
    assert running.status in ("PENDING", "RUNNING")
    assert (running.task_id, running.role) == (request.task_id, "DEV")
    assert running.HasField("start_time") and not running.HasField("end_time")
    assert running.runtime.endswith("s") and "m " in running.runtime
    cancel = native_pb.CancelDeliberationRequest(name=f"deliberations/{deliberation_id}", reason="too late")
    native.CancelDeliberation(cancel, timeout=SECONDS)
    answer = poll(pb, stub, deliberation_id)
    assert (answer.status, answer.error_message) == ("failed", "cancelled: too late")
    assert job() is None
