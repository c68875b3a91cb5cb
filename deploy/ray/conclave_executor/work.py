"""The messages between host and executor, typed; `PROTOCOL.md` defines them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import codec

# The version of the messages that this executor understands and sends.
PROTOCOL = 1


class UnreadableWork(Exception):
    """A message is no work that this executor understands; says why, without quoting it."""


@dataclass(frozen=True, slots=True)
class Work:
    """One generation to run."""

    id: str
    endpoint: str
    headers: Mapping[str, str]
    body: Any
    choices: int
    deadline_ms: int
    connect_timeout_ms: int
    first_byte_timeout_ms: int
    idle_timeout_ms: int
    answer_bytes_max: int

    @classmethod
    def parse(cls, data: bytes, id: str) -> Work:
        """Reads the work that was queued under an id; raises `UnreadableWork`."""
        try:
            value = codec.decode(data)
        except ValueError:
            raise UnreadableWork("it is not JSON") from None
        if not isinstance(value, dict):
            raise UnreadableWork("it is no JSON object")
        version = value.get("v")
        if not isinstance(version, int) or version > PROTOCOL:
            raise UnreadableWork(f"its version is {version!r}, and this executor understands {PROTOCOL}")
        if value.get("id") != id:
            raise UnreadableWork("its `id` is not that of its subject")
        if not isinstance(value.get("body"), dict):
            raise UnreadableWork("its `body` is no JSON object")
        endpoint = value.get("endpoint")
        if not isinstance(endpoint, str) or not endpoint.startswith(("http://", "https://")):
            raise UnreadableWork("its `endpoint` is no HTTP address")
        headers = value.get("headers", {})
        if not isinstance(headers, dict) or not all(isinstance(text, str) for text in headers.values()):
            raise UnreadableWork("its `headers` are no object of texts")
        return cls(
            id=id,
            endpoint=endpoint.rstrip("/"),
            headers=headers,
            body=value["body"],
            choices=_positive(value, "choices"),
            deadline_ms=_positive(value, "deadline_ms"),
            connect_timeout_ms=_positive(value, "connect_timeout_ms"),
            first_byte_timeout_ms=_positive(value, "first_byte_timeout_ms"),
            idle_timeout_ms=_positive(value, "idle_timeout_ms"),
            answer_bytes_max=_positive(value, "answer_bytes_max"),
        )


def _positive(value: Mapping[str, Any], key: str) -> int:
    number = value.get(key)
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise UnreadableWork(f"its `{key}` is no whole number from 1")
    return number


@dataclass(frozen=True, slots=True)
class Place:
    """Where work runs."""

    submission_id: str
    actor: str
    node: str

    def fields(self) -> dict[str, str]:
        return {"submission_id": self.submission_id, "actor": self.actor, "node": self.node}


@dataclass(frozen=True, slots=True)
class Answered:
    """The engine answered: a `chat.completion` object."""

    answer: dict[str, Any]

    def fields(self) -> dict[str, Any]:
        return {"outcome": "answered", "answer": self.answer}


@dataclass(frozen=True, slots=True)
class Refused:
    """The engine refused, by its status or by an error in its stream."""

    status: int
    headers: dict[str, str]
    body: str

    def fields(self) -> dict[str, Any]:
        return {"outcome": "refused", "status": self.status, "headers": self.headers, "body": self.body}


@dataclass(frozen=True, slots=True)
class Failed:
    """There is no answer: `kind` is `unavailable`, `stalled`, `interrupted` or `protocol`."""

    kind: str
    message: str
    silence_ms: int | None = None

    def fields(self) -> dict[str, Any]:
        fields = {"outcome": "failed", "kind": self.kind, "message": self.message}
        return fields if self.silence_ms is None else {**fields, "silence_ms": self.silence_ms}


@dataclass(frozen=True, slots=True)
class Cancelled:
    """It was ended before its end: `reason` is `host` or `deadline`."""

    reason: str

    def fields(self) -> dict[str, Any]:
        return {"outcome": "cancelled", "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Dead:
    """It went to the dead letters."""

    reason: str

    def fields(self) -> dict[str, Any]:
        return {"outcome": "dead", "reason": self.reason}


Outcome = Answered | Refused | Failed | Cancelled | Dead


@dataclass(frozen=True, slots=True)
class Result:
    """How work ended, and what it took; `place` is `None` if it was never started."""

    id: str
    outcome: Outcome
    tokens: int
    place: Place | None
    queued_ms: int
    ran_ms: int
    delivery: int

    def encode(self) -> bytes:
        """The message; raises `ValueError` if the answer cannot be written as JSON in UTF-8."""
        message: dict[str, Any] = {"v": PROTOCOL, "id": self.id}
        message.update(self.outcome.fields())
        message["tokens"] = self.tokens
        if self.place is not None:
            message["place"] = self.place.fields()
        message["queued_ms"] = self.queued_ms
        message["ran_ms"] = self.ran_ms
        message["delivery"] = self.delivery
        return codec.encode(message)
