"""Sizes: many items, many generators, many cycles, and nothing that grows (SEMANTICS A18)."""

from __future__ import annotations

import asyncio
import gc
import threading
import tracemalloc
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asyncgen_tools import drive
from tests.thread_state import settled
from tests.ways import without_collector

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from tests.conftest import Backend

# What is counted here is the library's own; a leak tracker keeps a record of each generator until the test ends.
pytestmark = pytest.mark.asyncgen_leaks("off")


def objects() -> int:
    """How many objects the collector knows; what a finalizer brings back for a moment goes in the second round."""
    gc.collect()
    gc.collect()
    return len(gc.get_objects())


def descriptors() -> int:
    """How many file descriptors this process has open."""
    return len([*Path("/proc/self/fd").iterdir()])


def peak(function: Callable[[], object]) -> int:
    """How many bytes were allocated at most, at a time, while the function ran."""
    gc.collect()
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def items(backend: Backend | None, number: int, *, suspend_every: int) -> AsyncGenerator[bytes, None]:
    """Yield so many objects of 1,000 bytes, each a new one."""
    for index in range(number):
        if backend is not None and index % suspend_every == 0:
            await backend.checkpoint()
        yield bytes(1000)


def consume(generator: Any) -> int:
    """How many items there are."""
    total = 0
    for _ in generator:
        total += 1
    return total


def test_million_items(backend: Backend) -> None:
    """A million items go through in constant time each, with the thread settled afterwards (A18)."""

    async def numbers() -> AsyncGenerator[int, None]:
        for number in range(1_000_000):
            yield number

    assert consume(backend.drive(numbers())) == 1_000_000
    assert settled()


@pytest.mark.parametrize("suspend_every", [1, 1000])
def test_constant_memory(backend: Backend, suspend_every: int) -> None:
    """The memory in use does not depend on the number of items: ten times as many need no more (A18)."""
    # tracemalloc makes everything slower, so these are thousands; the million is above.
    few, many = (500, 5_000) if suspend_every == 1 else (3_000, 30_000)
    with backend.runner() as runner:
        consume(runner.drive(items(backend, few, suspend_every=suspend_every)))  # what is made once
        small = peak(lambda: consume(runner.drive(items(backend, few, suspend_every=suspend_every))))
        large = peak(lambda: consume(runner.drive(items(backend, many, suspend_every=suspend_every))))
    assert large < small + 20_000


def test_bare_in_constant_memory() -> None:
    """On the bare backend, too, a million items need no memory (A18)."""

    async def numbers(to: int) -> AsyncGenerator[int, None]:
        for number in range(to):
            yield number

    assert consume(drive(numbers(1_000_000), backend="bare")) == 1_000_000
    small = peak(lambda: consume(drive(items(None, 3_000, suspend_every=1), backend="bare")))
    large = peak(lambda: consume(drive(items(None, 30_000, suspend_every=1), backend="bare")))
    assert large < small + 20_000


def test_items_are_let_go(backend: Backend) -> None:
    """An item that the caller has let go of is kept alive by nothing once the next step has begun (A18)."""

    class Item:
        """Something that can be watched."""

    async def source() -> AsyncGenerator[Item, None]:
        for number in range(4):
            if number % 2:
                await backend.checkpoint()
            yield Item()

    generator = backend.drive(source())
    watched: weakref.ref[Item] | None = None
    for item in generator:
        assert watched is None or watched() is None
        watched = weakref.ref(item)
        del item
    assert watched is not None
    assert watched() is None


def test_thousand_generators_open_at_once(backend: Backend) -> None:
    """A runner holds 1,000 open generators, steps them in any order, and closes them all (A18)."""
    closed = 0

    async def source(start: int) -> AsyncGenerator[int, None]:
        nonlocal closed
        try:
            for number in range(start, start + 10):
                yield number
                await backend.checkpoint()
        finally:
            await backend.checkpoint()
            closed += 1

    with backend.runner() as runner:
        runner.run(backend.checkpoint)  # libuv opens a pipe with its first loop, and keeps it
    before = descriptors()
    with backend.runner() as runner:
        generators = [runner.drive(source(start)) for start in range(1000)]
        assert [next(generator) for generator in generators] == list(range(1000))
        opened = descriptors()
        assert [next(generator) for generator in reversed(generators)] == list(range(1000, 0, -1))
        for generator in generators[::2]:
            generator.close()
        assert closed == 500
    assert closed == 1000
    assert opened - before <= 10
    assert descriptors() == before
    assert settled()


@pytest.mark.parametrize("end", ["close", "drop", "exhaust", "raise"])
def test_cycles_of_drive(backend: Backend, end: str) -> None:
    """After 250 cycles each of driving and closing, dropping, exhausting, failing (1,000 in all) nothing has grown
    (A18).
    """

    async def source() -> AsyncGenerator[int, None]:
        yield 1
        await backend.sleep(0.00001)
        if end == "raise":
            raise LookupError
        yield 2

    def cycle() -> None:
        generator = backend.drive(source())
        assert next(generator) == 1
        match end:
            case "close":
                assert next(generator) == 2
                generator.close()
            case "exhaust":
                assert list(generator) == [2]
            case "raise":
                with pytest.raises(LookupError):
                    next(generator)
            case _:
                next(generator)

    for _ in range(10):
        cycle()
    before, threads, files = objects(), threading.active_count(), descriptors()
    for _ in range(250):
        cycle()
    assert objects() < before + 250
    assert descriptors() <= files
    # trio keeps its idle threads for ten seconds; they are used again.
    assert threading.active_count() <= threads + 1
    assert settled()


def test_cycles_on_a_runner(backend: Backend) -> None:
    """After 1,000 cycles on one runner it has as many tasks as before, and the process as many of everything (A18)."""

    async def source() -> AsyncGenerator[int, None]:
        yield 1
        await backend.checkpoint()
        yield 2

    async def tasks() -> int:
        if backend.name == "trio":
            import trio

            return trio.lowlevel.current_statistics().tasks_living
        return len(asyncio.all_tasks())

    with backend.runner() as runner:

        def cycle() -> None:
            generator = runner.drive(source())
            assert (next(generator), next(generator)) == (1, 2)
            generator.close()
            dropped = runner.drive(source())
            assert next(dropped) == 1

        for _ in range(10):
            cycle()
        before = (runner.run(tasks), threading.active_count(), descriptors())
        known = objects()
        for _ in range(500):
            cycle()
        after = (runner.run(tasks), threading.active_count(), descriptors())
        # What earlier tests have left may go meanwhile: idle threads of trio, for one.
        assert all(now <= then for now, then in zip(after, before, strict=True))
        assert after[0] == before[0]
        assert objects() < known + 250
    assert settled()


def test_nothing_is_left_for_the_collector(backend: Backend) -> None:
    """Driving, closing, dropping and failing leave no cycles of ours that keep items or frames alive until a collection
    (A18).
    """

    class Item:
        """Something that can be watched."""

    watched: list[weakref.ref[Item]] = []

    async def source(*, fail: bool) -> AsyncGenerator[Item, None]:
        for _ in range(3):
            item = Item()
            watched.append(weakref.ref(item))
            yield item
            await backend.checkpoint()
        if fail:
            raise LookupError

    def end_in_every_way() -> None:
        for _ in backend.drive(source(fail=False)):
            pass
        with pytest.raises(LookupError):
            for _ in backend.drive(source(fail=True)):
                pass
        with backend.drive(source(fail=False)) as generator:
            next(generator)
        for _ in backend.drive(source(fail=False)):
            break

    gc.collect()
    gc.disable()
    try:
        end_in_every_way()
        assert [ref() for ref in watched] == [None] * len(watched)
    finally:
        gc.enable()


@pytest.mark.parametrize("end", ["close", "drop", "exhaust"])
def test_event_loop_is_let_go(backend: Backend, end: str) -> None:
    """With its end the event loop goes, a quarter of a megabyte on uvloop, without waiting for a collection (A18)."""

    async def source() -> AsyncGenerator[int, None]:
        yield 1
        await backend.checkpoint()
        yield 2

    def cycle() -> weakref.ref[object]:
        generator: Any = backend.drive(source())
        loop = weakref.ref[object](generator._seat)
        if end == "exhaust":
            assert consume(generator) == 2
        else:
            next(generator)
        if end == "close":
            generator.close()
        return loop

    with without_collector():
        assert [cycle()() for _ in range(2)] == [None, None]
