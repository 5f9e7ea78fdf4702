"""The shelf of broken generators: mistakes as users make them, each with the check that is for it.

The report must name the line marked `# here`; `alone` marks those that no other check rejects, the opt-in ones
included.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, final

from tests.shelf.tools import checkpoint

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

__all__ = ("BROKEN", "Broken")

tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")
request_id: contextvars.ContextVar[int] = contextvars.ContextVar("request_id", default=0)


FactoryT = TypeVar("FactoryT", bound="Callable[[], Any]")


@final
@dataclass(frozen=True, slots=True)
class Broken:
    """One mistake.

    Attributes:
        code: of the check that is for it.
        make: the factory.
        needs: the library that it is written for; "any" awaits nothing, or only the shelf's checkpoint.
        alone: whether no other check rejects it.
    """

    code: str
    make: Callable[[], Any]
    needs: Literal["any", "asyncio", "trio"] = "any"
    alone: bool = True

    @property
    def id(self) -> str:
        """What pytest shows."""
        return f"{self.code}-{getattr(self.make, '__name__', '?')}"

    @property
    def lines(self) -> set[int]:
        """The numbers of the lines that the report may name."""
        source, first = inspect.getsourcelines(self.make)
        return {number for number, line in enumerate(source, first) if "# here" in line}


BROKEN: list[Broken] = []


def broken(code: str, **details: Any) -> Callable[[FactoryT], FactoryT]:
    """Put a factory on the shelf."""

    def shelve(make: FactoryT) -> FactoryT:
        BROKEN.append(Broken(code, make, **details))
        return make

    return shelve


async def rows() -> AsyncGenerator[int, None]:
    """Rows of a query, whose cursor is closed at the end."""
    for number in range(3):
        await checkpoint()
        yield number


async def buffered() -> AsyncGenerator[int, None]:
    """Rows that are there already."""
    for number in range(3):
        yield number


# leak ----------------------------------------------------------------------------------------------------------------


@broken("leak")
async def loop_over_inner() -> AsyncGenerator[int, None]:
    """The first thing that comes to mind: closing it leaves the inner one open."""
    async for row in rows():  # here
        yield row * 2


@broken("leak")
async def left_at_first_match() -> AsyncGenerator[int, None]:
    """`break` drops the inner generator in the middle."""
    await checkpoint()
    yield -1
    found = 0
    async for row in rows():  # here
        if row == 1:
            found = row
            break
    await checkpoint()
    yield found


@broken("leak")
class Doubled:
    """A wrapper class whose aclose() forgets the generator that it wraps."""

    def __init__(self) -> None:
        self._rows = rows()
        self._closed = False

    def __aiter__(self) -> Doubled:
        return self

    async def __anext__(self) -> int:
        if self._closed:
            raise StopAsyncIteration
        return 2 * await anext(self._rows)  # here

    async def aclose(self) -> None:
        """Close it, or so one thinks."""
        self._closed = True


# ignored-exit --------------------------------------------------------------------------------------------------------


@broken("ignored-exit")
async def retries_everything() -> AsyncGenerator[int, None]:
    """A retry loop that catches too much."""
    for attempt in range(3):
        await checkpoint()
        try:
            yield attempt
        except BaseException:  # the mistake
            yield -1  # here


@broken("ignored-exit")
async def says_goodbye() -> AsyncGenerator[str, None]:
    """A last item from `finally`, which nobody takes when the generator is closed."""
    try:
        await checkpoint()
        yield "first"
        await checkpoint()
        yield "second"
    except GeneratorExit:
        yield "goodbye"  # here


# scope-across-yield --------------------------------------------------------------------------------------------------


@broken("scope-across-yield", needs="asyncio")
async def timeout_over_yield() -> AsyncGenerator[int, None]:
    """A timeout for the whole stream, which also times what the consumer does."""
    async with asyncio.timeout(60):
        for number in range(2):
            await asyncio.sleep(0)
            yield number  # here


@broken("scope-across-yield", needs="asyncio")
async def background_over_yield() -> AsyncGenerator[int, None]:
    """A task group that is open while the consumer runs: its errors cancel the consumer."""
    async with asyncio.TaskGroup():
        yield 1  # here
        yield 2


class Deadline:
    """Somebody's own context manager, with a timeout in it."""

    async def __aenter__(self) -> Self:
        self._timeout = asyncio.timeout(60)
        await self._timeout.__aenter__()
        return self

    async def __aexit__(self, *details: Any) -> None:  # noqa: PYI036  # as users write it
        await self._timeout.__aexit__(*details)


@broken("scope-across-yield", needs="asyncio")
async def timeout_in_own_manager() -> AsyncGenerator[int, None]:
    """The timeout is hidden in a context manager."""
    async with Deadline():
        yield 1  # here
        yield 2


class Session:
    """A context manager that keeps what it enters on an exit stack, in a slot."""

    __slots__ = ("_stack",)

    async def __aenter__(self) -> Self:
        self._stack = contextlib.AsyncExitStack()
        await self._stack.enter_async_context(asyncio.timeout(60))
        return self

    async def __aexit__(self, *details: Any) -> bool | None:  # noqa: PYI036  # as users write it
        return await self._stack.__aexit__(*details)


@broken("scope-across-yield", needs="asyncio")
async def timeout_on_managers_stack() -> AsyncGenerator[int, None]:
    """The timeout is on an exit stack, in a context manager."""
    async with Session():
        yield 1  # here
        yield 2


@contextlib.asynccontextmanager
async def grouped() -> AsyncGenerator[asyncio.TaskGroup]:
    """A task group in somebody's own @asynccontextmanager, where it may be."""
    async with asyncio.TaskGroup() as group:
        yield group


class Service:
    """A context manager around another one."""

    async def __aenter__(self) -> Self:
        self._inner = grouped()
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *details: Any) -> bool | None:  # noqa: PYI036  # as users write it
        return await self._inner.__aexit__(*details)


@broken("scope-across-yield", needs="asyncio")
async def group_in_managers_manager() -> AsyncGenerator[int, None]:
    """The task group is in a context manager in a context manager."""
    async with Service():
        yield 1  # here
        yield 2


@broken("scope-across-yield", needs="asyncio")
async def timeout_by_hand() -> AsyncGenerator[int, None]:
    """A timeout that no `with` block holds, but a closure."""
    timeout = asyncio.timeout(60)

    async def leave() -> None:
        await timeout.__aexit__(None, None, None)

    await timeout.__aenter__()
    try:
        yield 1  # here
        yield 2
    finally:
        await leave()


@contextlib.asynccontextmanager
async def workers() -> AsyncGenerator[Any]:
    """A nursery in somebody's own @asynccontextmanager, where it may be."""
    import trio

    async with trio.open_nursery() as nursery:
        yield nursery


@broken("scope-across-yield", needs="trio", alone=False)
async def nursery_in_own_manager() -> AsyncGenerator[int, None]:
    """The nursery is hidden in a context manager, which is entered over a yield."""
    async with workers():
        yield 1  # here
        yield 2


@broken("scope-across-yield", needs="trio")
async def fail_after_over_yield() -> AsyncGenerator[int, None]:
    """A deadline for the whole stream."""
    import trio

    with trio.fail_after(60):
        for number in range(2):
            await trio.lowlevel.checkpoint()
            yield number  # here


class Pool:
    """A context manager by hand around a nursery."""

    async def __aenter__(self) -> Self:
        import trio

        self._manager = trio.open_nursery()
        await self._manager.__aenter__()
        return self

    async def __aexit__(self, *details: Any) -> bool | None:  # noqa: PYI036  # as users write it
        return await self._manager.__aexit__(*details)


@broken("scope-across-yield", needs="trio", alone=False)
async def nursery_in_own_class() -> AsyncGenerator[int, None]:
    """Only the task tells that a nursery is open."""
    async with Pool():
        yield 1  # here
        yield 2


@broken("scope-across-yield", needs="trio", alone=False)
async def scope_on_exit_stack() -> AsyncGenerator[int, None]:
    """A scope entered by an exit stack."""
    import trio

    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(trio.CancelScope())
        yield 1  # here
        yield 2


async def measured() -> AsyncGenerator[int, None]:
    """An inner generator with a timeout of its own."""
    async with asyncio.timeout(None):
        await asyncio.sleep(0)
        yield 1


@broken("scope-across-yield", needs="asyncio")
async def scope_in_inner() -> AsyncGenerator[int, None]:
    """The inner generator that is iterated holds the scope, which is as bad."""
    async with contextlib.aclosing(measured()) as inner:
        async for number in inner:
            yield number  # here


# context-leak --------------------------------------------------------------------------------------------------------


@broken("context-leak", alone=False)
async def for_tenant() -> AsyncGenerator[str, None]:
    """A variable that is set over the yields, and so for the consumer, and reset in whatever context closes it."""
    token = tenant.set("acme")
    try:
        await checkpoint()
        yield "first"  # here
        await checkpoint()
        yield "second"
    finally:
        tenant.reset(token)


@broken("context-leak")
async def numbered() -> AsyncGenerator[int, None]:
    """Each step changes what the consumer sees."""
    for number in range(1, 3):
        await checkpoint()
        request_id.set(number)
        yield number  # here


@broken("context-leak")  # here
async def forgets_on_close() -> AsyncGenerator[int, None]:
    """Finalisation alone changes the variable."""
    try:
        await checkpoint()
        yield 1
    finally:
        tenant.set("closed")


# cleanup-needs-shield ------------------------------------------------------------------------------------------------


@broken("cleanup-needs-shield")
async def says_bye_to_server() -> AsyncGenerator[int, None]:
    """The goodbye is never sent when the consumer's scope is cancelled."""
    try:
        await checkpoint()
        yield 1
        await checkpoint()
        yield 2
    finally:
        await checkpoint()  # here


@broken("cleanup-needs-shield")
async def rolls_back() -> AsyncGenerator[int, None]:
    """A transaction that is rolled back by a request, which fails when a step is cancelled."""
    await checkpoint()
    yield 1
    try:
        await checkpoint()
    except BaseException:
        await checkpoint()  # here
        raise
    yield 2


@broken("cleanup-needs-shield", alone=False)
async def acquires_before_try() -> AsyncGenerator[int, None]:
    """A lease that is taken before its try, and given back by a request."""
    await checkpoint()
    await checkpoint()
    try:
        async for row in rows():
            yield row
    finally:
        await checkpoint()  # here


# cancel-swallowed ----------------------------------------------------------------------------------------------------


@broken("cancel-swallowed", needs="asyncio")
async def treats_cancel_as_end() -> AsyncGenerator[int, None]:
    """The consumer's task is cancelled, and sees the stream end."""
    await asyncio.sleep(0)
    yield 1
    try:
        await asyncio.sleep(0)  # here
    except asyncio.CancelledError:
        return
    yield 2


@broken("cancel-swallowed", needs="trio")
async def suppresses_cancel() -> AsyncGenerator[int, None]:
    """A poll that is skipped when cancelled."""
    import trio

    with contextlib.suppress(trio.Cancelled):
        await trio.lowlevel.checkpoint()  # here
    yield 1


@broken("cancel-swallowed", needs="asyncio")
async def logs_and_goes_on() -> AsyncGenerator[int, None]:
    """`except BaseException` around a wait."""
    for number in range(2):
        try:
            await asyncio.sleep(0)  # here
        except BaseException:  # the mistake
            number = -1  # noqa: PLW2901  # what users write
        yield number


# reentrancy ----------------------------------------------------------------------------------------------------------


@broken("reentrancy")
class FanIn:
    """A fan-in that is written by hand and lets two consumers in, who steal each other's items."""

    def __init__(self) -> None:
        self._items = [1, 2, 3]
        self._begun = False

    def __aiter__(self) -> FanIn:
        return self

    async def __anext__(self) -> int:
        return await self.asend(None)

    async def asend(self, value: object) -> int:
        """Give the next item."""
        if value is not None and not self._begun:
            raise TypeError("can't send non-None value to a just-started async generator")
        self._begun = True
        if not self._items:
            raise StopAsyncIteration
        await checkpoint()  # here
        return self._items.pop(0) if self._items else -1

    async def athrow(self, error: BaseException | type[BaseException]) -> int:
        """End with the error."""
        self._items.clear()
        raise error

    async def aclose(self) -> None:
        """End."""
        self._items.clear()


@broken("reentrancy")
class TakesDownGuard:
    """A guard that is taken down by the one whom it refuses: the step that runs meanwhile stumbles over that."""

    def __init__(self) -> None:
        self._rows = buffered()
        self._running = False

    def __aiter__(self) -> TakesDownGuard:
        return self

    async def _guarded(self, step: Callable[[], Any]) -> Any:
        try:
            if self._running:
                raise RuntimeError("already running")
            self._running = True
            await checkpoint()  # here
            result = await step()
            if not self._running:
                raise ValueError("who took down the guard?")
            return result
        finally:
            self._running = False

    async def __anext__(self) -> Any:
        return await self._guarded(self._rows.__anext__)

    async def asend(self, value: Any) -> Any:
        """Send a value."""
        return await self._guarded(lambda: self._rows.asend(value))

    async def athrow(self, error: Any) -> Any:
        """Throw an error in."""
        return await self._guarded(lambda: self._rows.athrow(error))

    async def aclose(self) -> None:
        """Close it."""
        if self._running:
            raise RuntimeError("already running")
        await self._rows.aclose()


# exhausted -----------------------------------------------------------------------------------------------------------


@broken("exhausted")
class Restarting:
    """An iterator that begins anew when it is asked after its end."""

    def __init__(self) -> None:
        self._number = 0

    def __aiter__(self) -> Restarting:
        return self

    async def __anext__(self) -> int:  # here
        await checkpoint()
        self._number += 1
        if self._number == 3:
            self._number = 0
            raise StopAsyncIteration
        return self._number


@broken("exhausted")
class ClosedOnce:
    """aclose() deletes what a second aclose() needs."""

    def __init__(self) -> None:
        self._rows: Any = rows()

    def __aiter__(self) -> ClosedOnce:
        return self

    async def __anext__(self) -> Any:
        if not hasattr(self, "_rows"):
            raise StopAsyncIteration
        return await anext(self._rows)

    async def aclose(self) -> None:
        """Close it."""
        await self._rows.aclose()  # here
        del self._rows


# protocol ------------------------------------------------------------------------------------------------------------


@broken("protocol")
class DropsSend:
    """A wrapper class that drops what is sent."""

    def __init__(self) -> None:
        self._rows = rows()

    def __aiter__(self) -> DropsSend:
        return self

    def __anext__(self) -> Any:  # here
        return self._rows.__anext__()

    def asend(self, value: object) -> Any:
        """Send a value, or so one thinks."""
        del value
        return self._rows.__anext__()

    def athrow(self, error: Any) -> Any:
        """Throw an error in."""
        return self._rows.athrow(error)

    def aclose(self) -> Any:
        """Close it."""
        return self._rows.aclose()


@broken("protocol")
class CopiesErrors:
    """A wrapper that throws another error in than it was given."""

    def __init__(self) -> None:
        self._rows = rows()

    def __aiter__(self) -> CopiesErrors:
        return self

    def __anext__(self) -> Any:  # here
        return self._rows.__anext__()

    def asend(self, value: Any) -> Any:
        """Send a value."""
        return self._rows.asend(value)

    def athrow(self, error: Any) -> Any:
        """Throw an error in."""
        return self._rows.athrow(error if isinstance(error, type) else type(error)(*error.args))

    def aclose(self) -> Any:
        """Close it."""
        return self._rows.aclose()


@broken("protocol")
class Refreshing:
    """An iterator whose awaitables take a step each time that they are awaited."""

    def __init__(self) -> None:
        self.left = 4

    def __aiter__(self) -> Refreshing:
        return self

    def __anext__(self) -> Refresh:  # here
        return Refresh(self)


class Refresh:
    """One step, again and again."""

    def __init__(self, source: Refreshing) -> None:
        self._source = source

    def __await__(self) -> Any:
        if self._source.left == 0:
            raise StopAsyncIteration
        self._source.left -= 1
        yield from checkpoint().__await__()
        return self._source.left


# wrong-task ----------------------------------------------------------------------------------------------------------


@broken("wrong-task", needs="asyncio")
async def knows_its_task() -> AsyncGenerator[int, None]:
    """It notes its task at the start, and insists on it."""
    await asyncio.sleep(0)
    task = asyncio.current_task()
    for number in range(2):
        await asyncio.sleep(0)
        if asyncio.current_task() is not task:
            raise RuntimeError("stepped by another task")  # here
        yield number


@broken("wrong-task", needs="trio")
async def knows_its_trio_task() -> AsyncGenerator[int, None]:
    """The same on trio, noticed when it is closed."""
    import trio

    task = trio.lowlevel.current_task()
    try:
        await trio.lowlevel.checkpoint()
        yield 1
        await trio.lowlevel.checkpoint()
        yield 2
    finally:
        if trio.lowlevel.current_task() is not task:
            raise RuntimeError("closed by another task")  # here


# no-checkpoint -------------------------------------------------------------------------------------------------------


@broken("no-checkpoint", needs="trio")
async def from_buffer() -> AsyncGenerator[int, None]:
    """What is buffered comes without a checkpoint."""
    for number in range(3):
        yield number  # here


@broken("no-checkpoint", needs="trio")
async def every_other() -> AsyncGenerator[int, None]:
    """Only every other item is waited for."""
    for number in range(4):
        if number % 2 == 0:
            await checkpoint()
        yield number  # here
