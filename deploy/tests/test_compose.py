"""The compose file is one that Docker Compose takes, and whose parts find each other."""

import json
import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import tools
from manifests import DEPLOY

FILE = DEPLOY / "compose" / "compose.yaml"
TOKEN = "0f" * 32


def compose(file: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [tools.path("docker-compose"), "--file", str(file), "config", "--format", "json"]
    environment = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def services() -> dict[str, Any]:
    done = compose(FILE, RAY_AUTH_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["services"]


def test_every_port_is_bound_to_loopback() -> None:
    ports = [port for service in services().values() for port in service["ports"]]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
    assert {port["target"] for port in ports} == {50056, 9056, 4222, 8265}


def test_every_service_says_whether_it_is_well_and_keeps_its_data() -> None:
    for name, service in services().items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert any(volume["type"] == "volume" for volume in service["volumes"]), name
        assert service["image"].rpartition(":")[2] not in ("", "latest", service["image"]), name


def test_the_host_waits_for_nats_and_ray() -> None:
    depends = services()["conclave"]["depends_on"]
    assert {name: told["condition"] for name, told in depends.items()} == {
        "nats": "service_healthy",
        "ray": "service_healthy",
    }


def test_ray_gets_the_gpus() -> None:
    (device,) = services()["ray"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": -1, "capabilities": ["gpu"]}


def test_the_host_is_confined_and_has_time_to_stop() -> None:
    host = services()["conclave"]
    assert host["read_only"] and host["cap_drop"] == ["ALL"]
    config = tomllib.loads((DEPLOY / "compose" / "conclave.toml").read_text())
    assert host["stop_grace_period"] == "45s"
    assert config["server"]["shutdown_grace_seconds"] + 9 <= 45


def test_the_configuration_leads_to_the_services() -> None:
    config = tomllib.loads((DEPLOY / "compose" / "conclave.toml").read_text())
    assert config["events"]["nats_url"] == "nats://nats:4222"
    assert [cluster["address"] for cluster in config["clusters"]] == ["http://ray:8265"]
    assert config["inference"]["model"] in config["models"]


def test_ray_wants_a_token_that_the_host_shows() -> None:
    found = services()
    assert found["ray"]["environment"]["RAY_AUTH_MODE"] == "token"
    assert found["ray"]["environment"]["RAY_AUTH_TOKEN"] == TOKEN
    config = tomllib.loads((DEPLOY / "compose" / "conclave.toml").read_text())
    assert found["conclave"]["environment"][config["clusters"][0]["token_env"]] == TOKEN
    assert "a secret of your own" in compose(FILE).stderr


def test_bind_mounts_and_dockerfiles_exist() -> None:
    for service in services().values():
        for volume in service["volumes"]:
            assert volume["type"] == "volume" or Path(volume["source"]).is_file()
        if "build" in service:
            build = service["build"]
            assert (Path(build["context"]) / build["dockerfile"]).is_file()


def test_a_wrong_key_is_found(tmp_path: Path) -> None:
    broken = tmp_path / "compose.yaml"
    broken.write_text(FILE.read_text().replace("restart:", "restarts:", 1))
    done = compose(broken, RAY_AUTH_TOKEN=TOKEN)
    assert done.returncode != 0
    assert "restarts" in done.stderr
