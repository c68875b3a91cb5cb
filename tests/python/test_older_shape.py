"""Clients of `fleet.ray_executor.v1` that are older than those deployed today, on a host that is set
to `compat.fleet_response_shape = "older"`."""

import pytest
from conftest import SECONDS, poll, submit_request
from test_ray_executor import review

pytestmark = pytest.mark.older

SERVICE = "/fleet.ray_executor.v1.RayExecutorService"


@pytest.mark.parametrize(
    "method,request_of",
    [("ExecuteDeliberation", submit_request), ("ExecuteBacklogReviewDeliberation", review)],
)
def test_a_submit_is_answered_with_id_status_and_message(
    channel, fleet_pb, fleet, documented_pb, stub_url, method, request_of
):
    # The documented package has the numbers that these clients read.
    submit = channel.unary_unary(
        f"{SERVICE}/{method}",
        request_serializer=lambda request: request.SerializeToString(),
        response_deserializer=documented_pb.ExecuteDeliberationResponse.FromString,
    )
    submitted = submit(request_of(fleet_pb, stub_url), timeout=SECONDS)
    assert submitted.deliberation_id.startswith("deliberation-")
    assert submitted.status == "submitted"
    assert submitted.message == "Deliberation submitted to Ray cluster"
    assert poll(fleet_pb, fleet, submitted.deliberation_id).status == "completed"


def test_the_documented_package_is_answered_as_ever(documented_pb, documented, stub_url):
    submitted = documented.ExecuteDeliberation(submit_request(documented_pb, stub_url), timeout=SECONDS)
    assert submitted.deliberation_id.startswith("deliberation-")
    assert submitted.status == "submitted"
