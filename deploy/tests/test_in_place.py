"""The overlay `in-place` takes the place of the Ray Executor Service: no client sees a difference."""

import pytest
from manifests import Object, of_kind, one, pods, render, selects


@pytest.fixture
def objects() -> list[Object]:
    return render("in-place")


def test_names_namespace_and_label_are_those_of_the_service_before(objects: list[Object]) -> None:
    assert {found["metadata"]["namespace"] for found in objects} == {"swe-ai-fleet"}
    assert of_kind(objects, "Namespace") == []
    deployment = one(objects, "Deployment", "ray-executor")
    assert deployment["metadata"]["labels"]["app"] == "ray_executor"
    # It cannot be changed in a Deployment that exists.
    assert deployment["spec"]["selector"] == {"matchLabels": {"app": "ray_executor"}}
    # An apply replaces the container of the same name, and dashboards find it.
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["name"] == "ray-executor"
    names = {service["metadata"]["name"] for service in of_kind(objects, "Service")}
    assert names == {"ray-executor", "internal-ray-executor"}


@pytest.mark.parametrize("name", ["ray-executor", "internal-ray-executor"])
def test_both_names_lead_to_grpc_of_the_host(objects: list[Object], name: str) -> None:
    service = one(objects, "Service", name)
    assert service["metadata"]["labels"]["app"] == "ray_executor"
    assert service["spec"]["selector"] == {"app": "ray_executor"}
    assert service["spec"].get("type", "ClusterIP") == "ClusterIP"
    (port,) = [port for port in service["spec"]["ports"] if port["name"] == "grpc"]
    (pod,) = [pod for pod in pods(objects) if selects({"matchLabels": {"app": "ray_executor"}}, pod.labels)]
    assert port["port"] == pod.ports()[port["targetPort"]] == 50056


def test_the_host_gets_the_variables_of_the_service_before(objects: list[Object]) -> None:
    (container,) = one(objects, "Deployment", "ray-executor")["spec"]["template"]["spec"]["containers"]
    values = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert values["GRPC_PORT"] == "50056"
    assert values["RAY_ADDRESS"].startswith("ray://") and values["RAY_ADDRESS"].endswith(":10001")
    assert values["NATS_URL"] == "nats://nats.swe-ai-fleet.svc.cluster.local:4222"
    # Clients name their model server; without this nothing would be allowed.
    allowed = values["CONCLAVE_INFERENCE_ALLOWED_ENDPOINTS"].split(",")
    assert all(origin.startswith("http://") and origin.endswith(":8000") for origin in allowed)


def test_the_host_gets_the_resources_of_the_service_before(objects: list[Object]) -> None:
    (container,) = one(objects, "Deployment", "ray-executor")["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "2", "memory": "4Gi"},
        "limits": {"cpu": "4", "memory": "8Gi"},
    }


def test_other_services_of_the_namespace_keep_their_network(objects: list[Object]) -> None:
    for policy in of_kind(objects, "NetworkPolicy"):
        assert policy["spec"]["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "conclave"}}
