"""What Portal takes and gives: item, send and return types pass through; it is a Driver, and so is Runner."""

from __future__ import annotations

import contextvars
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import assert_type

from asyncgen_tools import Portal, Runner, SyncGenerator
from asyncgen_tools.protocols import Driver, ReturningAsyncGenerator


async def echo(first: int) -> AsyncGenerator[int, str]:
    """An async generator function, as users write them."""
    print((yield first))


@asynccontextmanager
async def opened(name: str) -> AsyncGenerator[bytes]:
    """An async context manager, as users write them."""
    yield name.encode()


async def add(first: int, second: int) -> int:
    """A coroutine function with arguments."""
    return first + second


def driving(
    portal: Portal,
    returning: ReturningAsyncGenerator[int, str, bytes],
    iterator: AsyncIterator[int],
    iterable: AsyncIterable[int],
) -> None:
    """Items, sent values and the return value keep their types; what cannot be sent to takes None."""
    assert_type(portal.drive(echo(1)), SyncGenerator[int, str, None])
    assert_type(portal.drive(returning, prefetch=64), SyncGenerator[int, str, bytes])
    assert_type(portal.drive(iterator), SyncGenerator[int, None, None])
    assert_type(portal.drive(iterable, timeout=1.5), SyncGenerator[int, None, None])
    portal.drive(echo(1), context=contextvars.copy_context(), timeout=1, prefetch=1)
    assert_type(portal.run(add, 1, 2), int)
    with portal.wrap_async_context_manager(opened("name")) as value:
        assert_type(value, bytes)
    with Portal(backend="trio", backend_options={"clock": None}, name="rows") as same:
        assert_type(same, Portal)
    assert_type(Portal.shared(), Portal)
    assert_type(Portal.shared("trio", backend_options={"strict_exception_groups": True}), Portal)


def not_driven(portal: Portal, iterable: Iterable[int]) -> None:
    """What is no source is refused, and so are options that are not named."""
    portal.drive(iterable)  # type: ignore[call-overload]
    portal.drive(echo)  # type: ignore[call-overload]  # not called
    portal.drive(echo(1), 64)  # type: ignore[call-overload]  # keyword only
    portal.drive(echo(1), prefetch="64")  # type: ignore[call-overload]
    portal.drive(echo(1), backend="trio")  # type: ignore[call-overload]  # the portal has one already
    portal.run(add, 1)  # type: ignore[arg-type]
    portal.run(add(1, 2))  # type: ignore[arg-type]  # a coroutine function and its arguments, not a coroutine
    portal.wrap_async_context_manager(suppress(ValueError))  # type: ignore[arg-type]
    Portal("trio")  # type: ignore[call-arg]  # keyword only


def drivers(runner: Runner, portal: Portal) -> list[Driver]:
    """Both satisfy the Protocol."""
    return [runner, portal]


class Longer(Portal):  # type: ignore[misc]  # final
    """A Portal cannot be subclassed."""
