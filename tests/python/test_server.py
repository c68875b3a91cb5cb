"""What the server offers besides the contracts."""

import pytest
from conftest import SECONDS
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICES = [
    "conclave.v1.Deliberations",
    "fleet.ray_executor.v1.RayExecutorService",
    "ray_executor.v1.RayExecutorService",
]


@pytest.mark.parametrize("service", ["", *SERVICES])
def test_a_ready_host_serves(channel, service):
    stub = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_tells_the_contracts(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert {*SERVICES, "grpc.health.v1.Health"} <= set(database.get_services())
    pool = DescriptorPool(database)
    for service in SERVICES:
        assert pool.FindServiceByName(service).methods
    response = pool.FindMessageTypeByName("fleet.ray_executor.v1.ExecuteDeliberationResponse")
    assert response.fields_by_name["deliberation_id"].number == 2
