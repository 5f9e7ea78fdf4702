"""Runner, drive and driven: async generators in synchronous code, in the calling thread.

The event loop belongs to the runner and runs only while a step runs, so Ctrl-C, threads and fork stay as they are in
any synchronous program. `drive` makes a runner's loop for one generator and closes it with that.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, final, overload

from asyncgen_tools.arguments import check_context, close_refused, describe
from asyncgen_tools.base_driver import BaseDriver, new_host
from asyncgen_tools.errors import SourceTypeError
from asyncgen_tools.loops import make_loop
from asyncgen_tools.loops.admission import callers_context, closed_error
from asyncgen_tools.loops.primitives import State
from asyncgen_tools.sync_generator import SyncGenerator

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping
    from contextvars import Context
    from typing import ParamSpec, Self, TypeVarTuple

    from asyncgen_tools.protocols import ReturningAsyncGenerator, ReturnT, SendT, YieldT

    ParametersP = ParamSpec("ParametersP")
    ArgumentsT = TypeVarTuple("ArgumentsT")

T = TypeVar("T")

__all__ = ("Runner", "drive", "driven")


@overload
def drive(
    source: ReturningAsyncGenerator[YieldT, SendT, ReturnT],
    /,
    *,
    backend: str = "asyncio",
    backend_options: Mapping[str, Any] | None = None,
    context: Context | None = None,
    timeout: float | None = None,
) -> SyncGenerator[YieldT, SendT, ReturnT]: ...
@overload
def drive(
    source: AsyncGenerator[YieldT, SendT],
    /,
    *,
    backend: str = "asyncio",
    backend_options: Mapping[str, Any] | None = None,
    context: Context | None = None,
    timeout: float | None = None,
) -> SyncGenerator[YieldT, SendT, None]: ...
@overload
def drive(
    source: AsyncIterable[YieldT],
    /,
    *,
    backend: str = "asyncio",
    backend_options: Mapping[str, Any] | None = None,
    context: Context | None = None,
    timeout: float | None = None,
) -> SyncGenerator[YieldT, None, None]: ...
def drive(
    source: Any,
    /,
    *,
    backend: str = "asyncio",
    backend_options: Mapping[str, Any] | None = None,
    context: Context | None = None,
    timeout: float | None = None,
) -> SyncGenerator[Any, Any, Any]:
    """Give a sync generator over an async one.

    As in `for row in drive(rows())`. The event loop is the generator's own, opens at the first step in the thread that
    takes it, and closes when the generator ends, is closed, or is dropped. Several generators that share connections
    want a `Runner`.

    Args:
        source: an async generator, async iterator or async iterable. Closing the result closes it.
        backend: "asyncio", "trio", or "bare" (no event loop: nothing may really wait).
        backend_options: as for anyio: `{"use_uvloop": True}`, `{"loop_factory": f}`, `{"clock": c}`, ...
        context: where all steps run; by default a copy of the caller's context, taken now.
        timeout: how many seconds one step may take; it is then cancelled, its cleanup awaited, and the generator is
            finished. A step that computes without awaiting anything cannot be cut short.

    Returns:
        A generator whose `next`, `send`, `throw` and `close` are the source's `anext`, `asend`, `athrow` and `aclose`.

    Raises:
        SourceTypeError: the source is not async-iterable (TypeError).
        UnknownBackendError: there is no such backend (LookupError).
        MissingLibraryError: trio or uvloop is not installed (ImportError).
        ArgumentTypeError: the backend has no such option; the timeout is no number, the context no context (TypeError).
        ArgumentValueError: the timeout is negative (ValueError).

    Steps raise what the source raises, and StepTimeoutError (TimeoutError), RunningLoopError, WrongThreadError and
    ForkError (RuntimeError). Ctrl-C during a step cancels it, lets its cleanup finish, and raises KeyboardInterrupt.

    >>> async def numbers():
    ...     yield 1
    ...     yield 2
    >>> list(drive(numbers()))
    [1, 2]
    """
    host = new_host(source, context=callers_context() if context is None else context, timeout=timeout)
    return SyncGenerator(host, make_loop(backend, backend_options, private=True))


class DrivenDecorator(Protocol):
    """What `driven(...)` with options gives."""

    @overload
    def __call__(
        self, function: Callable[ParametersP, ReturningAsyncGenerator[YieldT, SendT, ReturnT]], /
    ) -> Callable[ParametersP, SyncGenerator[YieldT, SendT, ReturnT]]: ...
    @overload
    def __call__(
        self, function: Callable[ParametersP, AsyncGenerator[YieldT, SendT]], /
    ) -> Callable[ParametersP, SyncGenerator[YieldT, SendT, None]]: ...
    @overload
    def __call__(
        self, function: Callable[ParametersP, AsyncIterable[YieldT]], /
    ) -> Callable[ParametersP, SyncGenerator[YieldT, None, None]]: ...


@overload
def driven(
    function: Callable[ParametersP, ReturningAsyncGenerator[YieldT, SendT, ReturnT]],
    /,
    *,
    backend: str = "asyncio",
    backend_options: Mapping[str, Any] | None = None,
) -> Callable[ParametersP, SyncGenerator[YieldT, SendT, ReturnT]]: ...
@overload
def driven(
    function: Callable[ParametersP, AsyncGenerator[YieldT, SendT]],
    /,
    *,
    backend: str = "asyncio",
    backend_options: Mapping[str, Any] | None = None,
) -> Callable[ParametersP, SyncGenerator[YieldT, SendT, None]]: ...
@overload
def driven(
    function: Callable[ParametersP, AsyncIterable[YieldT]],
    /,
    *,
    backend: str = "asyncio",
    backend_options: Mapping[str, Any] | None = None,
) -> Callable[ParametersP, SyncGenerator[YieldT, None, None]]: ...
@overload
def driven(*, backend: str = "asyncio", backend_options: Mapping[str, Any] | None = None) -> DrivenDecorator: ...
def driven(
    function: Any = None,
    /,
    *,
    backend: str = "asyncio",
    backend_options: Mapping[str, Any] | None = None,
) -> Any:
    """Decorate an async generator function so that calling it gives a sync generator.

    What it gives is a function that returns a generator, and not a generator function to `inspect`. So pytest does not
    take it for a fixture that yields; let that be a `def` with `yield from drive(function(...))`, which is one.

    Args:
        function: an async generator function or method, or a function that returns an async iterable. A classmethod or
            staticmethod may stand below or above the decorator.
        backend: as for `drive`.
        backend_options: as for `drive`.

    Returns:
        A function with the same parameters, name and docstring, which gives `drive(function(...))`; without
        `function`, a decorator.

    Raises:
        SourceTypeError: the function cannot give an async iterable (TypeError).

    >>> @driven
    ... async def count(to: int):
    ...     for number in range(to):
    ...         yield number
    >>> list(count(3))
    [0, 1, 2]
    """
    if function is None:
        return functools.partial(driven, backend=backend, backend_options=backend_options)
    if isinstance(function, (classmethod, staticmethod)):
        method: Any = function  # pyright: ignore[reportUnknownVariableType]  # of any class and signature
        return type(method)(driven(method.__func__, backend=backend, backend_options=backend_options))
    if not callable(function) or inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        close_refused(function)
        raise SourceTypeError(
            f"driven() decorates async generator functions (`async def` with a `yield`), not {describe(function)}. "
            "To drive a generator that was made already, write drive(generator); to run a coroutine function, "
            "Runner().run(function, ...); a sync generator function needs neither."
        )

    @functools.wraps(function)
    def drive_function(*args: Any, **kwargs: Any) -> SyncGenerator[Any, Any, Any]:
        source: Any = function(*args, **kwargs)
        return drive(source, backend=backend, backend_options=backend_options)

    return drive_function


@final
class Runner(BaseDriver):
    """An event loop for several generators, calls and context managers, in the calling thread.

    It opens on its first use (or on `with`), in the thread that uses it, and runs only while something of it is used;
    `close`, or the end of the `with` block, ends everything that it has started.

    Args:
        backend: as for `drive`.
        backend_options: as for `drive`.
        context: where everything runs; by default, each generator and call gets a copy of its caller's.

    Raises:
        UnknownBackendError: there is no such backend (LookupError).
        MissingLibraryError: trio or uvloop is not installed (ImportError).
        ArgumentTypeError: the backend has no such option, or the context is none (TypeError).

    >>> async def double(number):
    ...     return 2 * number
    >>> async def numbers():
    ...     yield 1
    ...     yield 2
    >>> with Runner() as runner:
    ...     print(runner.run(double, 21), sum(runner.drive(numbers())))
    42 3
    """

    def __init__(
        self,
        *,
        backend: str = "asyncio",
        backend_options: Mapping[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        if context is not None:
            check_context(context)
        self._backend = backend
        self._context = context
        self._loop = make_loop(backend, backend_options, private=False)

    def __repr__(self) -> str:
        return f"<Runner backend={self._backend!r}, {self._loop.state.value}>"

    def __enter__(self) -> Self:
        self._loop.open()
        return self

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
    def drive(self, source: Any, /, *, context: Context | None = None, timeout: float | None = None) -> Any:
        """A sync generator over an async one, as `drive` gives it, on the event loop of this runner.

        Args:
            source: an async generator, async iterator or async iterable. Closing the result closes it.
            context: where all steps run; by default the runner's, or else a copy of the caller's, taken now.
            timeout: how many seconds one step may take.

        Returns:
            A sync generator, which the runner closes if it is still open then.

        Raises:
            SourceTypeError: the source is not async-iterable (TypeError).
            ClosedError: the runner is closed (RuntimeError).
            ArgumentTypeError: the timeout is no number, or the context no context (TypeError).
            ArgumentValueError: the timeout is negative (ValueError).
        """
        context = self._context if context is None else context
        host = new_host(source, context=callers_context() if context is None else context, timeout=timeout)
        if self._loop.state is State.CLOSED:
            raise closed_error()
        generator: SyncGenerator[Any, Any, Any] = SyncGenerator(host, self._loop)
        return generator

    def close(self) -> None:
        """Close open generators and context managers, last opened first, then the event loop; idempotent.

        Remaining tasks are cancelled and awaited, async generators and the default executor are shut down.

        Raises:
            BaseException: what their cleanup raises; several come as a group.
            WrongThreadError: this is not the runner's thread (RuntimeError).
            ForkError: this process was forked from the runner's (RuntimeError).
            RunningLoopError: an event loop is running in this thread (RuntimeError).
        """
        self._loop.close()

    def __del__(self) -> None:
        loop = getattr(self, "_loop", None)  # __init__ may have raised
        if loop is None or loop.state is not State.OPEN:
            return
        try:
            warnings.warn(
                f"unclosed {self!r}: use it as `with Runner() as runner:`, or call its close().",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
        finally:
            if loop.refusal() is None and not sys.is_finalizing():
                loop.close()
