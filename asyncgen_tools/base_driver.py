"""BaseDriver: what everything that drives async generators can do besides, by driving one.

A coroutine function is run, and an async context manager is entered and exited, by small async generators that are
driven like any other, and so in one task and one context. Nothing here knows an event loop.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import inspect
import sys
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar, cast, final

from asyncgen_tools.arguments import check_context, check_source, checked_seconds, close_refused, copy_error, describe
from asyncgen_tools.errors import FunctionTypeError, ReusedError, SourceTypeError
from asyncgen_tools.host import Carried, Host, calling_line, own_frames

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from contextvars import Context
    from types import TracebackType
    from typing import Never, Self, TypeVarTuple, Unpack

    from asyncgen_tools.sync_generator import SyncGenerator

    ArgumentsT = TypeVarTuple("ArgumentsT")

T = TypeVar("T")

__all__ = ("BaseDriver", "new_host")


class BaseDriver(ABC):
    """An event loop for several generators, calls and context managers, and a context manager that closes it."""

    @abstractmethod
    def drive(self, source: Any, /) -> SyncGenerator[Any, Any, Any]:
        """A sync generator over an async one."""

    @abstractmethod
    def close(self) -> None:
        """End everything that was started here."""

    @abstractmethod
    def __enter__(self) -> Self: ...

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    def __reduce_ex__(self, _protocol: object, /) -> Never:
        name = type(self).__name__
        raise copy_error(self, f"its event loop exists once. Make another one with {name}(...) where it is to be used.")

    def run(self, async_function: Callable[[Unpack[ArgumentsT]], Awaitable[T]], /, *args: *ArgumentsT) -> T:
        """Call an async function in a fresh task, and wait for its result.

        Args:
            async_function: a coroutine function, or anything that gives an awaitable.
            args: its arguments.

        Returns:
            What it returns.

        Raises:
            SourceTypeError: a coroutine was given instead of its function (TypeError).
            FunctionTypeError: it cannot be called, or gives nothing that can be awaited (TypeError).
            BaseException: what the function raises. Ctrl-C cancels it, awaits its cleanup, and raises
                KeyboardInterrupt.
        """
        given: object = async_function
        if inspect.iscoroutine(given):
            close_refused(given)
            name = given.__name__
            ours = type(self).__name__.lower()
            raise SourceTypeError(
                f"run() takes a coroutine function and its arguments, not the coroutine that {name}() gives, because "
                f"that would not begin in the {ours}. Write {ours}.run({name}, ...) instead of {ours}.run({name}(...))."
            )
        if not callable(given):
            raise FunctionTypeError(
                f"run() takes a coroutine function and its arguments, not {describe(given)}, which cannot be called. "
                "Put the function first, then its arguments."
            )
        with self.drive(call(async_function, args)) as generator:
            return cast("T", next(generator))

    def wrap_async_context_manager(self, manager: AbstractAsyncContextManager[T], /) -> AbstractContextManager[T]:
        """A sync context manager that enters and exits an async one, in one task and one context.

        Args:
            manager: entered and exited once, as `async with` does; it sees the exception of the block and may
                suppress it. It is exited when the driver closes, if it is still entered then.

        Raises:
            SourceTypeError: it is not an async context manager (TypeError).
        """
        kind = type(manager)
        if not hasattr(kind, "__aenter__") or not hasattr(kind, "__aexit__"):
            close_refused(manager)
            hint = "Its class has no __aenter__ and __aexit__ methods; was a function not called?"
            if hasattr(kind, "__enter__"):
                hint = "It is a sync context manager, which a plain `with` takes as it is."
            elif inspect.iscoroutine(cast("object", manager)):
                hint = "It is a coroutine: if that gives the manager, get it first by run()."
            raise SourceTypeError(
                f"wrap_async_context_manager() takes an async context manager, not {describe(manager)}. {hint}"
            )
        return EnteredManager(self, manager)


def new_host(source: Any, *, context: Context, timeout: float | None) -> Host:
    """A host for what is to be driven.

    Raises:
        SourceTypeError, ArgumentTypeError, ArgumentValueError: an argument could not work; the source stays usable.
    """
    check_source(source, user="drive")
    check_context(context)
    timeout = None if timeout is None else checked_seconds("timeout", timeout)
    return Host(source, context=context, timeout=timeout, made_at=calling_line())


@final
class EnteredManager(AbstractContextManager[T]):
    """An async context manager seen from synchronous code."""

    def __init__(self, driver: BaseDriver, manager: AbstractAsyncContextManager[T]) -> None:
        self._generator = driver.drive(hold(manager))

    def __reduce_ex__(self, _protocol: object, /) -> Never:
        raise copy_error(self, "it is entered once. Call wrap_async_context_manager() again, with a new manager.")

    def __enter__(self) -> T:
        if self._generator.gi_suspended or self._generator.gi_frame is None:
            raise ReusedError(
                "This context manager was entered before, and an async context manager is entered once. Call "
                "wrap_async_context_manager() again, with a new manager."
            )
        return next(self._generator)  # type: ignore[no-any-return]

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> bool:
        with self._generator as generator:
            if generator.gi_frame is None:  # the driver has closed, and so exited it
                return False
            return bool(generator.send((exc_type, exc, traceback)))


async def hold(manager: AbstractAsyncContextManager[Any]) -> AsyncGenerator[Any, Any]:
    """Enter a manager, yield what it gives, exit it with the exception details sent, yield whether it suppresses.

    The details are sent and not thrown, so that the manager alone sees the exception.
    """
    kind = type(manager)
    try:
        value = await kind.__aenter__(manager)
        try:
            details = yield value
        except GeneratorExit:  # the driver is closing
            await kind.__aexit__(manager, *sys.exc_info())
            raise
        yield await kind.__aexit__(manager, *details)
    except StopAsyncIteration as exc:  # which no generator can raise
        raise Carried(exc) from None


async def call(function: Any, args: tuple[Any, ...]) -> AsyncGenerator[Any, None]:
    """Yield the result of an async function."""
    try:
        awaitable = function(*args)
        if not inspect.isawaitable(awaitable):
            raise FunctionTypeError(
                f"run() called {describe(function)} and got {describe(awaitable)}, which cannot be awaited. Give it an "
                "async function; async generators are for drive()."
            )
        yield await awaitable
    except StopAsyncIteration as exc:  # which no generator can raise
        raise Carried(exc) from None


own_frames(call, hold)
