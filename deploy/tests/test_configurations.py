"""What is mounted into the containers is what their programs take."""

import json
import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tools
from manifests import DEPLOY, OVERLAYS, one, pods, render

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
HTTP = "server.http_addr=127.0.0.1:0"
GRPC = "server.grpc_addr=0.0.0.0:0"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory in which the plugins need compiling once."""
    return tmp_path_factory.mktemp("data")


def run(text: str, data: Path, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`conclave serve --check` of a configuration whose secrets are in the data directory."""
    (data / "planner.sha256").write_text(DIGEST)
    file = data / "conclave.toml"
    file.write_text(text.replace("/run/secrets/conclave", str(data)))
    command = [tools.conclave(), "serve", "--check", "--json", "--config", str(file)]
    command += ["--data-dir", str(data), *flags]
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def check(text: str, data: Path, *flags: str, **variables: str) -> Any:
    """What the check prints of a configuration with which the host could serve."""
    done = run(text, data, *flags, **variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def sets(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


@pytest.mark.parametrize(("overlay", "variables"), [("single", {}), ("ray", {"RAY_AUTH_TOKEN": "token"})])
def test_the_host_starts_with_the_configuration_of_an_overlay(
    overlay: str, variables: dict[str, str], data: Path
) -> None:
    text = (OVERLAYS / overlay / "conclave.toml").read_text()
    told = check(text, data, *sets(HTTP, GRPC), **variables)
    assert told["problems"] == []
    assert told["config"]["log"]["format"] == "json"


def test_the_host_starts_with_the_configuration_of_compose(data: Path) -> None:
    text = (DEPLOY / "compose" / "conclave.toml").read_text()
    told = check(text, data, *sets(HTTP, GRPC), RAY_AUTH_TOKEN="token")
    assert told["problems"] == []
    (cluster,) = told["config"]["clusters"]
    assert cluster["token_env"] == "RAY_AUTH_TOKEN"
    unset = run(text, data, *sets(HTTP, GRPC))
    assert unset.returncode == 1
    assert "must name a variable that is set" in unset.stderr


def test_in_place_the_host_lets_the_clients_in_that_were_there_before(data: Path) -> None:
    (container,) = pods(render("in-place"))[0].spec["containers"]
    variables = {found["name"]: found["value"] for found in container["env"] if "value" in found}
    # A free port, from the same variable.
    variables["GRPC_PORT"] = "0"
    text = (OVERLAYS / "in-place" / "conclave.toml").read_text()
    told = check(text, data, *sets("server.http_addr=0.0.0.0:0"), **variables)
    assert told["problems"] == []
    assert any("both RayExecutorService packages are open" in notice for notice in told["notices"])
    assert told["config"]["inference"]["allowed_endpoints"]
    assert told["config"]["events"]["nats_url"] == variables["NATS_URL"]


def test_a_misspelt_key_is_found(data: Path) -> None:
    text = (OVERLAYS / "single" / "conclave.toml").read_text()
    text = text.replace("shutdown_grace_seconds", "grace_seconds")
    done = run(text, data, *sets(HTTP, GRPC))
    assert done.returncode == 1
    assert "there is no key `server.grace_seconds`" in done.stderr


def test_the_base_alone_does_not_start_because_nobody_could_call_it(data: Path) -> None:
    text = (DEPLOY / "kubernetes" / "base" / "conclave.toml").read_text()
    done = run(text, data)
    assert done.returncode == 1
    assert "other machines can reach" in done.stderr


@pytest.mark.parametrize("overlay", ["single", "in-place", "ray"])
def test_the_pod_mounts_the_configuration_of_its_overlay(overlay: str) -> None:
    objects = render(overlay)
    text = (OVERLAYS / overlay / "conclave.toml").read_text()
    assert one(objects, "ConfigMap", "conclave")["data"] == {"conclave.toml": text}


def test_the_configuration_of_the_overlay_ray_leads_to_what_it_deploys() -> None:
    objects = render("ray")
    config = tomllib.loads((OVERLAYS / "ray" / "conclave.toml").read_text())
    (cluster,) = config["clusters"]
    ray = one(objects, "RayCluster", "raycluster")
    assert cluster["address"] == f"http://{ray['metadata']['name']}-head-svc:8265"
    (container,) = one(objects, "Deployment", "conclave")["spec"]["template"]["spec"]["containers"]
    (token,) = [found for found in container["env"] if found["name"] == cluster["token_env"]]
    assert token["valueFrom"]["secretKeyRef"]["name"] == ray["spec"]["authOptions"]["secretName"]
    nats = one(objects, "Service", "nats")
    assert config["events"]["nats_url"] == f"nats://nats:{nats['spec']['ports'][0]['port']}"
    (workers,) = ray["spec"]["workerGroupSpecs"]
    (model,) = config["models"].values()
    assert model["replicas_max"] * model["gpus"] <= workers["maxReplicas"]
    assert model["clusters"] == [cluster["name"]]
    assert config["inference"]["model"] in config["models"]


@pytest.mark.parametrize("file", ["kubernetes/components/nats/nats.conf", "compose/nats.conf"])
def test_nats_takes_its_configuration(file: str) -> None:
    command = [tools.path("nats-server"), "-t", "--config", str(DEPLOY / file)]
    environment = {**os.environ, "POD_NAME": "nats-0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_rules_are_those_of_prometheus() -> None:
    monitoring = DEPLOY / "kubernetes" / "components" / "monitoring"
    command = [tools.path("python"), str(monitoring / "generate.py")]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (monitoring / "rules.yaml").read_text() == made, "run `make manifests-rules`"
