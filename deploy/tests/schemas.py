"""What fields an object may have and must have, strictly: a misspelt field is an error.

Objects of Kubernetes are checked by its published schemas. Those of others are checked by what stands
here: the fields of their reference that these manifests use, and the published schema of a pod.
"""

from typing import Any

import jsonschema
import kubernetes_validate
from kubernetes_validate import utils
from manifests import Object
from referencing import Registry, Resource

VERSION = "1.37.0"
_DEFINITIONS = f"kubernetes-json-schema/v{VERSION}-local-strict/_definitions.json"
_CORE = "/api/_definitions.json#/$defs/io.k8s.api.core.v1"


def _object(required: list[str], **properties: Any) -> Object:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _list_of(items: Object) -> Object:
    return {"type": "array", "items": items, "minItems": 1}


TEXT = {"type": "string", "minLength": 1}
TEXTS = {"type": "object", "additionalProperties": TEXT}
COUNT = {"type": "integer", "minimum": 0}
DURATION = {"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"}
POD = {"$ref": f"{_CORE}.PodTemplateSpec"}
# Ray's own flags are texts, whatever they stand for.
GROUP = {"rayStartParams": TEXTS, "template": POD}

# https://docs.ray.io/en/latest/cluster/kubernetes/references/api.html
RAY_CLUSTER = _object(
    ["rayVersion", "headGroupSpec", "workerGroupSpecs"],
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    authOptions=_object(["mode"], mode={"enum": ["disabled", "token"]}, secretName=TEXT),
    enableInTreeAutoscaling={"type": "boolean"},
    headGroupSpec=_object(["template"], **GROUP),
    workerGroupSpecs=_list_of(
        _object(
            ["groupName", "minReplicas", "maxReplicas", "template"],
            groupName=TEXT,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            **GROUP,
        )
    ),
)

# https://prometheus-operator.dev/docs/api-reference/api/
SERVICE_MONITOR = _object(
    ["selector", "endpoints"],
    selector=_object(["matchLabels"], matchLabels=TEXTS),
    jobLabel=TEXT,
    endpoints=_list_of(_object(["port"], port=TEXT, path=TEXT, interval=DURATION)),
)
RULE = {
    "oneOf": [
        _object(["record", "expr"], record=TEXT, expr=TEXT, labels=TEXTS),
        _object(
            ["alert", "expr"], alert=TEXT, expr=TEXT, **{"for": DURATION}, labels=TEXTS, annotations=TEXTS
        ),
    ]
}
PROMETHEUS_RULE = _object(
    ["groups"],
    groups=_list_of(
        _object(["name", "rules"], name=TEXT, interval=DURATION, rules=_list_of(RULE)),
    ),
)

OTHERS = {
    ("ray.io/v1", "RayCluster"): RAY_CLUSTER,
    ("monitoring.coreos.com/v1", "ServiceMonitor"): SERVICE_MONITOR,
    ("monitoring.coreos.com/v1", "PrometheusRule"): PROMETHEUS_RULE,
}


def problems(found: Object) -> list[str]:
    """What is wrong with the fields of an object; nothing when it is as its schema says."""
    name = f"{found['kind']}/{found['metadata']['name']}"
    spec = OTHERS.get((found["apiVersion"], found["kind"]))
    try:
        if spec is None:
            kubernetes_validate.validate(found, VERSION, strict=True)
        else:
            _validate(found, spec)
    except (jsonschema.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        place = ".".join(str(part) for part in getattr(error, "absolute_path", []))
        return [f"{name}: {place}: {error.message}"]
    return []


def _validate(found: Object, spec: Object) -> None:
    metadata = {"$ref": "/api/_definitions.json#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
    schema = _object(
        ["apiVersion", "kind", "metadata", "spec"], apiVersion=TEXT, kind=TEXT, metadata=metadata, spec=spec
    )
    schema["$id"] = "https://kubernetes.io/api/other"
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    definitions = Resource.from_contents(utils.schema_contents(_DEFINITIONS, VERSION))
    registry: Registry[Any] = definitions @ Registry()
    jsonschema.Draft202012Validator(schema, registry=registry).validate(found)
