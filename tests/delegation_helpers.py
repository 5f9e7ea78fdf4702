"""Tests of delegation as async functions, each run by hand, on asyncio, on uvloop and on trio.

Works without pytest too, for the interpreter of tests/pyodide: there each test runs by hand alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import re
import sys
import types
import warnings
from typing import TYPE_CHECKING, Any

from asyncgen_tools import delegating

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator

_where = "by hand"


def on_every_backend(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """The sync test that runs an async one, parametrised over the backends where pytest is at hand."""

    def run_it(where: str = "by hand") -> None:
        run(where, test)

    run_it.__name__, run_it.__doc__, run_it.__module__ = test.__name__, test.__doc__, test.__module__
    if importlib.util.find_spec("pytest") is None:
        return run_it
    import pytest

    def parametrised(where: str) -> None:
        run(where, test)

    parametrised.__name__, parametrised.__doc__, parametrised.__module__ = test.__name__, test.__doc__, test.__module__
    return pytest.mark.parametrize("where", backends())(parametrised)


def leaving_open(test: Callable[..., None]) -> Callable[..., None]:
    """The test, which does not fail by the async generators that it leaves unfinished, where pytest is at hand."""
    if importlib.util.find_spec("pytest") is None:
        return test
    import pytest

    marked: Callable[..., None] = pytest.mark.asyncgen_leaks("off")(test)
    return marked


def backends() -> list[Any]:
    """The parameters of a test that runs everywhere."""
    import pytest

    return [
        pytest.param(name, marks=pytest.mark.skipif(not _installed(name), reason=f"{name} is not installed"))
        for name in ("by hand", "asyncio", "uvloop", "trio")
    ]


def _installed(name: str) -> bool:
    return name == "by hand" or importlib.util.find_spec(name) is not None


def run(where: str, function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run an async function by hand or on an event loop, whose own shutdown is part of it."""
    global _where  # noqa: PLW0603  # one test runs at a time
    _where = where
    try:
        return _run(where, function)
    finally:
        _where = "by hand"


def _run(where: str, function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    if where == "by hand":
        return by_hand(function())
    if where == "trio":
        import trio

        with warnings.catch_warnings():
            # trio warns of each generator that is dropped unfinished
            warnings.filterwarnings("ignore", "Async generator .* was garbage collected", ResourceWarning)
            return trio.run(function)
    if where == "uvloop":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(function())
    return asyncio.run(function())


@types.coroutine
def _suspend() -> Generator[str, None, None]:
    yield "suspended"


async def checkpoint() -> None:
    """Really suspend, once."""
    if _where == "by hand":
        await _suspend()
    elif _where == "trio":
        import trio

        await trio.lowlevel.checkpoint()
    else:
        await asyncio.sleep(0)


def by_hand(awaitable: Awaitable[Any]) -> Any:
    """The result of an awaitable, resumed as often as it suspends."""
    iterator = awaitable.__await__()
    while True:
        try:
            next(iterator)
        except StopIteration as stop:
            return stop.value


@contextlib.contextmanager
def raises(kind: type[BaseException], match: str = "") -> Generator[list[Any], None, None]:
    """Expect an exception; the list holds it afterwards."""
    caught: list[Any] = []
    try:
        yield caught
    except kind as error:
        error.__traceback__ = None
        caught.append(error)
    if not caught:
        raise AssertionError(f"no {kind.__name__} was raised")
    if not re.search(match, str(caught[0])):
        raise AssertionError(f"{caught[0]!r} does not match {match!r}")


def seen(error: BaseException | None) -> Any:
    """What two runs must agree on: an exception and its causes, in the words of the sync language.

    Not its context: a delegating generator is not on the stack while a subgenerator runs, so what it is handling does
    not become the context of what that raises; and the sync language replaces the context of what it throws.
    """
    if error is None:
        return None
    stop = isinstance(error, (StopIteration, StopAsyncIteration))
    text = str(error).replace("async generator", "generator").replace("StopAsyncIteration", "StopIteration")
    return ("Stop" if stop else type(error).__name__, text, seen(error.__cause__))


@contextlib.contextmanager
def ignoring_unraisable() -> Generator[None, None, None]:
    """Print nothing of what is raised in finalizers."""

    def nothing(_: object) -> None:
        """In the place of the hook."""

    hook, sys.unraisablehook = sys.unraisablehook, nothing
    try:
        yield
        gc.collect()
    finally:
        sys.unraisablehook = hook


@delegating
async def counting(log: list[Any] | None = None) -> AsyncGenerator[Any, Any]:
    """Yields 1, 2, 3, notes what is sent, thrown and closed, and returns nothing."""
    for item in (1, 2, 3):
        try:
            sent = yield item
        except BaseException as error:
            if log is not None:
                log.append(error)
            raise
        if log is not None and sent is not None:
            log.append(sent)


async def items(generator: Any) -> list[Any]:
    """All items that are left."""
    return [item async for item in generator]
