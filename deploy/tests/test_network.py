"""Network policies open what the host needs, and nothing else."""

import pytest
from manifests import Object, one, render
from network import OUTSIDE, End, allows

HOST = End("conclave", {"app.kubernetes.io/name": "conclave"})
NATS = End("conclave", {"app.kubernetes.io/name": "nats"})
CLIENT = End("planning", {"app": "planner", "conclave-client": "true"})
STRANGER = End("planning", {"app": "planner"})
NEIGHBOUR = End("conclave", {"app": "neighbour"})
PROMETHEUS = End("monitoring", {"app.kubernetes.io/name": "prometheus"})
DNS = End("kube-system", {"k8s-app": "kube-dns"})
VLLM = End("models", {"app.kubernetes.io/name": "vllm"})
RAY = {"ray.io/is-ray-node": "yes", "ray.io/cluster": "raycluster"}
HEAD = End("conclave", RAY | {"ray.io/node-type": "head"})
WORKER = End("conclave", RAY | {"ray.io/node-type": "worker", "ray.io/group": "gpu"})


@pytest.fixture
def objects() -> list[Object]:
    return render("ray")


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        (CLIENT, HOST, 50056),
        (PROMETHEUS, HOST, 9056),
        (HOST, NATS, 4222),
        (HOST, HEAD, 8265),
        (HOST, WORKER, 8000),
        (HOST, WORKER, 8001),
        (HOST, VLLM, 8000),
        # Executors take their work from NATS, and call model servers on any worker.
        (WORKER, NATS, 4222),
        (WORKER, WORKER, 8000),
        # Ray within itself; weights from outside.
        (WORKER, HEAD, 6379),
        (HEAD, WORKER, 10002),
        (WORKER, OUTSIDE, 443),
    ],
)
def test_what_is_needed_is_open(objects: list[Object], source: End, target: End, port: int) -> None:
    assert allows(objects, source, target, port)


@pytest.mark.parametrize("protocol", ["UDP", "TCP"])
@pytest.mark.parametrize("source", [HOST, HEAD, WORKER])
def test_names_are_looked_up(objects: list[Object], source: End, protocol: str) -> None:
    assert allows(objects, source, DNS, 53, protocol)


@pytest.mark.parametrize(
    ("source", "target", "port"),
    [
        (STRANGER, HOST, 50056),
        (NEIGHBOUR, HOST, 50056),
        (CLIENT, HOST, 9056),
        (PROMETHEUS, HOST, 50056),
        (HOST, OUTSIDE, 443),
        (HOST, HEAD, 6379),
        (HOST, WORKER, 22),
        (CLIENT, HEAD, 8265),
        (NEIGHBOUR, WORKER, 8000),
        (STRANGER, NATS, 4222),
        (NATS, OUTSIDE, 443),
        # Whatever else comes into the namespace.
        (NEIGHBOUR, OUTSIDE, 443),
        (STRANGER, NEIGHBOUR, 80),
    ],
)
def test_everything_else_is_closed(objects: list[Object], source: End, target: End, port: int) -> None:
    assert not allows(objects, source, target, port)


def test_without_the_rule_for_nats_the_host_does_not_reach_it(objects: list[Object]) -> None:
    egress = one(objects, "NetworkPolicy", "conclave")["spec"]["egress"]
    egress[:] = [rule for rule in egress if rule["ports"] != [{"port": 4222}]]
    assert not allows(objects, HOST, NATS, 4222)


def test_in_place_the_clients_of_the_namespace_need_no_new_label() -> None:
    objects = render("in-place")
    host = End("swe-ai-fleet", {"app": "ray_executor", "app.kubernetes.io/name": "conclave"})
    orchestrator = End("swe-ai-fleet", {"app": "orchestrator"})
    assert allows(objects, orchestrator, host, 50056)
    assert allows(objects, PROMETHEUS, host, 9056)
    assert allows(objects, host, End("swe-ai-fleet", {"app": "nats"}), 4222)
    assert allows(objects, host, End("swe-ai-fleet", {"app": "vllm-server"}), 8000)
    assert allows(objects, host, End("ray", {"ray.io/node-type": "head"}), 8265)
    assert allows(objects, host, End("ray", {"ray.io/node-type": "worker"}), 8000)
    assert allows(objects, host, DNS, 53, "UDP")
    assert not allows(objects, STRANGER, host, 50056)
    # What the policy does not select goes on as before.
    assert allows(objects, orchestrator, OUTSIDE, 443)
