"""Runs of a harness that end: each is bounded, and what hangs is reported with the line where it does.

A leak tracker of a run that was given up does not watch on, and a run that was cancelled too late has its result.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from asyncgen_tools.errors import HangError, MissingLibraryError, RunningLoopError
from asyncgen_tools.loops.admission import running_library
from asyncgen_tools.loops.observers import observers
from asyncgen_tools.testing.harness.base import BareHarness
from asyncgen_tools.testing.leaks import LeakTracker

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from asyncgen_tools.testing.backends import Backend
    from asyncgen_tools.testing.harness.base import Harness
    from asyncgen_tools.testing.harness.watchdog import Watchdog

__all__ = ("hang_error", "make_harness", "refuse_running_loop", "run_bounded")

T = TypeVar("T")


def make_harness(backend: Backend) -> Harness:
    """The harness of a row.

    Raises:
        MissingLibraryError: the library of the row is not installed.
    """
    if backend.missing is not None:
        raise MissingLibraryError(f"The {backend.missing}. Install asyncgen_tools[{backend.needs}], or leave it out.")
    match backend.name:
        case "asyncio":
            from asyncgen_tools.testing.harness.asyncio_harness import AsyncioHarness

            return AsyncioHarness(backend.options, level=backend.cancellation == "level")
        case "trio":
            from asyncgen_tools.testing.harness.trio_harness import TrioHarness

            return TrioHarness(backend.options)
        case "bare":  # pragma: no branch  # there are no more
            return BareHarness()


def refuse_running_loop(user: str) -> None:
    """Refuse to run anything in a thread in which an event loop runs.

    Raises:
        RunningLoopError: there is one.
    """
    if running_library() is not None:
        raise RunningLoopError(
            f"{user}() was called where an event loop is running, and it runs event loops of its own. Call it from a "
            f"plain function: a test without `async`, or `await asyncio.to_thread({user}, ...)`."
        )


def run_bounded(
    harness: Harness, watchdog: Watchdog, function: Callable[[], Coroutine[Any, Any, T]], *, what: str
) -> T:
    """Run an async function, which tells the watchdog what it is about to do.

    Args:
        harness: runs it.
        watchdog: bounds it.
        function: the async function.
        what: is run, for the report of a hang.

    Raises:
        HangError: it took too long.
    """
    results: list[T] = []

    async def collect() -> None:
        results.append(await function())

    watching = len(observers.watchers)
    watchdog.begin()
    try:
        try:
            harness.run(collect)
        finally:
            watchdog.rest()
    except KeyboardInterrupt:
        raise
    except BaseException as exc:
        # A cancellation that was requested too late to be delivered ends the task after all (asyncio before 3.13).
        if not watchdog.fired and not (results and isinstance(exc, harness.cancelled)):
            raise
    finally:
        for watcher in observers.watchers[watching:]:  # of a task that went down with its loop
            if isinstance(watcher, LeakTracker):  # pragma: no branch  # others are not left behind
                watcher.stop()
    if watchdog.fired:
        raise hang_error(watchdog, what)
    return results.pop()


def hang_error(watchdog: Watchdog, what: str) -> HangError:
    """The report of what took too long."""
    place = "at an unknown place" if watchdog.place is None else f"at {watchdog.place}"
    error = HangError(
        f"{what} hangs {place}: it took longer than {watchdog.seconds:g} s, and was given up. If it only needs more "
        "time, give a longer timeout."
    )
    error.place = watchdog.place
    return error
