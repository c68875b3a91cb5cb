"""Stubs, a connection, and what every test needs of them."""

import importlib
import importlib.resources
import os
import sys
import tempfile
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from grpc_tools import protoc

PROTO = Path(__file__).resolve().parents[2] / "proto"
FILES = [
    "conclave/v1/deliberations.proto",
    "fleet/ray_executor/v1/ray_executor.proto",
    "ray_executor/v1/ray_executor.proto",
]
# How long a call may take: far longer than it does on a busy machine.
SECONDS = 60


def _generated(name):
    """The messages and the stubs of one .proto file, in one namespace."""
    module = name.removesuffix(".proto").replace("/", ".")
    messages = importlib.import_module(f"{module}_pb2")
    services = importlib.import_module(f"{module}_pb2_grpc")
    return SimpleNamespace(**{**vars(messages), **vars(services)})


@pytest.fixture(scope="session")
def contracts():
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    with tempfile.TemporaryDirectory() as out:
        arguments = ["protoc", f"-I{PROTO}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}"]
        assert protoc.main(arguments + FILES) == 0
        sys.path.insert(0, out)
        native, fleet, documented = map(_generated, FILES)
        yield SimpleNamespace(native=native, fleet=fleet, documented=documented)


@pytest.fixture(scope="session")
def native_pb(contracts):
    return contracts.native


@pytest.fixture(scope="session")
def fleet_pb(contracts):
    return contracts.fleet


@pytest.fixture(scope="session")
def documented_pb(contracts):
    return contracts.documented


@pytest.fixture(scope="session")
def channel():
    with grpc.insecure_channel(os.environ["CONCLAVE_ADDR"]) as channel:
        grpc.channel_ready_future(channel).result(timeout=SECONDS)
        yield channel


@pytest.fixture(scope="session")
def stub_url():
    return os.environ["STUB_URL"]


@pytest.fixture(scope="session")
def native(native_pb, channel):
    return native_pb.DeliberationsStub(channel)


@pytest.fixture(scope="session")
def fleet(fleet_pb, channel):
    return fleet_pb.RayExecutorServiceStub(channel)


@pytest.fixture(scope="session")
def documented(documented_pb, channel):
    return documented_pb.RayExecutorServiceStub(channel)


def unique(prefix):
    return f"{prefix}-{uuid.uuid4()}"


def submit_request(pb, url, model="answer:42", **changes):
    """A sound request of either RayExecutorService package."""
    fields = {
        "task_id": unique("task"),
        "task_description": "What is six times seven?",
        "role": "DEV",
        "constraints": pb.TaskConstraints(story_id="story-1", plan_id="plan-1", timeout_seconds=60),
        "agents": [pb.Agent(id=f"agent-{n}", role="DEV", model=model) for n in range(3)],
        "vllm_url": url,
        "vllm_model": model,
    }
    return pb.ExecuteDeliberationRequest(**{**fields, **changes})


def poll(pb, stub, deliberation_id):
    """Polls until the deliberation no longer runs."""
    deadline = time.monotonic() + SECONDS
    while True:
        request = pb.GetDeliberationStatusRequest(deliberation_id=deliberation_id)
        answer = stub.GetDeliberationStatus(request, timeout=SECONDS)
        if answer.status != "running":
            return answer
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.05)


def refusal(call, *arguments, **options):
    """How a call was refused: code, message, and the details by their type."""
    with pytest.raises(grpc.RpcError) as caught:
        answer = call(*arguments, timeout=SECONDS, **options)
        # A stream is refused when it is read.
        if not hasattr(answer, "DESCRIPTOR"):
            next(iter(answer))
    status = rpc_status.from_call(caught.value)
    assert status is not None, f"no details: {caught.value}"
    known = [
        error_details_pb2.ErrorInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.RetryInfo,
        error_details_pb2.ResourceInfo,
    ]
    details = {}
    for packed in status.details:
        for kind in known:
            if packed.Is(kind.DESCRIPTOR):
                details[kind.__name__] = kind.FromString(packed.value)
    assert details["ErrorInfo"].domain == "conclave"
    return SimpleNamespace(code=caught.value.code(), message=caught.value.details(), **details)


def fields(refused):
    return [violation.field for violation in refused.BadRequest.field_violations]
