"""What every rendered overlay must keep, whatever is in it."""

import tomllib
from collections import Counter

from manifests import Object, Pod, of_kind, pods, selects

# Seconds that a host needs after its grace period: to pause, to send the last spans, to end.
STOPPING = 9


def problems(objects: list[Object]) -> list[str]:
    """What is wrong between objects, and with their pods; nothing when all is well."""
    found = list(_names(objects))
    for pod in pods(objects):
        found += [f"{pod.owner}: {problem}" for problem in _security(pod)]
        found += [f"{pod.owner}: {problem}" for problem in _containers(pod)]
        found += [f"{pod.owner}: {problem}" for problem in _references(pod, objects)]
    found += _workloads(objects)
    found += _services(objects)
    found += _selectors(objects)
    found += _monitors(objects)
    found += _grace(objects)
    return found


def _names(objects: list[Object]) -> list[str]:
    names = Counter((found["kind"], found["metadata"]["name"]) for found in objects)
    found = [f"{kind}/{name} stands there twice" for (kind, name), count in names.items() if count > 1]
    namespaces = {found["metadata"].get("namespace") for found in objects if found["kind"] != "Namespace"}
    if len(namespaces) > 1:
        found.append(f"several namespaces: {sorted(map(str, namespaces))}")
    return found


def _security(pod: Pod) -> list[str]:
    found = []
    context = pod.spec.get("securityContext", {})
    if not context.get("runAsNonRoot") or not context.get("runAsUser"):
        found.append("may run as root")
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        found.append("has no seccomp profile")
    if pod.spec.get("automountServiceAccountToken") is not False:
        found.append("has a token of the API server")
    if pod.spec.get("enableServiceLinks") is not False:
        found.append("has a variable for each service")
    for container in pod.spec["containers"]:
        context = container.get("securityContext", {})
        if context.get("allowPrivilegeEscalation") is not False:
            found.append("may gain privileges")
        if context.get("capabilities") != {"drop": ["ALL"]}:
            found.append("has capabilities")
        # Ray writes below its own installation.
        if not context.get("readOnlyRootFilesystem") and "RayCluster" not in pod.owner:
            found.append("may write to its image")
    return found


def _containers(pod: Pod) -> list[str]:
    found = []
    for container in pod.spec["containers"]:
        for bound in ("requests", "limits"):
            if not {"cpu", "memory"} <= set(container.get("resources", {}).get(bound, {})):
                found.append(f"{bound} lack cpu or memory")
        tag = container["image"].rpartition(":")[2]
        if tag == container["image"] or tag == "latest":
            found.append(f"image {container['image']} has no version")
        # KubeRay adds those of Ray.
        if "RayCluster" in pod.owner:
            continue
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container.get(name, {})
            port = (probe.get("grpc") or probe.get("httpGet") or {}).get("port")
            if port not in pod.ports():
                found.append(f"{name} asks at port {port}, which no container has")
    return found


def _references(pod: Pod, objects: list[Object]) -> list[str]:
    """Names within a pod that lead nowhere. Secrets are made by hand and are no objects here."""
    names = {(found["kind"], found["metadata"]["name"]) for found in objects}
    found = []
    volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
    for claim in pod.spec.get("volumes", []):
        for key, kind, field in (
            ("configMap", "ConfigMap", "name"),
            ("persistentVolumeClaim", "PersistentVolumeClaim", "claimName"),
        ):
            if key in claim and (kind, claim[key][field]) not in names:
                found.append(f"there is no {kind}/{claim[key][field]}")
    account = pod.spec.get("serviceAccountName")
    if account and ("ServiceAccount", account) not in names:
        found.append(f"there is no ServiceAccount/{account}")
    owner = next(o for o in objects if pod.owner.startswith(f"{o['kind']}/{o['metadata']['name']}"))
    templates = {claim["metadata"]["name"] for claim in owner["spec"].get("volumeClaimTemplates", [])}
    for container in pod.spec["containers"]:
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes and mount["name"] not in templates:
                found.append(f"there is no volume {mount['name']}")
    return found


def _workloads(objects: list[Object]) -> list[str]:
    found = []
    for kind in ("Deployment", "StatefulSet"):
        for workload in of_kind(objects, kind):
            labels = workload["spec"]["template"]["metadata"]["labels"]
            if not selects(workload["spec"]["selector"], labels):
                found.append(f"{kind}/{workload['metadata']['name']} does not select its own pods")
    return found


def _selected(objects: list[Object], selector: dict[str, str]) -> list[Pod]:
    return [pod for pod in pods(objects) if selects({"matchLabels": selector}, pod.labels)]


def _services(objects: list[Object]) -> list[str]:
    found = []
    for service in of_kind(objects, "Service"):
        name = service["metadata"]["name"]
        behind = _selected(objects, service["spec"]["selector"])
        if not behind:
            found.append(f"Service/{name} selects no pod")
        for pod in behind:
            for port in service["spec"]["ports"]:
                if pod.ports().get(port["targetPort"]) != port["port"]:
                    found.append(f"Service/{name}: port {port['port']} leads to no port of {pod.owner}")
    return found


def _selectors(objects: list[Object]) -> list[str]:
    found = []
    for kind, key in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        for policy in of_kind(objects, kind):
            selector = policy["spec"][key]
            if not any(selects(selector, pod.labels) for pod in pods(objects)):
                found.append(f"{kind}/{policy['metadata']['name']} selects no pod")
    return found


def _monitors(objects: list[Object]) -> list[str]:
    found = []
    for monitor in of_kind(objects, "ServiceMonitor"):
        spec, name = monitor["spec"], monitor["metadata"]["name"]
        services = [
            service
            for service in of_kind(objects, "Service")
            if selects(spec["selector"], service["metadata"].get("labels", {}))
        ]
        for endpoint in spec["endpoints"]:
            ports = [port["name"] for service in services for port in service["spec"]["ports"]]
            if ports.count(endpoint["port"]) != 1:
                found.append(f"ServiceMonitor/{name}: not one service has the port {endpoint['port']}")
        for service in services:
            if service["metadata"]["labels"].get(spec["jobLabel"]) != "conclave":
                found.append(f"ServiceMonitor/{name}: the rules expect the job conclave")
    return found


def _grace(objects: list[Object]) -> list[str]:
    found = []
    for pod in pods(objects):
        if pod.labels.get("app.kubernetes.io/name") != "conclave":
            continue
        config = next(c for c in of_kind(objects, "ConfigMap") if "conclave.toml" in c["data"])
        grace = tomllib.loads(config["data"]["conclave.toml"])["server"]["shutdown_grace_seconds"]
        if pod.spec.get("terminationGracePeriodSeconds", 30) < grace + STOPPING:
            found.append(f"{pod.owner}: it is killed before its deliberations are paused")
    return found
