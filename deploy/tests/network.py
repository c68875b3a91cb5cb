"""Which connections the network policies of some objects allow."""

from dataclasses import dataclass

from manifests import Object, of_kind, selects


@dataclass(frozen=True)
class End:
    """One end of a connection: a pod, by its namespace and its labels."""

    namespace: str
    labels: dict[str, str]


OUTSIDE = End("", {})
"""An address outside the cluster."""


def allows(objects: list[Object], source: End, target: End, port: int, protocol: str = "TCP") -> bool:
    """Whether `source` may connect to a port of `target`: out of the one, and into the other."""
    policies = of_kind(objects, "NetworkPolicy")
    return _lets(policies, "Egress", source, target, port, protocol) and _lets(
        policies, "Ingress", target, source, port, protocol
    )


def _lets(policies: list[Object], way: str, pod: End, other: End, port: int, protocol: str) -> bool:
    """Whether policies that select `pod` let it talk to `other`; without any, all may."""
    key, peers = ("egress", "to") if way == "Egress" else ("ingress", "from")
    selecting = [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == pod.namespace
        and way in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], pod.labels)
    ]
    if not selecting:
        return True
    return any(
        (peers not in rule or any(_is(peer, other, pod.namespace) for peer in rule[peers]))
        and ("ports" not in rule or any(_has(opened, port, protocol) for opened in rule["ports"]))
        for spec in selecting
        for rule in spec.get(key, [])
    )


def _is(peer: Object, end: End, namespace: str) -> bool:
    """Whether an end is one of a peer's pods; without a selector of namespaces, of the policy's own."""
    if end == OUTSIDE:
        return False
    if "namespaceSelector" in peer:
        within = selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": end.namespace})
    else:
        within = end.namespace == namespace
    return within and selects(peer.get("podSelector", {}), end.labels)


def _has(opened: Object, port: int, protocol: str) -> bool:
    first = opened["port"]
    return first <= port <= opened.get("endPort", first) and protocol == opened.get("protocol", "TCP")
