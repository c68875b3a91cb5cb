"""What the host tells an executor, in the variable `CONCLAVE_EXECUTOR`, and what only its cluster knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import codec

SETTINGS_VARIABLE = "CONCLAVE_EXECUTOR"
API_KEYS_VARIABLE = "CONCLAVE_MODEL_API_KEYS"

_CLUSTER = re.compile(r"[a-z0-9-]{1,40}")
_QUEUE = re.compile(r"[A-Za-z0-9_-]{1,128}")


class SettingsError(Exception):
    """The settings are not usable; says which key is wrong, never what a secret holds."""


@dataclass(frozen=True)
class Credentials:
    """Who the executor is for NATS: a user with a password, or a token."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Settings:
    """How one executor works; `deploy/ray/README.md` says what each means."""

    cluster: str
    queue: str
    nats_url: str = field(repr=False)
    nats_credentials: Credentials | None = field(default=None, repr=False)
    nats_tls_ca: str | None = None
    actors: int = 1
    slots: int = 64
    actor_cpus: float = 1.0
    actor_gpus: float = 0.0
    actor_resources: Mapping[str, float] = field(default_factory=dict)
    ack_wait_ms: int = 10_000
    tries_max: int = 3
    count: int | None = None
    submission_id: str = "local"
    drain_ms: int = 2_000
    ray: bool = True

    @property
    def nats_urls(self) -> list[str]:
        """The servers, of which any one will do."""
        return [url.strip() for url in self.nats_url.split(",")]


def parse(text: str) -> Settings:
    """Reads settings from JSON. Keys that are not known are ignored: a newer host may send them."""
    try:
        value = codec.decode(text.encode())
    except ValueError:
        # The parser's words may quote a password.
        raise SettingsError("they are not JSON") from None
    if not isinstance(value, dict):
        raise SettingsError("they are no JSON object")
    known: dict[str, Any] = {}
    for key, read in _READERS.items():
        if key in value:
            known[key] = read(key, value[key])
    for key in ("cluster", "queue", "nats_url"):
        if key not in known:
            raise SettingsError(f"`{key}` is missing")
    return Settings(**known)


def parse_api_keys(text: str) -> Mapping[str, str]:
    """Reads the keys of model servers, by their origins (scheme, host, port), from JSON; a blank text has none."""
    if not text:
        return {}
    try:
        value = codec.decode(text.encode())
    except ValueError:
        # The parser's words may quote a key.
        raise SettingsError(f"{API_KEYS_VARIABLE} is not JSON") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) and key for key in value.values()):
        raise SettingsError(f"{API_KEYS_VARIABLE} must be an object of keys by their origins")
    return value


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise SettingsError(f"`{key}` must be a text that is not empty")
    return value


def _name(pattern: re.Pattern[str], key: str, value: object) -> str:
    if not pattern.fullmatch(text := _text(key, value)):
        raise SettingsError(f"`{key}` must match {pattern.pattern}")
    return text


def _integer(least: int, key: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SettingsError(f"`{key}` must be a whole number from {least}")
    return value


def _amount(key: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
        raise SettingsError(f"`{key}` must be a number from 0")
    return float(value)


def _resources(key: str, value: object) -> Mapping[str, float]:
    if not isinstance(value, dict):
        raise SettingsError(f"`{key}` must be an object of numbers")
    return {name: _amount(f"{key}.{name}", amount) for name, amount in value.items()}


def _credentials(key: str, value: object) -> Credentials | None:
    match value:
        case None:
            return None
        case {"user": str(user), "password": str(password)}:
            return Credentials(user=user, password=password)
        case {"token": str(token)}:
            return Credentials(token=token)
    raise SettingsError(f"`{key}` must be null, have `user` and `password`, or have `token`")


def _boolean(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise SettingsError(f"`{key}` must be true or false")
    return value


_READERS: dict[str, Any] = {
    "cluster": lambda key, value: _name(_CLUSTER, key, value),
    "queue": lambda key, value: _name(_QUEUE, key, value),
    "nats_url": _text,
    "nats_credentials": _credentials,
    "nats_tls_ca": lambda key, value: None if value is None else _text(key, value),
    "actors": lambda key, value: _integer(1, key, value),
    "slots": lambda key, value: _integer(1, key, value),
    "actor_cpus": _amount,
    "actor_gpus": _amount,
    "actor_resources": _resources,
    # A third of it passes between two signs of life.
    "ack_wait_ms": lambda key, value: _integer(300, key, value),
    "tries_max": lambda key, value: _integer(1, key, value),
    "count": lambda key, value: None if value is None else _integer(1, key, value),
    "submission_id": _text,
    "drain_ms": lambda key, value: _integer(0, key, value),
    "ray": _boolean,
}
