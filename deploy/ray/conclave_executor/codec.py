"""JSON in bytes: by orjson where it is installed, else by the standard library."""

from typing import Any

try:
    import orjson

    def encode(value: Any) -> bytes:
        """The JSON of a value; raises `ValueError` for what has none."""
        try:
            return orjson.dumps(value)
        except TypeError as error:
            raise ValueError(str(error)) from error

    def decode(data: bytes) -> Any:
        """The value of a JSON text; raises `ValueError`, whose words may quote the text."""
        return orjson.loads(data)

except ImportError:
    import json

    def _refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    def encode(value: Any) -> bytes:
        """The JSON of a value; raises `ValueError` for what has none."""
        try:
            return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        except TypeError as error:
            raise ValueError(str(error)) from error

    def decode(data: bytes) -> Any:
        """The value of a JSON text; raises `ValueError`, whose words may quote the text."""
        return json.loads(data, parse_constant=_refuse)
