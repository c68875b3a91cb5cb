"""Where the programs are that `make manifests` installs and builds."""

import os
import sys
from pathlib import Path


def path(name: str) -> str:
    """A program of the same environment as this Python."""
    return str(Path(sys.executable).parent / name)


def conclave() -> str:
    """The built host."""
    return os.environ.get("CONCLAVE", str(Path(__file__).parents[2] / "target/debug/conclave"))
