"""Runs Conclave's generations on a Ray cluster: takes work from JetStream, calls the engine, sends the result.

`deploy/ray/PROTOCOL.md` is the contract with the host.
"""

VERSION = "0.1.0"
