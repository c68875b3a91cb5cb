import subprocess
import sys

from parts import PACKAGE

CHECK = """
import sys

if sys.argv[1] == "without":
    sys.modules["orjson"] = None
from conclave_executor import codec

assert codec.decode(codec.encode({"a": [1, 2.5, None, "é🦀", 2**63]})) == {"a": [1, 2.5, None, "é🦀", 2**63]}
assert codec.encode({"a": "é"}) == '{"a":"é"}'.encode()
for wrong in (b"{", b"NaN", b"[Infinity]", b"\\xff"):
    try:
        codec.decode(wrong)
    except ValueError:
        continue
    raise AssertionError(wrong)
for wrong in ("\\ud83d", {"a": object()}):
    try:
        codec.encode(wrong)
    except ValueError:
        continue
    raise AssertionError(wrong)
print("orjson" if codec.__dict__.get("orjson") else "json")
"""


def test_json_is_the_same_with_and_without_orjson() -> None:
    for argument, library in (("with", "orjson"), ("without", "json")):
        command = [sys.executable, "-c", CHECK, argument]
        ended = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, timeout=30, check=False)
        assert (ended.stdout, ended.stderr) == (library + "\n", "")
