"""Prints the PrometheusRule that holds the rules of deploy/prometheus: see `make manifests-rules`."""

from pathlib import Path

PROMETHEUS = Path(__file__).resolve().parents[3] / "prometheus"

HEAD = """\
# Written by `make manifests-rules` from deploy/prometheus. Do not edit it here.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: conclave
  labels:
    app.kubernetes.io/name: conclave
spec:
  groups:
"""


def groups(file: Path) -> list[str]:
    """The lines below `groups:`, which is the only key of a file of rules."""
    lines = file.read_text().splitlines()
    return lines[lines.index("groups:") + 1 :]


def main() -> None:
    print(HEAD, end="")
    for name in ("rules.yml", "alerts.yml"):
        for line in groups(PROMETHEUS / name):
            print(f"  {line}" if line else "")


if __name__ == "__main__":
    main()
