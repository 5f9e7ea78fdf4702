"""The shelf of good generators: what no check may reject, on any backend, the opt-in checks included.

Native, delegating, class-based and of `contextlib`; with locks, closed scopes and shielded cleanup in the places where
a false alarm is to be feared.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import decimal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, final

import anyio

from asyncgen_tools import (
    AsAsyncGenerator,
    AsAsyncIterator,
    concurrent_map,
    delegating,
    hosted,
    in_thread,
    set_return_value,
    yield_from,
)
from tests.shelf.tools import checkpoint, checkpoint_shielded, library

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

__all__ = ("GOOD", "Good")

tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


FactoryT = TypeVar("FactoryT", bound="Callable[[], Any]")


@final
@dataclass(frozen=True, slots=True)
class Good:
    """One good generator.

    Attributes:
        make: the factory.
        needs: the library that it is written for; "loop" is asyncio or trio.
        not_for: checks that do not concern it, with the reason beside the entry.
    """

    make: Callable[[], Any]
    needs: Literal["any", "loop", "asyncio", "trio"] = "any"
    not_for: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """What pytest shows."""
        name: str = getattr(self.make, "__name__", "?")
        return name


GOOD: list[Good] = []


def good(**details: Any) -> Callable[[FactoryT], FactoryT]:
    """Put a factory on the shelf."""

    def shelve(make: FactoryT) -> FactoryT:
        GOOD.append(Good(make, **details))
        return make

    return shelve


@good()
async def numbers() -> AsyncGenerator[int, Any]:
    """The simplest."""
    for number in range(3):
        await checkpoint()
        yield number


@good()
async def endless() -> AsyncGenerator[int, Any]:
    """It never ends by itself."""
    number = 0
    while True:
        await checkpoint()
        yield number
        number += 1


@good()
async def echo() -> AsyncGenerator[Any, Any]:
    """Gives back what is sent, and takes errors."""
    received: Any = "ready"
    for _ in range(3):
        await checkpoint()
        try:
            received = yield received
        except ValueError as error:
            received = error


@good()
async def closing_inner() -> AsyncGenerator[int, Any]:
    """An inner generator, closed in any case."""
    async with contextlib.aclosing(numbers()) as inner:
        async for number in inner:
            yield number


@good()
async def cleans_up() -> AsyncGenerator[int, Any]:
    """Cleanup that awaits, shielded."""
    try:
        await checkpoint()
        yield 1
        await checkpoint()
        yield 2
    finally:
        await checkpoint_shielded()


@good()
async def raises_at_the_end() -> AsyncGenerator[int, Any]:
    """An error is an end like another."""
    await checkpoint()
    yield 1
    await checkpoint()
    raise OSError("the connection was lost")


@good()
async def passes_cancellation_on() -> AsyncGenerator[int, Any]:
    """It notes a cancellation, and raises it again."""
    for number in range(2):
        try:
            await checkpoint()
        except BaseException:
            numbers_seen.append(number)
            raise
        yield number


numbers_seen: list[int] = []


@good(needs="loop")
async def scope_within_step() -> AsyncGenerator[int, Any]:
    """A scope that is left before each yield."""
    for number in range(2):
        with anyio.CancelScope():
            await checkpoint()
        with anyio.move_on_after(60):
            await checkpoint()
        yield number


@good(needs="loop")
async def group_within_step() -> AsyncGenerator[int, Any]:
    """A task group that has ended before the yield."""
    for number in range(2):
        async with anyio.create_task_group() as group:
            group.start_soon(checkpoint)
        yield number


@good(needs="asyncio")
async def asyncio_scopes_within_step() -> AsyncGenerator[int, Any]:
    """Asyncio's own, which have been left; the objects are still there."""
    for number in range(2):
        async with asyncio.timeout(60) as timeout:
            await asyncio.sleep(0)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        yield number
        del timeout, group


@good(needs="trio")
async def trio_scopes_within_step() -> AsyncGenerator[int, Any]:
    """Trio's own, which have been left; the objects are still there."""
    import trio

    for number in range(2):
        with trio.move_on_after(60) as scope:
            await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(checkpoint)
        yield number
        del scope, nursery


@good(needs="loop")
async def lock_over_yield() -> AsyncGenerator[int, Any]:
    """A lock that is held while suspended is no cancel scope."""
    lock = anyio.Semaphore(1)
    async with lock:
        await checkpoint()
        yield 1
        await checkpoint()
        yield 2


@good(needs="asyncio")
async def asyncio_lock_over_yield() -> AsyncGenerator[int, Any]:
    """The same with asyncio's."""
    lock = asyncio.Lock()
    async with lock:
        await asyncio.sleep(0)
        yield 1


@contextlib.contextmanager
def opened() -> Generator[str]:
    """A helper of somebody's own."""
    yield "opened"


@contextlib.asynccontextmanager
async def connected() -> AsyncGenerator[str]:
    """An async helper of somebody's own, with a scope that it leaves before its yield."""
    with anyio.CancelScope() if library() != "bare" else contextlib.nullcontext():
        await checkpoint()
    yield "connected"


@good()
async def helpers_over_yield() -> AsyncGenerator[str, Any]:
    """Helpers of `contextlib` are no scopes."""
    with contextlib.suppress(KeyError), opened() as first, contextlib.ExitStack() as stack:
        stack.enter_context(opened())
        async with connected() as second, contextlib.AsyncExitStack() as async_stack:
            await async_stack.enter_async_context(connected())
            await checkpoint()
            yield first
            await checkpoint()
            yield second


class Client:
    """An object that has a scope of somebody else, long left."""

    def __init__(self) -> None:
        self.scope: Any = None

    async def __aenter__(self) -> Self:
        async with asyncio.timeout(60) as self.scope:
            await asyncio.sleep(0)
        async with asyncio.TaskGroup() as self.group:
            pass
        return self

    async def __aexit__(self, *details: object) -> None:
        self.scope = None


@good(needs="asyncio")
async def client_with_closed_scope() -> AsyncGenerator[int, Any]:
    """What it holds over the yield only remembers a timeout."""
    async with Client():
        await asyncio.sleep(0)
        yield 1


async def timed_numbers() -> AsyncGenerator[int, Any]:
    """Holds a timeout over its yields, which is right where it has a task of its own."""
    async with asyncio.timeout(60):
        for number in range(3):
            await asyncio.sleep(0)
            yield number


async def pump(source: AsyncGenerator[int, Any], queue: asyncio.Queue[int | None]) -> None:
    """Hand on what a generator yields."""
    async with contextlib.aclosing(source):
        async for number in source:
            await queue.put(number)
    await queue.put(None)


@good(needs="asyncio")
async def pumped() -> AsyncGenerator[int, Any]:
    """The inner generator has its timeout in a task of its own, though it is a local of this one."""
    source = timed_numbers()
    queue = asyncio.Queue[int | None](1)
    task = asyncio.create_task(pump(source, queue))
    try:
        while (number := await queue.get()) is not None:
            yield number
    finally:
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])


class Server:
    """A context manager with scopes in a task of its own."""

    async def __aenter__(self) -> Self:
        self._ready, self._stop = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._run())
        try:
            await self._ready.wait()
        except BaseException:
            self._task.cancel()
            raise
        return self

    async def _run(self) -> None:
        async with asyncio.timeout(60) as self._timeout, asyncio.TaskGroup() as self._group:
            self._ready.set()
            await self._stop.wait()

    async def __aexit__(self, *details: object) -> None:
        self._stop.set()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([self._task])


@good(needs="asyncio")
async def served() -> AsyncGenerator[int, Any]:
    """The server's timeout and task group belong to the server's task."""
    async with Server():
        yield 1
        yield 2


async def scoped_numbers() -> AsyncGenerator[int, Any]:
    """Holds a deadline over its yields, which is right where it has a task of its own."""
    with anyio.fail_after(60):
        for number in range(3):
            await checkpoint()
            yield number


async def scoped_pump(source: AsyncGenerator[int, Any], sender: Any, done: anyio.Event) -> None:
    """Hand on what a generator yields."""
    try:
        async with contextlib.aclosing(source), sender:
            async for number in source:
                await sender.send(number)
    except anyio.BrokenResourceError:
        pass  # nobody reads on
    finally:
        done.set()


@good(needs="loop")
async def pumped_by_system_task() -> AsyncGenerator[int, Any]:
    """The inner generator has its scope in a task of its own, though it is a local of this one."""
    source = scoped_numbers()
    sender, receiver = anyio.create_memory_object_stream[int](0)
    done = anyio.Event()
    if library() == "trio":
        import trio

        trio.lowlevel.spawn_system_task(scoped_pump, source, sender, done)
    else:
        background.append(asyncio.create_task(scoped_pump(source, sender, done)))
    try:
        async with receiver:
            async for number in receiver:
                yield number
    finally:
        with anyio.CancelScope(shield=True):
            await done.wait()


background: list[Any] = []  # asyncio itself keeps no task


@good()
async def variable_within_step() -> AsyncGenerator[str, Any]:
    """A variable that is reset before each yield; and decimal, which makes its context when first asked."""
    for _ in range(2):
        token = tenant.set("acme")
        await checkpoint()
        text = f"{tenant.get()} {decimal.Decimal(1) / 3}"
        tenant.reset(token)
        yield text


@good()
@delegating
async def delegator() -> AsyncGenerator[int, Any]:
    """PEP 828's delegation, with a return value."""
    await checkpoint()
    yield -1
    await set_return_value(await yield_from(numbers()))
    return


@good()
@delegating
async def deep_delegator() -> AsyncGenerator[int, Any]:
    """Through several levels."""
    await yield_from(delegator())
    await yield_from(cleans_up())
    await checkpoint()
    yield -2


@good(not_for=("no-checkpoint",))  # an iterator over what is there already has nothing to wait for
def as_async_iterator() -> Any:
    """The recipe over a list."""
    return AsAsyncIterator([1, 2, 3])


@good(not_for=("no-checkpoint",))  # the same
def as_async_generator() -> Any:
    """The recipe over a sync generator."""
    return AsAsyncGenerator(number for number in range(3))


@good()
class Countdown:
    """A plain async iterator, and no more."""

    def __init__(self) -> None:
        self._left = 3

    def __aiter__(self) -> Countdown:
        return self

    async def __anext__(self) -> int:
        await checkpoint()
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        return self._left


@good()
class Listing:
    """An async iterable, whose iterator is an async generator."""

    async def __aiter__(self) -> AsyncGenerator[int, Any]:
        for number in range(2):
            await checkpoint()
            yield number


@good()
class Channel:
    """An iterator with a close, whose use by several consumers at once is meant."""

    def __init__(self) -> None:
        self._items = [1, 2, 3]
        self._closed = False

    def __aiter__(self) -> Channel:
        return self

    async def __anext__(self) -> int:
        await checkpoint()
        if self._closed:
            raise RuntimeError("the channel is closed")
        if not self._items:
            raise StopAsyncIteration
        return self._items.pop(0)

    async def aclose(self) -> None:
        """Close it, as often as one likes."""
        self._closed = True


@good()
class Wrapper:
    """A class-based async generator that hands everything on."""

    def __init__(self) -> None:
        self._inner = echo()

    def __aiter__(self) -> Wrapper:
        return self

    def __anext__(self) -> Any:
        return self._inner.__anext__()

    def asend(self, value: Any) -> Any:
        """Send a value."""
        return self._inner.asend(value)

    def athrow(self, error: Any) -> Any:
        """Throw an error in."""
        return self._inner.athrow(error)

    def aclose(self) -> Any:
        """Close it."""
        return self._inner.aclose()


@good(needs="loop")
async def through_host() -> AsyncGenerator[int, Any]:
    """A generator that is hosted: whoever closes this one waits for the cleanup in the host."""
    async with hosted(cleans_up()) as generator:
        async for number in generator:
            yield number


async def limited_numbers() -> AsyncGenerator[int, Any]:
    """Holds scopes over its yields, which only a host makes good."""
    with anyio.CancelScope():
        async with anyio.create_task_group():
            for number in range(2):
                await checkpoint()
                yield number


@good(needs="loop")
@delegating
async def delegates_to_host() -> AsyncGenerator[int, Any]:
    """The host keeps what is open over a yield to itself."""
    async with hosted(limited_numbers()) as generator:
        await yield_from(generator)
    await checkpoint()
    yield -1


def sync_echo() -> Generator[Any, Any, str]:
    """A sync generator that takes values and errors."""
    received: Any = "ready"
    for _ in range(3):
        try:
            received = yield received
        except ValueError as error:
            received = error
    return "done"


@good(needs="loop")
def threaded() -> Any:
    """A sync generator in its thread."""
    return in_thread(sync_echo)


@good(needs="loop")
def threaded_in_turn() -> Any:
    """The same; each step waits for a token, and so does the close."""
    return in_thread(sync_echo, limiter=anyio.CapacityLimiter(1))


# Nothing can be sent into a thread that has run ahead; what refuses to be thrown into has not ended by that; and an
# item that is there already is not waited for.
@good(needs="loop", not_for=("protocol", "exhausted", "no-checkpoint"))
def threaded_ahead() -> Any:
    """A sync generator in its thread, ahead of its consumer."""
    return in_thread(sync_echo, prefetch=2)


@good(needs="loop")
async def from_thread() -> AsyncGenerator[Any, Any]:
    """What runs in a thread, in a block that is held over the yields."""
    async with in_thread(sync_echo) as items:
        async for item in items:
            yield item


async def doubled(number: int) -> int:
    """A call of the map below."""
    await checkpoint()
    return 2 * number


async def mapped() -> AsyncGenerator[int, Any]:
    """Holds the task group of a `concurrent_map` over its yields, which needs a host."""
    async with concurrent_map(doubled, numbers(), limit=2) as results:
        async for result in results:
            yield result


@good(needs="loop")
async def mapped_in_host() -> AsyncGenerator[int, Any]:
    """With the host that it needs."""
    async with hosted(mapped()) as generator:
        async for result in generator:
            yield result


@good(needs="loop")
async def shielded_sleep() -> AsyncGenerator[int, Any]:
    """Shielded cleanup that takes its time: on trio a sleep ends by a cancellation of its own."""
    try:
        await checkpoint()
        yield 1
        await checkpoint()
        yield 2
    finally:
        with anyio.move_on_after(5, shield=True):
            await anyio.sleep(0.0001)


@good(needs="loop")
async def shielded_deadline() -> AsyncGenerator[int, Any]:
    """Shielded cleanup whose deadline passes: that is no cancellation of the consumer's."""
    try:
        await checkpoint()
        yield 1
    finally:
        with anyio.move_on_after(0.0001, shield=True):
            await anyio.sleep_forever()


@good(needs="asyncio")
async def cancels_its_child() -> AsyncGenerator[int, Any]:
    """A child's cancellation is no cancellation of the task that waits for it, which `cancelling()` tells."""
    for number in range(2):
        task = asyncio.create_task(asyncio.sleep(3600))
        try:
            await asyncio.sleep(0)
        finally:
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
        yield number


@good(needs="asyncio")
async def deadline_within_step() -> AsyncGenerator[int, Any]:
    """A timeout of its own, which passes, is no cancellation of the consumer's, and what follows is no cleanup."""
    for number in range(2):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        await asyncio.sleep(0)
        yield number


async def stubborn() -> None:
    """Ends when it is cancelled, as if it had not been."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0.001)


@good(needs="asyncio")
async def cancellation_ends_in_child() -> AsyncGenerator[int, Any]:
    """A cancellation that the awaited task kept for itself has not been delivered; one that comes later is another."""
    for number in range(2):
        await asyncio.create_task(stubborn())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        yield number


@good()
@delegating
async def deepest_delegator() -> AsyncGenerator[int, Any]:
    """Delegation below the user's own context managers, which are held over the yields."""
    async with contextlib.AsyncExitStack() as stack:
        inner = await stack.enter_async_context(contextlib.aclosing(numbers()))
        await stack.enter_async_context(connected())
        await yield_from(inner)
        await yield_from(deep_delegator())
        await checkpoint()
        yield -3


class Proxy:
    """A wrapper that finds most of what it hands on by `__getattr__`."""

    def __init__(self, inner: AsyncGenerator[Any, Any]) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Any:
        return self._inner.__anext__()


@good()
def proxy() -> Any:
    """It, around a generator that takes values and errors."""
    return Proxy(echo())


@good()
async def comprehended() -> AsyncGenerator[int, Any]:
    """An async comprehension, and an async generator expression that is closed."""
    async with contextlib.aclosing(numbers()) as inner:
        found = [number async for number in inner]
    async with contextlib.aclosing(numbers()) as inner:
        async with contextlib.aclosing(number + found[0] async for number in inner) as expression:
            async for number in expression:
                yield number


@good(needs="loop")
async def channelled() -> AsyncGenerator[int, Any]:
    """A memory channel that is open over the yields."""
    sender, receiver = anyio.create_memory_object_stream[int](3)
    async with sender, receiver:
        for number in range(3):
            sender.send_nowait(number)
        sender.close()
        async for number in receiver:
            yield number
