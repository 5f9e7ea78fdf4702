"""The library tested by its own strategies: random programs give the same trace by every way through it.

Here with few examples, the same in each run; `tox -e fuzz` sets FUZZ_EXAMPLES and tries new ones for hours.
"""

from __future__ import annotations

import os
from contextlib import aclosing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from asyncgen_tools import AsAsyncGenerator, Portal, hosted, in_thread
from asyncgen_tools.strategies import operations, programs, scripts
from asyncgen_tools.testing import (
    Backend,
    Notes,
    Program,
    Script,
    Trace,
    arecord,
    assert_same_trace,
    record,
    sweep_cancellation,
)
from asyncgen_tools.testing.backends import BACKENDS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from asyncgen_tools.testing.statements import Rendering

LONG = int(os.environ.get("FUZZ_EXAMPLES", "0"))
FUZZ = settings(
    max_examples=LONG or 40,
    deadline=None,
    derandomize=not LONG,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
#: StopIteration, too, which `arecord` throws in as StopAsyncIteration.
ANY_ERROR = operations(errors=(ValueError, StopIteration, GeneratorExit, KeyError))
#: A native async generator has no return value to compare.
WITHOUT_VALUES = scripts(programs(return_values=False))


def rows(*names: str) -> list[Any]:
    """The backends as parameters."""
    return [
        pytest.param(row, id=row.id, marks=pytest.mark.skipif(row.missing is not None, reason=str(row.missing)))
        for row in BACKENDS
        if row.id in names
    ]


EVERYWHERE = pytest.mark.parametrize("row", rows("bare", "asyncio", "uvloop", "trio"))
ON_LOOPS = pytest.mark.parametrize("row", rows("asyncio", "uvloop", "trio"))


def for_all(strategy: Any, check: Callable[[Any], None]) -> None:
    """Check examples of a strategy."""

    @FUZZ
    @given(strategy)
    def examples(example: Any) -> None:
        check(example)

    examples()


def sync_trace(script: Script) -> Trace:
    """Of the sync rendering."""
    notes = Notes()
    return record(script.program.make("sync", notes), script.operations, notes=notes)


def made(script: Script, rendering: Rendering, row: Backend) -> tuple[AsyncGenerator[int, Any], Notes]:
    """An async rendering that awaits the backend's checkpoints."""
    notes = Notes()
    make: Any = script.program.make
    return make(rendering, notes, checkpoint=row.checkpoint), notes


@EVERYWHERE
def test_yield_from_is_sync_yield_from(row: Backend) -> None:
    """B2 to B16: a delegating generator does what CPython's sync `yield from` does."""
    with row.runner() as runner:

        def check(script: Script) -> None:
            generator, notes = made(script, "delegating", row)
            found = runner.run(partial(arecord, generator, script.operations, notes=notes))
            assert_same_trace(sync_trace(script), found)

        for_all(scripts(operations=ANY_ERROR), check)


@EVERYWHERE
def test_yield_from_is_the_expansion(row: Backend) -> None:
    """B2 to B16: a delegating generator does what PEP 828's expansion does in native ones, without any difference."""
    with row.runner() as runner:

        def check(script: Script) -> None:
            traces: list[Trace] = []
            for rendering in ("async", "delegating"):
                generator, notes = made(script, rendering, row)
                traces.append(runner.run(partial(arecord, generator, script.operations, notes=notes)))
            assert_same_trace(*traces, allowed=())

        for_all(WITHOUT_VALUES, check)


@EVERYWHERE
@pytest.mark.parametrize("rendering", ["async", "delegating"])
def test_driven_is_sync(rendering: Rendering, row: Backend) -> None:
    """A1, A2: `drive` of an async rendering does what the sync generator does; only messages may differ."""
    with row.runner() as runner:

        def check(script: Script) -> None:
            generator, notes = made(script, rendering, row)
            found = record(runner.drive(generator), script.operations, notes=notes)
            assert_same_trace(sync_trace(script), found, allowed=["message-texts"])

        for_all(WITHOUT_VALUES if rendering == "async" else scripts(), check)


@ON_LOOPS
def test_driven_by_a_portal_is_sync(row: Backend) -> None:
    """A1, A2, A17: the same through a portal, whose loop runs in another thread."""
    with Portal(backend=row.name, backend_options=row.options) as portal:

        def check(script: Script) -> None:
            generator, notes = made(script, "delegating", row)
            found = record(portal.drive(generator), script.operations, notes=notes)
            assert_same_trace(sync_trace(script), found, allowed=["message-texts"])

        for_all(scripts(), check)


@ON_LOOPS
def test_hosted_is_what_it_hosts(row: Backend) -> None:
    """`hosted` does what the async generator does that it hosts in a task of its own."""
    with row.runner() as runner:

        async def in_host(script: Script) -> Trace:
            generator, notes = made(script, "async", row)
            async with hosted(generator) as host:
                return await arecord(host, script.operations, notes=notes)

        def check(script: Script) -> None:
            generator, notes = made(script, "async", row)
            direct = runner.run(partial(arecord, generator, script.operations, notes=notes))
            assert_same_trace(direct, runner.run(in_host, script))

        for_all(WITHOUT_VALUES, check)


@ON_LOOPS
def test_in_thread_is_sync(row: Backend) -> None:
    """`in_thread` does what the sync generator does that it runs in a worker thread."""
    with row.runner() as runner:

        def check(script: Script) -> None:
            notes = Notes()
            generator = in_thread(script.program.make("sync", notes))
            found = runner.run(partial(arecord, generator, script.operations, notes=notes))
            assert_same_trace(sync_trace(script), found)

        for_all(WITHOUT_VALUES, check)


@EVERYWHERE
def test_as_async_generator_is_sync(row: Backend) -> None:
    """PEP 828's recipe does what the sync generator does that it wraps."""
    with row.runner() as runner:

        def check(script: Script) -> None:
            notes = Notes()
            generator: Any = AsAsyncGenerator(script.program.make("sync", notes))
            found = runner.run(partial(arecord, generator, script.operations, notes=notes))
            assert_same_trace(sync_trace(script), found)

        for_all(scripts(), check)


@pytest.mark.parametrize("rendering", ["async", "delegating"])
@pytest.mark.parametrize("row", rows("asyncio", "trio", "level"))
def test_cancellation_leaves_nothing_open(row: Backend, rendering: Rendering) -> None:
    """B18: wherever a program is cancelled, it leaves no generator suspended, unless one ignores its closing."""

    def check(program: Program) -> None:
        kept: list[Notes] = []

        def make() -> tuple[Any, Notes]:
            notes = Notes()
            kept.append(notes)
            make_it: Any = program.make
            return consumed(make_it(rendering, notes, checkpoint=row.checkpoint), notes), notes

        try:
            sweep_cancellation(make, backend=row, check=nothing_open, allowed=ENDINGS)
        finally:
            for notes in kept:
                notes.finish()

    for_all(programs(max_depth=2, errors=("ValueError", "KeyError")), check)


ENDINGS = ("cancelled", "completed-late", "swallowed", "raised", "not-reached")


async def consumed(generator: AsyncGenerator[int, Any], notes: Notes) -> None:
    """Iterate to the end, and close; errors of the program are its own."""
    try:
        with suppress(ValueError, KeyError):
            async with aclosing(generator):
                async for _ in generator:
                    pass
    except RuntimeError as error:
        if "ignored GeneratorExit" not in str(error):
            raise
        notes.finish()


def nothing_open(notes: Notes, _: object) -> None:
    """Every generator of the program has ended."""
    open_ones = [generator for generator in notes.generators if getattr(generator, "ag_frame", None) is not None]
    assert open_ones == []
