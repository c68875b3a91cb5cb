"""Why an executor, or one of its workers, cannot work."""


class CannotWork(Exception):
    """NATS or Ray cannot be used; says why in words that may be logged: without credentials."""
