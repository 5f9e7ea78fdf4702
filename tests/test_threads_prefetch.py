from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import pytest

from asyncgen_tools import in_thread
from asyncgen_tools.errors import ForkError, PrefetchError
from tests.running import on_every_backend
from tests.threading_helpers import (
    PATIENCE,
    Gate,
    join_workers,
    no_thread_is_left_fixture as no_thread_is_left_fixture,  # noqa: PLC0414  # pytest finds it here
    numbers,
    worker_threads,
)
from tests.ways import ProbeError, without_collector

if TYPE_CHECKING:
    from collections.abc import Generator

    from asyncgen_tools.bridged_generator import BridgedGenerator
    from tests.conftest import Backend

pytestmark = pytest.mark.usefixtures("no_thread_is_left")


@on_every_backend
async def test_limiter(backend: Backend) -> None:
    """A token is held while a step runs, and none in between."""
    limiter = anyio.CapacityLimiter(1)
    borrowed: list[int] = []

    def source() -> Generator[int]:
        while True:
            borrowed.append(limiter.borrowed_tokens)  # nobody changes it meanwhile
            yield 1

    async with in_thread(source(), limiter=limiter) as generator, in_thread(source(), limiter=limiter) as other:
        for _ in range(2):
            await anext(generator)
            assert limiter.borrowed_tokens == 0
            await anext(other)
    assert limiter.borrowed_tokens == 0
    assert borrowed == [1] * 4


ENDINGS = ("end", "error", "close", "cancelled")


@on_every_backend
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("prefetch", [0, 1, 4])
async def test_limiter_after_the_end(backend: Backend, prefetch: int, ending: str) -> None:
    """However the generator ends, its token is back when its consumer knows of the end, and not a turn later."""
    limiter = anyio.CapacityLimiter(1)

    def source() -> Generator[int]:
        yield from range(3)
        if ending == "error":
            raise ProbeError

    for _ in range(20):
        generator = in_thread(source(), prefetch=prefetch, limiter=limiter)
        with suppress(ProbeError), anyio.CancelScope() as scope:
            async for number in generator:
                if ending == "close" and number:
                    break
                if ending == "cancelled" and number:
                    scope.cancel()
        if ending in {"close", "cancelled"}:
            await generator.aclose()
        assert limiter.borrowed_tokens == 0


@on_every_backend
async def test_limiter_makes_wait(backend: Backend) -> None:
    """Without a token no step begins; a consumer that is cancelled while it waits for one has lost nothing."""
    limiter = anyio.CapacityLimiter(1)
    async with in_thread(numbers(), limiter=limiter) as generator:
        await limiter.acquire()
        with anyio.move_on_after(0) as scope:
            await anext(generator)
        assert scope.cancelled_caught
        assert worker_threads() == []
        limiter.release()
        assert await anext(generator) == 0


@on_every_backend
async def test_close_without_a_token(backend: Backend) -> None:
    """A close that is cancelled while it waits for a token closes the generator nevertheless."""
    limiter = anyio.CapacityLimiter(1)
    closed = threading.Event()

    def source() -> Generator[int]:
        try:
            yield 1
        finally:
            closed.set()

    generator = in_thread(source(), limiter=limiter)
    await anext(generator)
    async with limiter:
        with anyio.move_on_after(0) as scope:
            await generator.aclose()
        assert scope.cancelled_caught
        assert await anyio.to_thread.run_sync(closed.wait, PATIENCE)
    join_workers()
    with pytest.raises(StopAsyncIteration):
        await anext(generator)


@on_every_backend
@pytest.mark.parametrize("prefetch", [1, 2, 7, 64])
@pytest.mark.parametrize("limited", [False, True])
async def test_prefetch_items(backend: Backend, prefetch: int, limited: bool) -> None:  # a parameter
    """With prefetch the items, their order and the return value are the same, whatever the number."""
    limiter = anyio.CapacityLimiter(1) if limited else None
    for count in (0, 1, prefetch, prefetch + 1, 200):
        generator = in_thread(numbers(count), prefetch=prefetch, limiter=limiter)
        assert [item async for item in generator] == list(range(count))
        assert generator.return_value == "done"
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
        assert limiter is None or limiter.borrowed_tokens == 0


async def all_ready(backend: Backend, count: int) -> BridgedGenerator[int, None, None]:
    """A generator of 0, 1, 2, ..., of which the first was taken and all others are there."""
    generator = in_thread(range(count), prefetch=count + 1)
    assert await anext(generator) == 0
    while not generator._engine.worker.finished:  # type: ignore[attr-defined]  # there is no other way to know
        await backend.checkpoint()
    return generator


@on_every_backend
async def test_prefetch_gives_way(backend: Backend) -> None:
    """A consumer that always finds an item ready lets other tasks run at least once in 64 items (A15)."""
    turns = 0
    items: list[int] = []

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await backend.checkpoint()

    async with await all_ready(backend, 1000) as generator, anyio.create_task_group() as group:
        group.start_soon(tick)
        items += [item async for item in generator]
        assert turns >= len(items) // 64 - 1  # the last one may still be due
        group.cancel_scope.cancel()
    assert items == list(range(1, 1000))


@on_every_backend
async def test_prefetch_notices_a_cancellation(backend: Backend) -> None:
    """A consumer that always finds an item ready is cancelled within 64 items, and has lost none."""
    async with await all_ready(backend, 300) as generator:
        items = [await anext(generator), await anext(generator)]
        with anyio.CancelScope() as scope:
            scope.cancel()
            for _ in range(3):  # each time that it goes on although it is cancelled
                with pytest.raises(anyio.get_cancelled_exc_class()):
                    async for item in generator:
                        items.append(item)
                        assert len(items) <= 2 + 64
            await anext(generator)
        assert scope.cancelled_caught
        assert items + [item async for item in generator] == list(range(1, 300))


@on_every_backend
async def test_prefetch_in_another_loop(backend: Backend) -> None:
    """Items that are ready may be taken in another loop, of another library, than those before them."""
    pytest.importorskip("trio")
    generator = await all_ready(backend, 300)
    items = [await anext(generator), await anext(generator)]

    async def take() -> None:
        items.extend([await anext(generator) for _ in range(100)])

    def elsewhere() -> None:
        for name in ("asyncio", "trio"):
            anyio.run(take, backend=name)

    await anyio.to_thread.run_sync(elsewhere)
    assert items + [item async for item in generator] == list(range(1, 300))


@on_every_backend
async def test_prefetch_limit(backend: Backend) -> None:
    """The thread produces nothing before the first step, and then never more than so many items ahead."""
    produced = 0
    most = 0
    taken = 0

    def source() -> Generator[int]:
        nonlocal produced, most
        while True:
            produced += 1
            most = max(most, produced - taken)
            yield produced

    async with in_thread(source(), prefetch=5) as generator:
        await backend.checkpoint()
        assert produced == 0
        for number in range(1, 200):
            assert await anext(generator) == number
            taken = number
    assert most <= 5 + 1  # the item being handed over has left the store and is not counted yet


@on_every_backend
async def test_prefetch_delivers_at_once(backend: Backend) -> None:
    """An item is delivered as soon as it is there, however many more are to be produced."""
    gate = Gate()
    async with in_thread(gate.items(), prefetch=10) as generator:
        gate.passes.release()
        assert await anext(generator) == 0
        gate.passes.release(2)
        assert await anext(generator) == 1
        gate.passes.release(10)


@on_every_backend
async def test_prefetch_refuses(backend: Backend) -> None:
    """Values and exceptions cannot be sent where the generator is not; the error says so, and nothing is lost."""
    async with in_thread(numbers(), prefetch=2) as generator:
        await anext(generator)
        with pytest.raises(PrefetchError, match=r"asend\(\).*run ahead.*Leave prefetch out"):
            await generator.asend(1)
        with pytest.raises(PrefetchError, match=r"athrow\(\)"):
            await generator.athrow(ProbeError())
        assert await generator.asend(None) == 1
    with pytest.raises(ValueError, match="prefetch=-1 puts"):
        in_thread(numbers(), prefetch=-1)


@on_every_backend
async def test_prefetch_error(backend: Backend) -> None:
    """An error arrives in its place: after the items before it."""
    error = ProbeError()

    def source() -> Generator[int]:
        yield from range(10)
        raise error

    generator = in_thread(source(), prefetch=64)
    items: list[int] = []
    with pytest.raises(ProbeError) as raised:
        async for item in generator:
            items.append(item)  # noqa: PERF401  # those before the error
    assert items == list(range(10))
    assert raised.value is error


@on_every_backend
async def test_prefetch_early_close(backend: Backend) -> None:
    """A close ends the run ahead after the item that it is at, also one that would go on for ever."""
    closed: list[int] = []

    def forever() -> Generator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(1)

    for limiter in (None, anyio.CapacityLimiter(1)):
        async with in_thread(forever(), prefetch=3, limiter=limiter) as generator:
            await anext(generator)
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
    assert closed == [1, 1]
    join_workers()


@on_every_backend
async def test_prefetch_cancelled(backend: Backend) -> None:
    """A cancelled consumer waits for the item that is being produced; then the generator is closed in its thread."""
    gate = Gate()
    generator = in_thread(gate.items(), prefetch=3)
    async with anyio.create_task_group() as group:
        group.start_soon(anext, generator)
        await anyio.to_thread.run_sync(gate.entered.acquire)
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            for _ in range(3):  # until the consumer knows
                await backend.checkpoint()
        gate.passes.release()
    assert len(gate.log) == 1
    with pytest.raises(StopAsyncIteration):
        await anext(generator)
    join_workers()


@on_every_backend
async def test_prefetch_dropped(backend: Backend) -> None:
    """One that is dropped with items left is closed by its thread; a finished one just ends it."""
    with without_collector():
        generator = in_thread(numbers(100), prefetch=3)
        await anext(generator)
        with pytest.warns(ResourceWarning, match="dropped before its end"):
            del generator
        generator = in_thread(numbers(2), prefetch=10)
        await anext(generator)
        while not generator._engine.worker.finished:  # type: ignore[attr-defined]  # there is no other way to know
            await backend.checkpoint()
        del generator
    join_workers()


@on_every_backend
async def test_prefetch_cancelled_and_failing(backend: Backend) -> None:
    """What the cleanup raises comes out of the step of a consumer that was cancelled while it waited for an item."""
    gate = Gate()

    def source() -> Generator[int]:
        try:
            yield from gate.items()
        finally:
            raise ProbeError

    async def consume() -> None:
        with pytest.raises(ProbeError):
            await anext(generator)
        errors.append(ProbeError)

    errors: list[type[ProbeError]] = []
    generator = in_thread(source(), prefetch=3)
    async with anyio.create_task_group() as group:
        group.start_soon(consume)
        await anyio.to_thread.run_sync(gate.entered.acquire)
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            for _ in range(3):  # until the consumer knows
                await backend.checkpoint()
        gate.passes.release()
    assert errors == [ProbeError]
    join_workers()


@on_every_backend
async def test_prefetch_cancelled_step_fails(backend: Backend) -> None:
    """What the step itself raises comes out of it though its consumer was cancelled, as in lock step (A9)."""
    gate = Gate()

    def source() -> Generator[int]:
        for number in gate.items():
            if number == 0:
                raise ProbeError
            yield number  # pragma: no cover  # makes it a generator

    async def consume() -> None:
        with pytest.raises(ProbeError):
            await anext(generator)
        errors.append(ProbeError)

    errors: list[type[ProbeError]] = []
    generator = in_thread(source(), prefetch=3)
    async with anyio.create_task_group() as group:
        group.start_soon(consume)
        await anyio.to_thread.run_sync(gate.entered.acquire)
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            for _ in range(3):  # until the consumer knows
                await backend.checkpoint()
        gate.passes.release()
    assert errors == [ProbeError]
    with pytest.raises(StopAsyncIteration):
        await anext(generator)
    join_workers()


@on_every_backend
async def test_prefetch_ignored_exit(backend: Backend) -> None:
    """A generator that yields while it is closed is not finished by that, as without running ahead."""
    ignore = [True]

    def source() -> Generator[int]:
        yield 0
        while True:
            try:
                yield 1
            except GeneratorExit:
                if not ignore:
                    raise

    generator = in_thread(source(), prefetch=1)
    assert [await anext(generator), await anext(generator)] == [0, 1]
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        await generator.aclose()
    ignore.clear()
    await generator.aclose()
    join_workers()


@on_every_backend
async def test_refused_close_while_the_thread_is_at_it(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A close that is refused, as in a forked child, takes no token from the thread that has run ahead and goes on."""
    limiter, gate = anyio.CapacityLimiter(1), threading.Event()

    def source() -> Generator[int]:
        yield 1
        assert gate.wait(PATIENCE)
        yield 2

    async with in_thread(source(), prefetch=2, limiter=limiter) as generator:
        assert await anext(generator) == 1
        with monkeypatch.context() as patch:
            patch.setattr("os.getpid", lambda: -1)
            with pytest.raises(ForkError):
                await generator.aclose()
        assert limiter.borrowed_tokens == 1
        gate.set()
    assert limiter.borrowed_tokens == 0
