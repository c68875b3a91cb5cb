"""`python -m conclave_executor [--local]`, with its settings in the variable `CONCLAVE_EXECUTOR`."""

from __future__ import annotations

import asyncio
import os
import sys

from .console import say
from .errors import CannotWork
from .executor import Actors, execute
from .settings import API_KEYS_VARIABLE, SETTINGS_VARIABLE, Settings, SettingsError, parse, parse_api_keys


def main() -> int:
    """The exit code: 0 after a drain or the end of a wave, 1 if it could not work, 2 for wrong settings."""
    arguments = sys.argv[1:]
    if arguments not in ([], ["--local"]):
        say(f"only `--local` is understood, and the settings in {SETTINGS_VARIABLE}")
        return 2
    try:
        settings = parse(os.environ.get(SETTINGS_VARIABLE, ""))
    except SettingsError as error:
        say(f"the settings in {SETTINGS_VARIABLE} are not usable: {error}")
        return 2
    try:
        # The workers read them again, each in its process.
        parse_api_keys(os.environ.get(API_KEYS_VARIABLE, ""))
    except SettingsError as error:
        say(str(error))
        return 2
    try:
        actors = _actors(settings, is_local=bool(arguments) or not settings.ray)
        _run(settings, actors)
    except CannotWork as error:
        say(f"cannot work: {error}")
        return 1
    return 0


def _actors(settings: Settings, *, is_local: bool) -> Actors:
    if is_local:
        from .local import LocalActors

        return LocalActors(settings)
    from .actors import RayActors

    return RayActors(settings)


def _run(settings: Settings, actors: Actors) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(execute(settings, actors))
    else:
        uvloop.run(execute(settings, actors))


if __name__ == "__main__":
    sys.exit(main())
