"""Real parts that the tests start: a NATS server, an executor, a Ray head. Each is stopped by its own pid."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

PACKAGE = Path(__file__).resolve().parents[1]
# How long anything may take: far longer than it does on a busy machine.
SECONDS = 30.0


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as listener:
        listener.bind((address, 0))
        return int(listener.getsockname()[1])


def until(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Waits for a condition that no event tells."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def stop(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
    """Stops a process, and gives its exit code."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        return process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def start_nats(directory: Path, port: int, *options: str) -> subprocess.Popen[bytes]:
    """A NATS server with JetStream, which keeps its streams in the directory."""
    program = Path(sys.executable).with_name("nats-server")
    arguments = ["-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(directory), *options]
    log = (directory / "nats.log").open("ab")
    process = subprocess.Popen([program, *arguments], stdout=log, stderr=log)

    def answers() -> bool:
        assert process.poll() is None, "nats-server has ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    until(answers)
    return process


def self_signed(address: str) -> tuple[str, str]:
    """A certificate of a server with this address, which is its own authority, and its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(timezone.utc)
    hour = timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - hour, now + hour)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM).decode(), private.decode()


@contextlib.contextmanager
def nats_server(directory: Path, *options: str) -> Iterator[str]:
    """The address of a NATS server."""
    port = free_port()
    process = start_nats(directory, port, *options)
    try:
        yield f"nats://127.0.0.1:{port}"
    finally:
        stop(process)


def settings(nats_url: str, **others: Any) -> dict[str, Any]:
    """Settings for one small worker in its own process."""
    defaults = {
        "cluster": "test",
        "queue": "pool",
        "nats_url": nats_url,
        "nats_credentials": None,
        "actors": 1,
        "slots": 4,
        "ack_wait_ms": 1000,
        "tries_max": 3,
        "count": None,
        "submission_id": "raysubmit_test",
        "drain_ms": 1000,
        "ray": False,
    }
    return defaults | others


@contextlib.contextmanager
def executor_process(
    values: dict[str, Any], log: Path, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """An executor as the host starts it."""
    variables = environment | {"CONCLAVE_EXECUTOR": json.dumps(values), "PYTHONPATH": str(PACKAGE)}
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "conclave_executor"], env=variables, stdout=out, stderr=out, cwd=PACKAGE
        )
    try:
        yield process
    finally:
        stop(process)


@contextlib.contextmanager
def ray_head(directory: Path) -> Iterator[str]:
    """The address of a Ray head without workers, on the loopback address alone as far as Ray allows."""
    port, dashboard = free_port("127.0.0.2"), free_port()
    ray = Path(sys.executable).with_name("ray")
    arguments = [
        *("start", "--head", "--block", "--disable-usage-stats", "--num-cpus=4"),
        *("--node-ip-address=127.0.0.2", f"--port={port}"),
        *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
        *("--object-store-memory=100000000", f"--temp-dir={directory}"),
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (directory / "head.log").open("ab") as log:
        process = subprocess.Popen(
            [ray, *arguments],
            # A token would be made in the home directory.
            env=os.environ | {"PATH": path, "RAY_AUTH_MODE": "disabled"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        until(lambda: b"Ray runtime started" in (directory / "head.log").read_bytes(), 60)
        yield f"127.0.0.2:{port}"
    finally:
        stop(process)
