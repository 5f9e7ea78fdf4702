"""What is accepted and what a driver is, as Protocols, and the type variables of the whole package.

Protocols stand where the library takes something; what it gives is always a concrete class. Nothing here is checked at
run time: sources are recognised by their methods (`asyncgen_tools.host`).

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from contextvars import Context
    from types import TracebackType
    from typing import Any, TypeVarTuple, Unpack

    from asyncgen_tools.sync_generator import SyncGenerator

    ArgumentsT = TypeVarTuple("ArgumentsT")

__all__ = ("Driver", "ReturnT", "ReturningAsyncGenerator", "SendT", "YieldT")

YieldT = TypeVar("YieldT")
SendT = TypeVar("SendT")
ReturnT = TypeVar("ReturnT")
T = TypeVar("T")
YieldT_co = TypeVar("YieldT_co", covariant=True)
SendT_contra = TypeVar("SendT_contra", contravariant=True)
ReturnT_co = TypeVar("ReturnT_co", covariant=True)


class ReturningAsyncGenerator(Protocol[YieldT_co, SendT_contra, ReturnT_co]):
    """An async generator whose return value has a type: PEP 828's `AsyncGenerator[Y, S, R]`, before typing has it."""

    @property
    def return_value(self) -> ReturnT_co:
        """What the generator returned."""
        ...

    def __aiter__(self) -> ReturningAsyncGenerator[YieldT_co, SendT_contra, ReturnT_co]: ...
    def __anext__(self) -> Coroutine[Any, Any, YieldT_co]: ...
    def asend(self, value: SendT_contra, /) -> Coroutine[Any, Any, YieldT_co]: ...
    def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
        /,
    ) -> Coroutine[Any, Any, YieldT_co]: ...
    def aclose(self) -> Coroutine[Any, Any, None]: ...


class Driver(Protocol):
    """What drives async generators: a runner, and whatever else has an event loop to do it with."""

    def run(self, async_function: Callable[[Unpack[ArgumentsT]], Awaitable[T]], /, *args: *ArgumentsT) -> T:
        """Call an async function in a fresh task, and wait for its result."""
        ...

    # These overloads stand again wherever something is driven. Typing has no way to share them: each function has other
    # parameters beside the source, and an override must repeat the overloads of what it overrides.
    @overload
    def drive(
        self,
        source: ReturningAsyncGenerator[YieldT, SendT, ReturnT],
        /,
        *,
        context: Context | None = None,
        timeout: float | None = None,
    ) -> SyncGenerator[YieldT, SendT, ReturnT]: ...
    @overload
    def drive(
        self,
        source: AsyncGenerator[YieldT, SendT],
        /,
        *,
        context: Context | None = None,
        timeout: float | None = None,
    ) -> SyncGenerator[YieldT, SendT, None]: ...
    @overload
    def drive(
        self,
        source: AsyncIterable[YieldT],
        /,
        *,
        context: Context | None = None,
        timeout: float | None = None,
    ) -> SyncGenerator[YieldT, None, None]: ...
    def drive(
        self, source: AsyncIterable[Any], /, *, context: Context | None = None, timeout: float | None = None
    ) -> SyncGenerator[Any, Any, Any]:
        """A sync generator over an async one."""
        ...

    def wrap_async_context_manager(self, manager: AbstractAsyncContextManager[T], /) -> AbstractContextManager[T]:
        """A sync context manager that enters and exits an async one."""
        ...

    def close(self) -> None:
        """End everything that was started with it."""
        ...
