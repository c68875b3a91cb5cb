"""Makes a component of a plugin: the names that componentize-py looks for in the main module."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from . import _run
from ._errors import sentence
from ._plugin import Scorer, Strategy
from ._types import Level

T = TypeVar("T")

# The bindings exist in a component only. They are imported with the module, since a component can read
# no file when it runs.
try:
    from . import _imports
except ImportError:
    _imports = None  # type: ignore[assignment]


def export(plugin: type[Strategy] | type[Scorer]) -> tuple[type, type]:
    """The two classes that componentize-py wants in the main module::

    WitWorld, Describe = export(MyStrategy)

    What the plugin lacks is told when the component is built.
    """
    for member in ("name", "version", "summary"):
        if not isinstance(getattr(plugin, member, None), str):
            raise TypeError(f"{plugin.__name__} has no text `{member}`")
    plugin.params_schema()

    class Describe:
        def describe(self) -> Any:
            return _imports.Descriptor(
                plugin.name, plugin.version, plugin.summary, plugin.params_schema()
            )

    class WitWorld:
        if issubclass(plugin, Strategy):

            def deliberate(self, task: Any) -> Any:
                host = _imports.Imports()
                return _told(
                    host,
                    lambda: _imports.wit_outcome(
                        _run.deliberate(plugin, _imports.task(task), host)
                    ),
                )

        else:

            def evaluate(self, task: Any, candidates: Any) -> Any:
                host = _imports.Imports()
                return _told(
                    host,
                    lambda: [
                        _imports.wit_score(score)
                        for score in _run.evaluate(
                            plugin,
                            _imports.task(task),
                            [_imports.candidate(one) for one in candidates],
                            host,
                        )
                    ],
                )

    return WitWorld, Describe


def _told(host: Any, run: Callable[[], T]) -> T:
    """Runs a plugin; an exception becomes the error of the contract, and its traceback a log message."""
    try:
        return run()
    except BaseException as error:
        host.log(Level.ERROR, "".join(traceback.format_exception(error)))
        raise _imports.Err(sentence(error)) from None
