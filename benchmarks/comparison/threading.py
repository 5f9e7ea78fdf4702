"""Sync generators in async code."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.comparison.asking import NotOfferedError, Topic, library

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    Way = Callable[[Generator[Any, Any, Any]], Any]

END = object()


async def stepped(source: Generator[Any, Any, Any], in_thread: Callable[..., Any]) -> AsyncGenerator[Any, None]:
    """Each step by a library's function that calls another one in a thread, as users write it."""
    while (item := await in_thread(next, source, END)) is not END:
        yield item


def called_by(convert: Any) -> Callable[..., Any]:
    """Calls a function by its async twin, which `convert` makes."""

    def call(function: Any, *arguments: Any) -> Any:
        return convert(function)(*arguments)

    return call


@asynccontextmanager
async def ours(source: Generator[Any, Any, Any]) -> AsyncGenerator[Any]:
    """`in_thread`."""
    from asyncgen_tools import in_thread

    async with in_thread(source) as items:
        yield items


@asynccontextmanager
async def by_to_thread(source: Generator[Any, Any, Any]) -> AsyncGenerator[Any]:
    """`asyncio.to_thread(next, source)`."""
    yield stepped(source, asyncio.to_thread)


@asynccontextmanager
async def by_anyio(source: Generator[Any, Any, Any]) -> AsyncGenerator[Any]:
    """`anyio.to_thread.run_sync(next, source)`."""
    yield stepped(source, library("anyio.to_thread").run_sync)


@asynccontextmanager
async def by_asgiref(source: Generator[Any, Any, Any]) -> AsyncGenerator[Any]:
    """`sync_to_async(next)(source)`."""
    yield stepped(source, called_by(library("asgiref.sync").sync_to_async))


@asynccontextmanager
async def by_asyncer(source: Generator[Any, Any, Any]) -> AsyncGenerator[Any]:
    """`asyncify(next)(source)`."""
    yield stepped(source, called_by(library("asyncer").asyncify))


@asynccontextmanager
async def by_asyncstdlib(source: Generator[Any, Any, Any]) -> AsyncGenerator[Any]:
    """`asyncstdlib.iter(source)`."""
    async with library("asyncstdlib").scoped_iter(source) as items:
        yield items


@asynccontextmanager
async def by_aiostream(source: Generator[Any, Any, Any]) -> AsyncGenerator[Any]:
    """`aiostream.stream.iterate(source)`."""
    async with library("aiostream").stream.iterate(source).stream() as items:
        yield items


def threads_of(steps: int) -> Generator[int]:
    """In which thread each step is."""
    for _ in range(steps):
        yield threading.get_ident()


async def all_of(way: Way, source: Generator[Any, Any, Any]) -> list[Any]:
    """Every item."""
    async with way(source) as items:
        return [item async for item in items]


def leaves_the_loop_free(way: Way) -> bool:
    """No step is taken in the thread of the event loop."""
    return threading.get_ident() not in asyncio.run(all_of(way, threads_of(3)))


def one_thread(way: Way) -> bool:
    """All steps are in one thread, which is not the loop's, also when others use threads between two steps."""
    begun, release = threading.Semaphore(0), threading.Event()

    def work() -> None:
        begun.release()
        release.wait(10)

    async def main() -> bool:
        async with way(threads_of(2)) as items, asyncio.TaskGroup() as group:
            threads = {await anext(items)}
            group.create_task(asyncio.to_thread(work))
            group.create_task(library("anyio.to_thread").run_sync(work))
            for _ in range(2):
                while not begun.acquire(blocking=False):  # noqa: ASYNC110  # an Event would need a thread, too
                    await asyncio.sleep(0.01)
            threads.add(await anext(items))
            release.set()
            return len(threads) == 1 and threading.get_ident() not in threads

    return asyncio.run(main())


def keeps_variables(way: Way) -> bool:
    """A context variable that a step set is there in the next one, and can be reset."""
    variable = contextvars.ContextVar("variable", default=0)

    def setting() -> Generator[int]:
        token = variable.set(1)
        yield 1
        yield variable.get()
        variable.reset(token)

    return asyncio.run(all_of(way, setting())) == [1, 1]


def spares_the_consumer(way: Way) -> bool:
    """What the generator sets does not show in the consumer's own context."""
    variable = contextvars.ContextVar("variable", default=0)

    def setting() -> Generator[int]:
        variable.set(1)
        yield 1

    async def main() -> int:
        await all_of(way, setting())
        return variable.get()

    return asyncio.run(main()) == 0


def closes(way: Way) -> bool:
    """When the block or the wrapper is left early, the generator's `finally` has run."""
    cleaned: list[bool] = []

    def cleaning() -> Generator[int]:
        try:
            yield 1
            yield 2
        finally:
            cleaned.append(True)

    async def main() -> bool:
        source = cleaning()
        async with way(source) as items:
            await anext(items)
            if hasattr(items, "aclose"):
                await items.aclose()
        return cleaned == [True]

    return asyncio.run(main())


def sends(way: Way) -> bool:
    """`asend` reaches the generator."""

    def echo() -> Generator[Any, Any]:
        yield (yield "ready")

    async def main() -> bool:
        async with way(echo()) as items:
            await anext(items)
            return bool(await items.asend("sent") == "sent")

    return asyncio.run(main())


def on_trio(way: Way) -> bool:
    """It works under trio."""
    if way in {by_to_thread, by_asgiref}:
        raise NotOfferedError
    return bool(library("trio").run(all_of, way, threads_of(2)))


TOPIC = Topic(
    title="Sync generators in async code",
    about="Where a library has no function for a generator, each step is a call of its function for threads.",
    contenders={
        "asyncgen_tools: in_thread": ours,
        "asyncio: to_thread": by_to_thread,
        "anyio: to_thread.run_sync": by_anyio,
        "asgiref: sync_to_async": by_asgiref,
        "asyncer: asyncify": by_asyncer,
        "asyncstdlib: scoped_iter": by_asyncstdlib,
        "aiostream: stream.iterate": by_aiostream,
    },
    questions={
        "the loop stays free": leaves_the_loop_free,
        "one worker thread for all steps": one_thread,
        "context variables": keeps_variables,
        "consumer's context untouched": spares_the_consumer,
        "closed when left early": closes,
        "`asend`": sends,
        "trio": on_trio,
    },
)
