"""Every overlay renders to objects that a cluster takes, and that fit together."""

from collections.abc import Callable

import checks
import pytest
import schemas
from manifests import OVERLAYS, Object, of_kind, one, render

ALL = sorted(path.parent.name for path in OVERLAYS.glob("*/kustomization.yaml"))


def conclave(objects: list[Object]) -> Object:
    """The spec of the host's pod in the overlay `single`."""
    return one(objects, "Deployment", "conclave")["spec"]["template"]["spec"]


def test_there_is_an_overlay_for_each_way_to_deploy() -> None:
    assert ALL == ["in-place", "ray", "single"]


@pytest.mark.parametrize("overlay", ALL)
def test_objects_have_the_fields_that_their_schemas_say(overlay: str) -> None:
    assert [problem for found in render(overlay) for problem in schemas.problems(found)] == []


@pytest.mark.parametrize("overlay", ALL)
def test_objects_fit_together_and_pods_are_confined(overlay: str) -> None:
    assert checks.problems(render(overlay)) == []


@pytest.mark.parametrize("overlay", ALL)
def test_one_host_writes_the_journal(overlay: str) -> None:
    (deployment,) = of_kind(render(overlay), "Deployment")
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    (data,) = [
        volume
        for volume in deployment["spec"]["template"]["spec"]["volumes"]
        if volume["name"] == "data"
    ]
    assert data == {"name": "data", "persistentVolumeClaim": {"claimName": "conclave-data"}}


@pytest.mark.parametrize("overlay", ALL)
def test_the_host_is_probed_by_grpc_health(overlay: str) -> None:
    (deployment,) = of_kind(render(overlay), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["grpc"] == {"port": 50056}


@pytest.mark.parametrize("overlay", ALL)
def test_a_node_with_the_host_can_be_drained(overlay: str) -> None:
    budget = one(render(overlay), "PodDisruptionBudget", "conclave")["spec"]
    assert budget["maxUnavailable"] == 1


def test_what_the_overlays_do_not_hold_is_no_object_of_a_schema() -> None:
    (found,) = schemas.problems({"apiVersion": "v1", "kind": "Pud", "metadata": {"name": "a"}})
    assert "Pud" in found


def misspell_a_probe(objects: list[Object]) -> None:
    container = conclave(objects)["containers"][0]
    container["readinesProbe"] = container.pop("readinessProbe")


def misspell_a_group(objects: list[Object]) -> None:
    group = one(objects, "RayCluster", "raycluster")["spec"]["workerGroupSpecs"][0]
    group["name"] = group.pop("groupName")


def misspell_in_a_ray_pod(objects: list[Object]) -> None:
    head = one(objects, "RayCluster", "raycluster")["spec"]["headGroupSpec"]
    head["template"]["spec"]["containers"][0]["resource"] = {}


def leave_an_alert_without_expression(objects: list[Object]) -> None:
    del one(objects, "PrometheusRule", "conclave")["spec"]["groups"][-1]["rules"][0]["expr"]


@pytest.mark.parametrize(
    ("break_it", "named"),
    [
        (misspell_a_probe, "readinesProbe"),
        (misspell_a_group, "groupName"),
        (misspell_in_a_ray_pod, "resource"),
        (leave_an_alert_without_expression, "PrometheusRule/conclave"),
    ],
)
def test_a_wrong_field_is_found(break_it: Callable[[list[Object]], None], named: str) -> None:
    objects = render("ray")
    break_it(objects)
    (problem,) = [problem for found in objects for problem in schemas.problems(found)]
    assert named in problem


def run_as_root(objects: list[Object]) -> None:
    conclave(objects)["securityContext"]["runAsUser"] = 0


def write_to_the_image(objects: list[Object]) -> None:
    conclave(objects)["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = False


def keep_capabilities(objects: list[Object]) -> None:
    one(objects, "StatefulSet", "nats")["spec"]["template"]["spec"]["containers"][0][
        "securityContext"
    ].pop("capabilities")


def forget_limits(objects: list[Object]) -> None:
    del conclave(objects)["containers"][0]["resources"]["limits"]["memory"]


def name_no_version(objects: list[Object]) -> None:
    conclave(objects)["containers"][0]["image"] = "conclave:latest"


def stop_at_once(objects: list[Object]) -> None:
    conclave(objects)["terminationGracePeriodSeconds"] = 20


def rename_the_claim(objects: list[Object]) -> None:
    one(objects, "PersistentVolumeClaim", "conclave-data")["metadata"]["name"] = "data"


def probe_another_port(objects: list[Object]) -> None:
    conclave(objects)["containers"][0]["livenessProbe"]["grpc"]["port"] = 50057


def lead_to_another_port(objects: list[Object]) -> None:
    one(objects, "Service", "conclave")["spec"]["ports"][0]["targetPort"] = "http"


def select_nothing(objects: list[Object]) -> None:
    one(objects, "Service", "conclave")["spec"]["selector"] = {"app": "conclave"}


def protect_nothing(objects: list[Object]) -> None:
    labels = {"app.kubernetes.io/name": "ray"}
    one(objects, "PodDisruptionBudget", "ray-head")["spec"]["selector"]["matchLabels"] = labels


def scrape_another_port(objects: list[Object]) -> None:
    one(objects, "ServiceMonitor", "conclave")["spec"]["endpoints"][0]["port"] = "metrics"


@pytest.mark.parametrize(
    ("break_it", "named"),
    [
        (run_as_root, "may run as root"),
        (write_to_the_image, "may write to its image"),
        (keep_capabilities, "has capabilities"),
        (forget_limits, "limits lack"),
        (name_no_version, "has no version"),
        (stop_at_once, "killed before"),
        (rename_the_claim, "no PersistentVolumeClaim/conclave-data"),
        (probe_another_port, "livenessProbe asks at port 50057"),
        (lead_to_another_port, "port 50056 leads to no port"),
        (select_nothing, "Service/conclave selects no pod"),
        (protect_nothing, "PodDisruptionBudget/ray-head selects no pod"),
        (scrape_another_port, "not one service has the port metrics"),
    ],
)
def test_what_does_not_fit_is_found(break_it: Callable[[list[Object]], None], named: str) -> None:
    objects = render("ray")
    break_it(objects)
    (problem,) = checks.problems(objects)
    assert named in problem
