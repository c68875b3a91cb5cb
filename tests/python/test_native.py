"""The native API."""

import time

import grpc
import pytest
from conftest import SECONDS, fields, refusal, unique
from google.protobuf.duration_pb2 import Duration


def create_request(pb, url, model="answer:42", request_id="", **changes):
    task = pb.Task(
        id=unique("task"),
        description="What is six times seven?",
        role="DEV",
        agents=[pb.Agent(id=f"agent-{n}") for n in range(3)],
        model=model,
    )
    deliberation = pb.Deliberation(**{"task": task, "endpoint": url, **changes})
    return pb.CreateDeliberationRequest(deliberation=deliberation, request_id=request_id)


def created(pb, stub, url, **changes):
    return stub.CreateDeliberation(create_request(pb, url, **changes), timeout=SECONDS)


def watched(pb, stub, name, after=0):
    request = pb.WatchDeliberationRequest(name=name, after_sequence=after)
    return stub.WatchDeliberation(request, timeout=SECONDS)


def test_a_deliberation_is_created_waited_for_and_read(native_pb, native, stub_url):
    running = created(native_pb, native, stub_url, labels={"team": "blue"})
    assert running.name == f"deliberations/{running.uid}"
    assert running.strategy.name and running.strategy.version and len(running.strategy.digest) == 64
    done = native.WaitDeliberation(native_pb.WaitDeliberationRequest(name=running.name), timeout=SECONDS)
    assert done.state == native_pb.Deliberation.COMPLETED
    assert done.labels["team"] == "blue"
    winner = done.outcome.ranked[0]
    assert "42" in winner.candidate.content and 0 <= winner.score.value <= 1
    assert done.outcome.completeness.agents == 3
    assert done.usage.generations_completed >= 1 and done.usage.completion_tokens > 0
    assert done.end_time.ToNanoseconds() >= done.create_time.ToNanoseconds()
    assert native.GetDeliberation(native_pb.GetDeliberationRequest(name=done.name), timeout=SECONDS) == done


def test_a_watch_tells_the_story_in_order_and_resumes(native_pb, native, stub_url):
    name = created(native_pb, native, stub_url, model="slow-tokens:3:20").name
    live = list(watched(native_pb, native, name))
    kinds = [event.WhichOneof("event") for event in live]
    assert kinds[0] == "accepted" and kinds[-1] == "finished"
    assert {"generation_started", "tokens", "generation_finished"} <= set(kinds)
    journaled = [event for event in live if event.sequence]
    sequences = [event.sequence for event in journaled]
    assert sequences == sorted(set(sequences))
    middle = len(journaled) // 2
    assert list(watched(native_pb, native, name, sequences[middle])) == journaled[middle + 1 :]
    assert list(watched(native_pb, native, name, sequences[-1])) == []


def test_a_cancel_ends_a_deliberation_for_its_watcher_too(native_pb, native, stub_url):
    name = created(native_pb, native, stub_url, model="hang").name
    events = watched(native_pb, native, name)
    assert next(events).WhichOneof("event") == "accepted"
    cancel = native_pb.CancelDeliberationRequest(name=name, reason="no longer needed")
    cancelled = native.CancelDeliberation(cancel, timeout=SECONDS)
    assert cancelled.state == native_pb.Deliberation.CANCELLED
    assert cancelled.cancel_reason == "no longer needed"
    last = list(events)[-1]
    assert last.finished.state == native_pb.Deliberation.CANCELLED
    again = native_pb.CancelDeliberationRequest(name=name, reason="again")
    assert native.CancelDeliberation(again, timeout=SECONDS) == cancelled


def test_a_wait_ends_at_its_timeout_or_at_the_deadline(native_pb, native, stub_url):
    name = created(native_pb, native, stub_url, model="hang").name
    wait = native_pb.WaitDeliberationRequest(name=name, timeout=Duration(nanos=50_000_000))
    assert native.WaitDeliberation(wait, timeout=SECONDS).state == native_pb.Deliberation.RUNNING
    started = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        native.WaitDeliberation(native_pb.WaitDeliberationRequest(name=name), timeout=0.2)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    # It did not wait for the deliberation, which has minutes.
    still = native.GetDeliberation(native_pb.GetDeliberationRequest(name=name), timeout=SECONDS)
    assert still.state == native_pb.Deliberation.RUNNING
    assert time.monotonic() - started < still.timeout.ToSeconds() / 2
    native.CancelDeliberation(native_pb.CancelDeliberationRequest(name=name), timeout=SECONDS)


def test_a_request_id_is_one_deliberation(native_pb, native, stub_url):
    request = create_request(native_pb, stub_url, request_id=unique("request"))
    first = native.CreateDeliberation(request, timeout=SECONDS)
    assert native.CreateDeliberation(request, timeout=SECONDS).name == first.name
    request.deliberation.task.role = "QA"
    refused = refusal(native.CreateDeliberation, request)
    assert refused.code == grpc.StatusCode.ALREADY_EXISTS
    assert refused.ErrorInfo.metadata["differences"] == "deliberation.task.role"


INVALID = [
    ("deliberation.task.id", lambda d: d.task.ClearField("id")),
    ("deliberation.task.description", lambda d: d.task.ClearField("description")),
    ("deliberation.task.agents", lambda d: d.task.ClearField("agents")),
    ("deliberation.task.agents[1].id", lambda d: setattr(d.task.agents[1], "id", "agent-0")),
    ("deliberation.task.agents[0].prompt_template", lambda d: setattr(d.task.agents[0], "prompt_template", "{{ task")),
    ("deliberation.endpoint", lambda d: setattr(d, "endpoint", "nonsense")),
    ("deliberation.strategy.name", lambda d: setattr(d.strategy, "name", "no-such-strategy")),
    ("deliberation.strategy.digest", lambda d: setattr(d.strategy, "digest", "12")),
    ("deliberation.strategy.params_json", lambda d: setattr(d.strategy, "params_json", "[]")),
    ("deliberation.scorer.name", lambda d: setattr(d.scorer, "name", "no-such-scorer")),
    ("deliberation.scorer.params_json", lambda d: setattr(d.scorer, "params_json", "{")),
    ("deliberation.timeout", lambda d: d.timeout.FromSeconds(-1)),
    ("deliberation.timeout", lambda d: d.timeout.FromSeconds(2_000_000)),
    ("deliberation.max_retries", lambda d: setattr(d, "max_retries", -1)),
]


@pytest.mark.parametrize("field,change", INVALID)
def test_an_invalid_field_is_named(native_pb, native, stub_url, field, change):
    request = create_request(native_pb, stub_url)
    change(request.deliberation)
    refused = refusal(native.CreateDeliberation, request)
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert fields(refused) == [field]


def test_other_requests_name_their_fields_too(native_pb, native, stub_url):
    pb, name = native_pb, "deliberations/deliberation-none"
    cases = [
        (native.CreateDeliberation, pb.CreateDeliberationRequest(), "deliberation"),
        (native.CreateDeliberation, create_request(pb, stub_url, request_id="r" * 129), "request_id"),
        (native.GetDeliberation, pb.GetDeliberationRequest(), "name"),
        (native.WatchDeliberation, pb.WatchDeliberationRequest(name="deliberation-1"), "name"),
        (native.WatchDeliberation, pb.WatchDeliberationRequest(name=name, after_sequence=-1), "after_sequence"),
        (native.WaitDeliberation, pb.WaitDeliberationRequest(name=name, timeout=Duration(seconds=-1)), "timeout"),
        (native.CancelDeliberation, pb.CancelDeliberationRequest(name=name, reason="x" * 1025), "reason"),
    ]
    for call, request, field in cases:
        refused = refusal(call, request)
        assert (refused.code, fields(refused)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


def test_an_invalid_header_is_named(native_pb, native, stub_url):
    for header in ["idempotency-key", "x-correlation-id"]:
        request = create_request(native_pb, stub_url)
        refused = refusal(native.CreateDeliberation, request, metadata=[(header, "k" * 129)])
        assert (refused.code, fields(refused)) == (grpc.StatusCode.INVALID_ARGUMENT, [header])
        assert refused.message == f"{header} must have 1 to 128 printable characters"


def test_an_unknown_deliberation_is_not_found(native_pb, native):
    pb, name = native_pb, "deliberations/deliberation-none"
    for call, request in [
        (native.GetDeliberation, pb.GetDeliberationRequest(name=name)),
        (native.WatchDeliberation, pb.WatchDeliberationRequest(name=name)),
        (native.WaitDeliberation, pb.WaitDeliberationRequest(name=name)),
        (native.CancelDeliberation, pb.CancelDeliberationRequest(name=name)),
    ]:
        refused = refusal(call, request)
        assert refused.code == grpc.StatusCode.NOT_FOUND
        assert refused.ResourceInfo.resource_name == name
