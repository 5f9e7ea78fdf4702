"""What drive, driven and Runner take and give: item, send and return types pass through, parameters are kept."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, suppress
from typing import Any, assert_type

from asyncgen_tools import Runner, SyncGenerator, drive, driven
from asyncgen_tools.protocols import ReturningAsyncGenerator


async def echo(first: int, *, times: int = 1) -> AsyncGenerator[int, str]:
    """An async generator function, as users write them."""
    for _ in range(times):
        print((yield first))


@asynccontextmanager
async def opened(name: str) -> AsyncGenerator[bytes]:
    """An async context manager, as users write them."""
    yield name.encode()


def driving(
    returning: ReturningAsyncGenerator[int, str, bytes], iterator: AsyncIterator[int], iterable: AsyncIterable[int]
) -> None:
    """Items, sent values and the return value keep their types; what cannot be sent to takes None."""
    assert_type(drive(echo(1)), SyncGenerator[int, str, None])
    assert_type(drive(returning), SyncGenerator[int, str, bytes])
    assert_type(drive(iterator), SyncGenerator[int, None, None])
    assert_type(drive(iterable), SyncGenerator[int, None, None])
    drive(echo(1), backend="trio", backend_options={"clock": None}, context=contextvars.copy_context(), timeout=1)
    for item in drive(echo(1)):
        assert_type(item, int)
    with drive(echo(1)) as items:
        assert_type(items, SyncGenerator[int, str, None])


async def coroutine() -> int:
    """A coroutine function."""
    return 1


def not_driven(iterable: Iterable[int]) -> None:
    """What is no source is refused, and so are options that are not named."""
    drive(iterable)  # type: ignore[call-overload]
    drive(echo)  # type: ignore[call-overload]  # not called
    drive(coroutine())  # type: ignore[call-overload]
    drive(source=echo(1))  # type: ignore[call-overload]  # positional only
    drive(echo(1), "trio")  # type: ignore[call-overload]  # keyword only
    drive(echo(1), timeout="1")  # type: ignore[call-overload]
    drive(echo(1)).send(1)  # type: ignore[arg-type]
    drive(echo(1), backend=1)  # type: ignore[call-overload]


bare_decorator = driven(echo)
with_options = driven(backend="trio", backend_options={"restrict_keyboard_interrupt_to_checkpoints": True})(echo)
assert_type(bare_decorator(1, times=2), SyncGenerator[int, str, None])
assert_type(with_options(1, times=2), SyncGenerator[int, str, None])
bare_decorator("1")  # type: ignore[arg-type]
bare_decorator(1, 2)  # type: ignore[call-arg]
with_options(1, time=2)  # type: ignore[call-arg]
driven(coroutine)  # type: ignore[arg-type]  # not an async generator function
driven(len)  # type: ignore[arg-type]


class Api:
    """Driven methods of all three kinds."""

    @driven
    async def method(self, number: int) -> AsyncGenerator[int, None]:
        """A method."""
        yield number

    @driven(backend="trio")
    async def method_on_trio(self, number: int) -> AsyncGenerator[int, None]:
        """A method, with options."""
        yield number

    @classmethod
    @driven
    async def of_class(cls, number: int) -> AsyncGenerator[int, None]:
        """A class method."""
        yield number

    @staticmethod
    @driven
    async def static(number: int) -> AsyncGenerator[int, None]:
        """A static method."""
        yield number


def methods(api: Api) -> None:
    """Bound, they take what the method takes; `self` is not asked for."""
    assert_type(api.method(1), SyncGenerator[int, None, None])
    assert_type(api.method_on_trio(1), SyncGenerator[int, None, None])
    assert_type(Api.of_class(1), SyncGenerator[int, None, None])
    assert_type(api.static(1), SyncGenerator[int, None, None])
    assert_type(Api.static(1), SyncGenerator[int, None, None])
    api.method("1")  # type: ignore[arg-type]
    api.method()  # type: ignore[call-arg]
    Api.of_class("1")  # type: ignore[arg-type]
    Api.static()  # type: ignore[call-arg]


async def add(first: int, second: int) -> int:
    """A coroutine function with arguments."""
    return first + second


def running(runner: Runner) -> None:
    """`run` checks the arguments of the function that it calls, and gives its result."""
    assert_type(runner.run(add, 1, 2), int)
    assert_type(runner.drive(echo(1), timeout=1.5), SyncGenerator[int, str, None])
    with runner.wrap_async_context_manager(opened("name")) as value:
        assert_type(value, bytes)
    with Runner(backend="asyncio", backend_options={"loop_factory": asyncio.new_event_loop}) as same:
        assert_type(same, Runner)
    runner.close()


def wraps(runner: Runner, manager: AbstractAsyncContextManager[int]) -> AbstractContextManager[int]:
    """What is wrapped is a sync context manager of the same value."""
    return runner.wrap_async_context_manager(manager)


def not_running(runner: Runner, callback: Callable[[], int]) -> None:
    """Arguments that do not fit, plain functions and sync context managers are refused."""
    runner.run(add, 1)  # type: ignore[arg-type]
    runner.run(add, 1, "2")  # type: ignore[arg-type]
    runner.run(callback)  # type: ignore[arg-type]
    runner.run(add(1, 2))  # type: ignore[arg-type]  # a coroutine function and its arguments, not a coroutine
    runner.wrap_async_context_manager(suppress(ValueError))  # type: ignore[arg-type]
    runner.drive(echo(1), backend="trio")  # type: ignore[call-overload]  # the runner has one already
    Runner("trio")  # type: ignore[call-arg]  # keyword only


class Longer(Runner):  # type: ignore[misc]  # final
    """A Runner cannot be subclassed."""


def keeps_any(source: Any) -> None:
    """An untyped source is driven all the same."""
    next(drive(source))
