"""Parameters as dataclasses."""

import enum
from dataclasses import dataclass, field
from typing import Literal, Optional

import pytest

from conclave_sdk import Error, param
from conclave_sdk._params import DIALECT, decode, schema_of


class Mode(enum.Enum):
    QUICK = "quick"
    CAREFUL = "careful"


@dataclass
class Stop:
    """When to stop."""

    after: int = param(3, minimum=1)


@dataclass
class Params:
    rounds: int = param(doc="How many.", minimum=1, maximum=9)
    mode: Mode = Mode.QUICK
    rule: Literal["none", "beta"] = "none"
    temperature: float | None = param(0.7, minimum=0)
    words: list[str] = param(["a"], max_items=3)
    weights: dict[str, float] = field(default_factory=dict)
    stop: Stop = field(default_factory=Stop)
    note: Optional[str] = None


def test_the_schema_has_types_defaults_rules_and_words():
    schema = schema_of(Params)
    assert schema["$schema"] == DIALECT
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["rounds"]
    properties = schema["properties"]
    assert properties["rounds"] == {
        "type": "integer",
        "description": "How many.",
        "minimum": 1,
        "maximum": 9,
    }
    assert properties["mode"] == {"enum": ["quick", "careful"], "default": "quick"}
    assert properties["rule"] == {"enum": ["none", "beta"], "default": "none"}
    assert properties["temperature"] == {
        "anyOf": [{"type": "number"}, {"type": "null"}],
        "minimum": 0,
        "default": 0.7,
    }
    assert properties["words"]["maxItems"] == 3
    assert properties["words"]["default"] == ["a"]
    assert properties["stop"]["description"] == "When to stop."
    assert properties["stop"]["default"] == {"after": 3}


def test_a_json_object_becomes_the_dataclass():
    params = decode(
        Params,
        {"rounds": 2.0, "mode": "careful", "temperature": 1, "stop": {"after": 5}, "weights": {"a": 1}},
    )
    assert params == Params(2, Mode.CAREFUL, temperature=1.0, stop=Stop(5), weights={"a": 1.0})
    assert decode(Params, {"rounds": 1, "temperature": None}).temperature is None
    assert decode(Params, {"rounds": 1}).words is not decode(Params, {"rounds": 1}).words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, "params: missing field `rounds`"),
        ({"rounds": 1, "ruonds": 2}, "params: unknown field `ruonds`"),
        ({"rounds": "1"}, "params.rounds: '1' is no int"),
        ({"rounds": True}, "params.rounds: True is no int"),
        ({"rounds": 1, "mode": "slow"}, "params.mode: 'slow' is not a valid Mode"),
        ({"rounds": 1, "rule": "x"}, "params.rule: 'x' is none of"),
        ({"rounds": 1, "words": [1]}, r"params.words\[0\]: 1 is no str"),
        ({"rounds": 1, "temperature": "warm"}, "params.temperature: 'warm' is no float"),
        ([], r"params: \[\] is no dict"),
    ],
)
def test_what_does_not_fit_is_named(value, words):
    with pytest.raises(Error, match=words):
        decode(Params, value)


def test_a_type_without_a_json_form_is_a_mistake_of_the_author():
    @dataclass
    class Strange:
        what: set

    with pytest.raises(TypeError, match="cannot be of type"):
        schema_of(Strange)
