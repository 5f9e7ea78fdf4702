"""Async generators from synchronous code."""

from __future__ import annotations

import asyncio
import contextvars
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.comparison.asking import NotOfferedError, Topic, library

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator


class Stepping:
    """A generator made by hand over a function that makes sync calls of async functions: a call for each step."""

    def __init__(self, call: Callable[[Callable[[], Any]], Any], source: AsyncGenerator[Any, Any]) -> None:
        self.call = call
        self.source = source

    def __iter__(self) -> Stepping:
        return self

    def step(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """One step; the end is told by StopIteration."""

        async def stepped() -> Any:
            try:
                return await function(*arguments)
            except StopAsyncIteration:
                return self

        item = self.call(stepped)
        if item is self:
            raise StopIteration
        return item

    def __next__(self) -> Any:
        return self.step(self.source.__anext__)

    def send(self, value: Any) -> Any:
        """`asend`."""
        return self.step(self.source.asend, value)

    def throw(self, error: BaseException) -> Any:
        """`athrow`."""
        return self.step(self.source.athrow, error)


class Way:
    """How a library takes the steps of a generator: `with way.opened() as drive: drive(function)`."""

    one_call = False

    @contextmanager
    def opened(self, backend: str = "asyncio") -> Generator[Callable[[Callable[[], Any]], Any]]:
        """What makes a sync generator of an async generator function."""
        raise NotImplementedError


class Ours(Way):
    """`drive`."""

    one_call = True

    @contextmanager
    def opened(self, backend: str = "asyncio") -> Generator[Callable[[Callable[[], Any]], Any]]:
        """`drive`."""
        from asyncgen_tools import drive

        yield lambda function: drive(function(), backend=backend)


class OurPortal(Way):
    """`Portal.drive`."""

    one_call = True

    @contextmanager
    def opened(self, backend: str = "asyncio") -> Generator[Callable[[Callable[[], Any]], Any]]:
        """`Portal.drive`."""
        from asyncgen_tools import Portal

        with Portal(backend=backend) as portal:
            yield lambda function: portal.drive(function())


class RunUntilComplete(Way):
    """`loop.run_until_complete` for each step."""

    @contextmanager
    def opened(self, backend: str = "asyncio") -> Generator[Callable[[Callable[[], Any]], Any]]:
        """A call of the loop for each step."""
        if backend != "asyncio":
            raise NotOfferedError
        loop = asyncio.new_event_loop()
        try:
            yield lambda function: Stepping(lambda step: loop.run_until_complete(step()), function())
        finally:
            loop.close()


class Asgiref(Way):
    """`async_to_sync` for each step."""

    @contextmanager
    def opened(self, backend: str = "asyncio") -> Generator[Callable[[Callable[[], Any]], Any]]:
        """A call of `async_to_sync` for each step."""
        if backend != "asyncio":
            raise NotOfferedError
        async_to_sync = library("asgiref.sync").async_to_sync
        yield lambda function: Stepping(lambda step: async_to_sync(step)(), function())


class AnyioPortal(Way):
    """`BlockingPortal.call` for each step."""

    @contextmanager
    def opened(self, backend: str = "asyncio") -> Generator[Callable[[Callable[[], Any]], Any]]:
        """A call of the portal for each step."""
        with library("anyio.from_thread").start_blocking_portal(backend) as portal:
            yield lambda function: Stepping(portal.call, function())


class Asyncer(Way):
    """`syncify` in a worker thread of asyncer's: for each step."""

    @contextmanager
    def opened(self, backend: str = "asyncio") -> Generator[Callable[[Callable[[], Any]], Any]]:
        """`syncify` needs a thread that `asyncify` began; without one it has to make an event loop for each call."""
        syncify = library("asyncer").syncify
        if backend != "asyncio":
            raise NotOfferedError
        yield lambda function: Stepping(lambda step: syncify(step, raise_sync_error=False)(), function())


class Synchronicity(Way):
    """`Synchronizer.create_blocking` of the generator function."""

    one_call = True

    @contextmanager
    def opened(self, backend: str = "asyncio") -> Generator[Callable[[Callable[[], Any]], Any]]:
        """A sync twin of the function."""
        if backend != "asyncio":
            raise NotOfferedError
        synchronizer = library("synchronicity").Synchronizer()
        yield lambda function: synchronizer.create_blocking(function)()


class Greenback(Way):
    """`greenback.async_iter`, or `await_` for each step, in sync code that an async task calls."""

    one_call = True

    @contextmanager
    def opened(self, backend: str = "asyncio") -> Generator[Callable[[Callable[[], Any]], Any]]:
        """Only inside a task, on whatever loop that is: see `inside`."""
        del backend
        greenback = library("greenback")

        def drive(function: Callable[[], Any]) -> Any:
            return Stepping(lambda step: greenback.await_(step()), function())

        yield drive


def inside(way: Way, ask: Callable[[Callable[..., Any]], bool], backend: str = "asyncio") -> bool:
    """Ask in sync code, which greenback needs to be called from a task; all others are called from no loop."""
    if not isinstance(way, Greenback):
        with way.opened(backend) as drive:
            return ask(drive)
    greenback = library("greenback")

    async def main() -> bool:
        await greenback.ensure_portal()
        with way.opened(backend) as drive:
            return ask(drive)

    return bool(asyncio.run(main()) if backend == "asyncio" else library("trio").run(main))


def in_one_call(way: Way) -> bool:
    """The library has a function that takes the generator, and what that gives is iterated by `for`."""
    if not way.one_call:
        raise NotOfferedError

    async def numbers() -> AsyncGenerator[int, None]:
        yield 1
        yield 2

    if isinstance(way, Greenback):
        return inside(way, lambda _drive: list(library("greenback").async_iter(numbers())) == [1, 2])
    return inside(way, lambda drive: list(drive(numbers)) == [1, 2])


def without_a_loop(way: Way) -> bool:
    """All items arrive in a thread in which no event loop runs."""

    async def numbers() -> AsyncGenerator[int, None]:
        yield 1
        await asyncio.sleep(0)
        yield 2

    with way.opened() as drive:
        return list(drive(numbers)) == [1, 2]


def sends(way: Way) -> bool:
    """A value that is sent is the value of the `yield`."""

    async def echo() -> AsyncGenerator[Any, Any]:
        yield (yield "ready")

    def ask(drive: Callable[..., Any]) -> bool:
        generator = drive(echo)
        return [next(generator), generator.send("sent")] == ["ready", "sent"]

    return inside(way, ask)


def throws(way: Way) -> bool:
    """An exception that is thrown in is raised at the `yield`."""

    async def catching() -> AsyncGenerator[str, None]:
        try:
            yield "ready"
        except KeyError:
            yield "caught"

    def ask(drive: Callable[..., Any]) -> bool:
        generator = drive(catching)
        return [next(generator), generator.throw(KeyError())] == ["ready", "caught"]

    return inside(way, ask)


def keeps_timeouts(way: Way) -> bool:
    """`asyncio.timeout` around the body ends it in time."""

    async def limited() -> AsyncGenerator[int, None]:
        async with asyncio.timeout(0.2):
            yield 1
            await asyncio.sleep(2)
            yield 2

    def ask(drive: Callable[..., Any]) -> bool:
        begun = time.monotonic()
        try:
            list(drive(limited))
        except TimeoutError:
            return time.monotonic() - begun < 1
        return False

    return inside(way, ask)


def keeps_scopes(way: Way) -> bool:
    """A task group of anyio may be held over a `yield`."""
    anyio = library("anyio")

    async def grouped() -> AsyncGenerator[int, None]:
        async with anyio.create_task_group():
            yield 1
            yield 2

    return inside(way, lambda drive: list(drive(grouped)) == [1, 2])


def keeps_variables(way: Way) -> bool:
    """A context variable that was set before a `yield` is seen, and can be reset, after it."""
    variable = contextvars.ContextVar("variable", default=0)

    async def setting() -> AsyncGenerator[int, None]:
        token = variable.set(1)
        yield 1
        yield variable.get()
        variable.reset(token)

    return inside(way, lambda drive: list(drive(setting)) == [1, 1])


def closes_at_once(way: Way) -> bool:
    """When the loop is left at its second item, the generator's `finally`, which awaits, has run on the next line."""
    cleaned: list[bool] = []

    async def cleaning() -> AsyncGenerator[int, None]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    def ask(drive: Callable[..., Any]) -> bool:
        last = 0
        for item in drive(cleaning):
            last = item
            if item == 2:
                break
        return last == 2 and cleaned == [True]

    return inside(way, ask)


def runs_trio(way: Way) -> bool:
    """The generator may use trio."""
    trio = library("trio")

    async def sleeping() -> AsyncGenerator[int, None]:
        await trio.sleep(0)
        yield 1

    return inside(way, lambda drive: list(drive(sleeping)) == [1], "trio")


def in_a_callback(way: Way) -> bool:
    """It works in sync code that a running event loop has called."""

    async def numbers() -> AsyncGenerator[int, None]:
        yield 1
        await asyncio.sleep(0)
        yield 2

    async def main() -> bool:
        if isinstance(way, Greenback):
            await library("greenback").ensure_portal()
        with ExitStack() as stack:
            drive = stack.enter_context(way.opened())
            return list(drive(numbers)) == [1, 2]

    return asyncio.run(main())


TOPIC = Topic(
    title="Async generators from synchronous code",
    about="Where a library has no function for a generator, its function for calls is called for each step.",
    contenders={
        "asyncgen_tools: drive": Ours(),
        "asyncgen_tools: Portal": OurPortal(),
        "asyncio: run_until_complete": RunUntilComplete(),
        "asgiref: async_to_sync": Asgiref(),
        "anyio: BlockingPortal": AnyioPortal(),
        "asyncer: syncify": Asyncer(),
        "synchronicity: Synchronizer": Synchronicity(),
        "greenback: await_, async_iter": Greenback(),
    },
    questions={
        "one function takes the generator": in_one_call,
        "all items, where no loop runs": without_a_loop,
        "the same under a running loop": in_a_callback,
        "`send`": sends,
        "`throw`": throws,
        "timeout held over a `yield`": keeps_timeouts,
        "task group held over a `yield`": keeps_scopes,
        "context variables": keeps_variables,
        "`break` cleans up at once": closes_at_once,
        "trio": runs_trio,
    },
)
