"""Traffic inside of an event loop: hosted, in_thread, concurrent_map and delegation, left and cancelled anywhere.

Each piece is an async function. It runs in a loop of its own library, in one of ours, or in a portal's.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio

from asyncgen_tools import concurrent_map, delegating, hosted, in_thread, yield_from
from asyncgen_tools.errors import StepCancelledError
from asyncgen_tools.loops.outcomes import consists_of
from tests.soak.consumers import closing
from tests.soak.sources import LONG, ProbeError, Source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from random import Random

    from asyncgen_tools.testing import Backend
    from tests.soak.world import World

    Piece = Callable[[Random, Backend], Awaitable[None]]

__all__ = ("in_a_loop",)


def in_a_loop(world: World, rng: Random, backend: Backend) -> None:
    """A piece of async traffic, in some loop."""
    if backend.name == "bare":
        return
    piece = partial(rng.choice(PIECES), rng, backend)
    match rng.randrange(4):
        case 0:
            world.portals[backend.id].run(piece)
        case 1:
            backend.run(piece)
        case _:
            run_natively(backend, piece)


def run_natively(backend: Backend, piece: Callable[[], Any]) -> None:
    """Run it in a loop that this library has no part in."""
    if backend.name == "trio":
        import trio

        trio.run(piece)
        return
    factory: Any = asyncio.new_event_loop
    if backend.id == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(piece())


async def use(rng: Random, source: Source, generator: AsyncGenerator[int, Any]) -> None:
    """Use up a generator in a random way."""
    way = rng.choice(("exhaust", "leave", "throw", "cancel"))
    # The scope is the outermost, because the generator may hold others.
    with anyio.move_on_after(rng.random() * 0.004 if way == "cancel" else LONG):
        async with closing(generator):
            taken = 0
            last = source.length if way == "exhaust" else rng.randrange(12)
            async for number in generator:
                assert number == taken
                taken += 1
                if taken > last:
                    break
            else:
                assert taken == source.length
                way = "exhaust"
            if way == "throw":
                await throw(generator, taken)


async def throw(generator: AsyncGenerator[int, Any], taken: int) -> None:
    """Throw into it: it goes on, or ends, or raises that."""
    error = ProbeError()
    try:
        with suppress(StopAsyncIteration):
            number = await generator.athrow(error)
            assert number == taken, f"{number} for {taken}"
    except (ProbeError, BaseExceptionGroup) as raised:
        assert consists_of(raised, (ProbeError,))


async def native(rng: Random, backend: Backend) -> None:
    """A generator as it is, with whatever it holds and delegates to."""
    source = Source(rng, backend)
    await use(rng, source, source())


async def hosted_one(rng: Random, backend: Backend) -> None:
    """A generator in a task of its own."""
    source = Source(rng, backend)
    async with hosted(source()) as generator:
        await use(rng, source, generator)


async def hosted_by_many(rng: Random, backend: Backend) -> None:
    """Several tasks take its items, one is cancelled in the middle of a step, and the block is left."""
    source = Source(rng, backend, length=20, hangs_at=rng.randrange(30))
    async with hosted(source()) as generator, anyio.create_task_group() as group:
        lock = anyio.Lock()

        async def take() -> None:
            with suppress(StepCancelledError):  # after one that was, or at the end of the block
                for _ in range(10):
                    async with lock:
                        if await anext(generator, None) is None:
                            return

        async def give_up() -> None:
            with anyio.move_on_after(rng.random() * 0.004):
                await take()

        for task in (give_up, take, give_up):
            group.start_soon(task)
        await anyio.sleep(rng.random() * 0.004)
        if rng.random() < 0.5 or source.hangs_at < source.length:
            group.cancel_scope.cancel()


async def threaded(rng: Random, backend: Backend) -> None:
    """A sync generator in a thread of its own, perhaps with a limiter."""
    source = Source(rng, backend)
    limiter = anyio.CapacityLimiter(1) if rng.random() < 0.3 else None
    source.forgiving = False  # the sync generator catches nothing
    prefetch = rng.choice((0, 1, 4))
    generator: Any = in_thread(source.counted, prefetch=prefetch, limiter=limiter)
    if prefetch:  # which refuses to be thrown into
        async with generator:
            async for number in generator:
                if number > rng.randrange(12):
                    break
        return
    await use(rng, source, generator)


async def mapped(rng: Random, backend: Backend) -> None:
    """Concurrent calls: one may fail, the loop may be left, the block be cancelled."""
    source = Source(rng, backend)
    failing, last = rng.randrange(30), rng.randrange(30)

    async def square(number: int) -> int:
        await source.pause()
        if number == failing:
            raise ProbeError
        return number * number

    rows: Any = source() if rng.random() < 0.5 else source.counted()
    found: list[int] = []
    with suppress(ProbeError), anyio.move_on_after(rng.choice((LONG, rng.random() * 0.004))) as scope:
        async with concurrent_map(square, rows, limit=rng.randrange(1, 5)) as results:
            async for result in results:
                found.append(result)
                if len(found) > last:
                    break
            else:
                assert found == [number * number for number in range(source.length)], f"{source} gave {found}"
    if not scope.cancelled_caught:
        assert found == [number * number for number in range(len(found))]


async def on_an_executor(rng: Random, backend: Backend) -> None:
    """Concurrent calls in threads, in any order."""
    source = Source(rng, backend)
    with ThreadPoolExecutor(2) as pool:
        block = concurrent_map(abs, source(), limit=3, executor=pool, ordered=False)
        with anyio.move_on_after(rng.choice((LONG, rng.random() * 0.004))):
            async with block as results:
                assert {number async for number in results} == {*range(source.length)}


async def shared_between_delegations(rng: Random, backend: Backend) -> None:
    """Two generators delegate to one, in turn; one of them is closed in the middle, and the other's end is there."""
    source = Source(rng, backend, length=8, kind=rng.choice(("plain", "variable", "threaded")))
    source.depth, source.value = 0, None
    rows = source()

    @delegating
    async def through() -> AsyncGenerator[int, Any]:
        await yield_from(rows)
        if source.length < 0:
            yield 0  # which makes it an async generator

    async with closing(through()) as first, closing(through()) as second:
        for number in range(rng.randrange(8)):
            assert await anext(rng.choice((first, second))) == number
        if rng.random() < 0.5:
            await first.aclose()


async def dropped(rng: Random, backend: Backend) -> None:
    """A delegation is dropped in the middle, and left to the loop; on asyncio alone, for trio would warn."""
    if backend.name == "asyncio":
        async for number in Source(rng, backend, kind="plain")():
            if number == 3:
                break


PIECES: Final[tuple[Piece, ...]] = (
    native,
    hosted_one,
    hosted_by_many,
    threaded,
    mapped,
    on_an_executor,
    shared_between_delegations,
    dropped,
)
