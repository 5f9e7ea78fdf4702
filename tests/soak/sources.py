"""What the traffic of the soak test drives: async generators that keep account of their life.

A source yields 0, 1, 2, ... up to its length, whatever it is made of, so that any consumer can tell what comes next.
From its first step to the end of its cleanup it stands in `OPEN`: what stands there when all is settled was lost.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import weakref
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any, Final, final

import anyio

from asyncgen_tools import concurrent_map, delegating, hosted, in_thread, set_return_value, yield_from

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Generator
    from contextlib import AbstractAsyncContextManager

    from asyncgen_tools.testing import Backend

__all__ = ("OPEN", "ProbeError", "Source")

#: The sources, and sync generators of theirs, whose bodies have begun and not ended. The operations on it are atomic.
OPEN: Final[set[object]] = set()

#: Longer than any step may take.
LONG: Final = 300

VARIABLE: Final[contextvars.ContextVar[object]] = contextvars.ContextVar("VARIABLE")


class ProbeError(Exception):
    """What is thrown into sources, and what they raise."""


@final
class Source:
    """A random async generator, and what is known of it.

    Args:
        rng: seeds the source's own, which is used wherever the source runs.
        backend: where it runs.
        length: how many numbers it yields.
        hangs_at: the number before which it waits for longer than any step may take.
        kind: what they come through, a name of `KINDS`; by default a random one.
        threads: whether it may use threads. A signal that strikes while anyio starts one leaves that behind.

    Attributes:
        depth: how many generators delegate to the one that yields.
        forgiving: whether it catches a ProbeError that is thrown in, and goes on.
        received: what its last `yield` evaluated to.
        value: what it returns; None without delegation.
    """

    def __init__(
        self,
        rng: Random,
        backend: Backend,
        *,
        length: int | None = None,
        hangs_at: int = -1,
        kind: str | None = None,
        threads: bool = True,
    ) -> None:
        self.rng = Random(rng.random())
        self.backend = backend
        self.length: int = rng.randrange(12) if length is None else length
        self.hangs_at = hangs_at
        self.threads = threads
        names = [name for name in KINDS if threads or name != "threaded"]
        if backend.name == "bare":
            names = ["plain", "variable"]
        self.kind: str = rng.choice(names) if kind is None else kind
        self.depth: int = rng.choice((0, 0, 1, 2, 20))
        self.forgiving: bool = rng.random() < 0.5
        self.received: object = None
        self.value: object = object() if self.depth else None
        self.made: list[weakref.ref[AsyncGenerator[int, Any]]] = []

    def __repr__(self) -> str:
        return f"<Source {self.kind} of {self.length}, depth {self.depth}, on {self.backend.id}>"

    def __call__(self) -> AsyncGenerator[int, Any]:
        """The generator."""
        if self.depth:
            chain: Any = self.delegate(self.depth)
            return chain  # type: ignore[no-any-return]
        return self.own_rows()

    def own_rows(self) -> AsyncGenerator[int, Any]:
        """The generator that yields, of which note is taken."""
        rows = self.rows()
        self.made.append(weakref.ref(rows))
        return rows

    def ended(self) -> bool:
        """Whether what it made has ended, for a signal may strike where that is accounted for."""
        return all(getattr(made(), "ag_frame", None) is None for made in self.made)

    async def rows(self) -> AsyncGenerator[int, Any]:
        """Yield the numbers."""
        OPEN.add(self)
        try:
            async with KINDS[self.kind](self) as numbers:
                async for number in numbers:
                    await self.pause()
                    if number == self.hangs_at:
                        await anyio.sleep(LONG)
                    try:
                        self.received = yield number
                    except ProbeError:
                        if not self.forgiving:
                            raise
        finally:
            try:
                await self.pause()
            finally:
                OPEN.remove(self)

    @delegating
    async def delegate(self, depth: int) -> AsyncGenerator[int, Any]:
        """Yield them over so many delegations, and return the value."""
        if depth > 1:
            value = await yield_from(self.delegate(depth - 1))
            assert value is self.value
        else:
            await yield_from(self.own_rows())
        await set_return_value(self.value)
        if depth < 0:
            yield 0  # which makes it an async generator

    async def pause(self) -> None:
        """Wait for nothing, for a turn of the loop, for a moment or for a thread."""
        chance = self.rng.random()
        if chance < 0.6 or self.backend.name == "bare":
            return
        if chance < 0.9:
            await self.backend.checkpoint()
        elif chance < 0.98:
            await anyio.sleep(self.rng.random() * 0.002)
        elif self.threads:
            await anyio.to_thread.run_sync(math.sqrt, 4)

    async def numbers(self) -> AsyncGenerator[int, None]:
        """Count, with pauses."""
        for number in range(self.length):
            await self.pause()
            yield number

    def counted(self) -> Generator[int, None, None]:
        """Count in a sync generator, whose life is kept account of, too."""
        key = object()
        OPEN.add(key)
        try:
            yield from range(self.length)
        finally:
            OPEN.remove(key)


@asynccontextmanager
async def plain(source: Source) -> AsyncGenerator[AsyncIterable[int]]:
    """Nothing is held over the yields but another async generator, which on asyncio nobody closes."""
    numbers = source.numbers()
    try:
        yield numbers
    finally:
        if source.backend.name != "asyncio":  # trio says a ResourceWarning where a generator is left to it
            await numbers.aclose()


@asynccontextmanager
async def variable(source: Source) -> AsyncGenerator[AsyncIterable[int]]:
    """A context variable is set over the yields, and reset."""
    key = object()
    token = VARIABLE.set(key)
    try:
        async with plain(source) as numbers:
            yield numbers
    finally:
        assert VARIABLE.get() is key
        VARIABLE.reset(token)


@asynccontextmanager
async def timed(source: Source) -> AsyncGenerator[AsyncIterable[int]]:
    """A deadline is held over the yields, by anyio or by asyncio."""
    async with plain(source) as numbers:
        if source.backend.name == "asyncio" and source.rng.random() < 0.5:
            async with asyncio.timeout(LONG):
                yield numbers
        else:
            with anyio.fail_after(LONG):
                yield numbers


@asynccontextmanager
async def grouped(source: Source) -> AsyncGenerator[AsyncIterable[int]]:
    """A task group with a task in it is held over the yields."""
    async with anyio.create_task_group() as group, plain(source) as numbers:
        group.start_soon(anyio.sleep, LONG)
        yield numbers
        group.cancel_scope.cancel()


@asynccontextmanager
async def produced(source: Source) -> AsyncGenerator[AsyncIterable[int]]:
    """A task puts the numbers into a stream."""
    sending, receiving = anyio.create_memory_object_stream[int](source.rng.randrange(3))

    async def produce() -> None:
        with sending:
            for number in range(source.length):
                await sending.send(number)

    with receiving:
        async with anyio.create_task_group() as group:
            group.start_soon(produce)
            yield receiving


def threaded(source: Source) -> AbstractAsyncContextManager[AsyncIterable[int]]:
    """They come from a sync generator in a thread."""
    return in_thread(source.counted, prefetch=source.rng.choice((0, 0, 1, 4)))


def mapped(source: Source) -> AbstractAsyncContextManager[AsyncIterable[int]]:
    """They come through concurrent calls."""

    async def same(number: int) -> int:
        await source.pause()
        return number

    return concurrent_map(same, source.counted(), limit=source.rng.randrange(1, 4))


@asynccontextmanager
async def in_a_task(source: Source) -> AsyncGenerator[AsyncIterator[int]]:
    """They come from a generator in a task of its own."""
    async with hosted(source.numbers()) as numbers:
        yield numbers


KINDS: Final[dict[str, Callable[[Source], AbstractAsyncContextManager[AsyncIterable[int]]]]] = {
    "plain": plain,
    "variable": variable,
    "timed": timed,
    "grouped": grouped,
    "produced": produced,
    "threaded": threaded,
    "mapped": mapped,
    "in_a_task": in_a_task,
}
