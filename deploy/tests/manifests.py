"""Renders overlays, and looks up what rendered objects hold."""

import copy
import functools
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tools
import yaml

DEPLOY = Path(__file__).resolve().parents[1]
OVERLAYS = DEPLOY / "kubernetes" / "overlays"

Object = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """A pod that an object makes: where it is, what it is labelled, its spec."""

    owner: str
    namespace: str
    labels: dict[str, str]
    spec: Object

    def ports(self) -> dict[str | int, int]:
        """The container's ports, by name and by number."""
        ports: dict[str | int, int] = {}
        for container in self.spec["containers"]:
            for port in container.get("ports", []):
                number = port["containerPort"]
                ports[number] = number
                ports[port["name"]] = number
        return ports


@functools.cache
def _rendered(directory: Path) -> list[Object]:
    kustomize = [tools.path("kubectl"), "kustomize", str(directory)]
    done = subprocess.run(kustomize, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def render(overlay: str) -> list[Object]:
    """The objects of an overlay, as `kubectl kustomize` renders it; the caller may change them."""
    return copy.deepcopy(_rendered(OVERLAYS / overlay))


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [found for found in objects if found["kind"] == kind]


def one(objects: list[Object], kind: str, name: str) -> Object:
    """The object of this kind and name; the digest at the end of a generated name does not count."""
    found = [
        candidate
        for candidate in of_kind(objects, kind)
        if name == candidate["metadata"]["name"]
        or (kind == "ConfigMap" and candidate["metadata"]["name"].rpartition("-")[0] == name)
    ]
    assert len(found) == 1, f"{len(found)} objects {kind}/{name}"
    return found[0]


def pods(objects: list[Object]) -> list[Pod]:
    """The pods of all workloads."""
    found = []
    for workload in objects:
        owner = f"{workload['kind']}/{workload['metadata']['name']}"
        namespace = workload["metadata"].get("namespace", "default")
        if workload["kind"] in ("Deployment", "StatefulSet"):
            found.append(_pod(owner, namespace, workload["spec"]["template"], {}))
        if workload["kind"] == "RayCluster":
            spec = workload["spec"]
            # The labels that KubeRay adds.
            labels = {"ray.io/is-ray-node": "yes", "ray.io/cluster": workload["metadata"]["name"]}
            head = labels | {"ray.io/node-type": "head"}
            found.append(_pod(f"{owner}/head", namespace, spec["headGroupSpec"]["template"], head))
            for group in spec["workerGroupSpecs"]:
                name = group["groupName"]
                worker = labels | {"ray.io/node-type": "worker", "ray.io/group": name}
                found.append(_pod(f"{owner}/{name}", namespace, group["template"], worker))
    return found


def _pod(owner: str, namespace: str, template: Object, more: dict[str, str]) -> Pod:
    labels = template.get("metadata", {}).get("labels", {}) | more
    return Pod(owner, namespace, labels, template["spec"])


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector selects these labels; the empty one selects all."""
    assert set(selector) <= {"matchLabels"}, f"{selector} is not understood here"
    wanted = selector.get("matchLabels", {})
    return all(labels.get(key) == value for key, value in wanted.items())
