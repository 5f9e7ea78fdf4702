"""SyncGenerator: what `drive` gives, a generator to every observer.

The face is thin: a native generator made by the loop does the work, and each promise of generators (re-entry,
exhaustion, closing when dropped) is CPython's own. Nothing here knows an event loop.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import inspect
import warnings
import weakref
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, cast, final

from asyncgen_tools.arguments import check_send, copy_error, exception_of
from asyncgen_tools.host import own_frames
from asyncgen_tools.protocols import ReturnT, SendT, YieldT
from asyncgen_tools.steps import CLOSE, Operation, Step

if TYPE_CHECKING:
    from types import CodeType, FrameType, TracebackType
    from typing import Never, Protocol, Self

    from asyncgen_tools.host import Host, NativeGenerator

    class Seat(Protocol):
        """What holds hosts: it makes the native generators that step them."""

        def generator(self, host: Host, /) -> NativeGenerator:
            """Make the native generator of a host, or the next one."""
            ...

        def close_running(self, host: Host, /) -> bool:
            """Close a generator of which another thread takes a step; tell whether that could be done."""
            ...


__all__ = ("SyncGenerator", "as_exception")


@final
class SyncGenerator(Generator[YieldT, SendT, ReturnT]):
    """A sync generator whose steps are the steps of an async generator; made by `drive` and its relatives.

    It is a `collections.abc.Generator` and a context manager that closes it. `next`, `send`, `throw` and `close` are
    the source's `anext`, `asend`, `athrow` and `aclose`; a return value (PEP 828) is the value of StopIteration, and
    so of `yield from`. It belongs to the thread of its runner, or to any thread if a portal made it; dropping it closes
    it.

    >>> from asyncgen_tools import drive
    >>> async def numbers():
    ...     yield 1
    ...     yield 2
    >>> with drive(numbers(), backend="bare") as generator:
    ...     next(generator)
    1
    """

    if not TYPE_CHECKING:
        # __next__ is a slot for the native generator's own method: a `for` loop calls that, with no frame between.
        __slots__ = ("__name__", "__next__", "__qualname__", "__weakref__", "_code", "_host", "_native", "_seat")
    else:  # pragma: no cover  # for type checkers

        def __next__(self) -> YieldT:
            """Run the source to its next yield, in its own task and context."""
            raise NotImplementedError

    def __init__(self, host: Host, seat: Seat) -> None:
        self._host = host
        self._seat = seat
        self.__name__: str = getattr(host.source, "__name__", type(host.source).__name__)
        self.__qualname__: str = host.name
        self._code: CodeType | None = getattr(host.source, "ag_code", None)
        host.face = weakref.ref(self)
        self.renew()

    def renew(self) -> None:
        """Take a new native generator from the seat, after one was lost to a step that was refused."""
        self._native = self._seat.generator(self._host)
        self.__next__ = self._native.__next__  # type: ignore[method-assign]  # the slot of that name

    def __iter__(self) -> Generator[YieldT, SendT, ReturnT]:
        return self

    def __reduce_ex__(self, _protocol: object, /) -> Never:
        raise copy_error(self, "a generator is where it is. Make another one with drive(), over a new source.")

    def __repr__(self) -> str:
        return f"<SyncGenerator of {self.__qualname__} at {id(self):#x}>"

    def send(self, value: SendT, /) -> YieldT:
        """Resume the source with a value: `asend(value)`; None is `next`.

        Args:
            value: what the source's `yield` evaluates to.

        Returns:
            What the source yields next.

        Raises:
            StopIteration: the source returned; `.value` is its return value.
            TypeError: the value is not None and the source has not been started.
            UnsupportedStepError: the value is not None and the source has no `asend`; nothing is lost.
            ValueError: it is executing already.
        """
        if value is None:
            return cast("YieldT", self._native.send(None))
        source = self._host.source  # None if it has ended, ahead of the steps or by somebody's closing it
        if source is not None and self._host.task is not None and self._native.gi_frame is not None:
            check_send(source)
        return cast("YieldT", self._native.send(Step(Operation.SEND, value)))

    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
        /,
    ) -> YieldT:
        """Raise an exception where the source is suspended: `athrow`.

        Args:
            typ: the exception, or its class.
            val: deprecated, as in CPython: the instance or the argument for the class.
            tb: deprecated, as in CPython: the traceback.

        Returns:
            What the source yields next.

        Raises:
            StopIteration: the source returned.
            BaseException: the exception itself, if the source does not handle it or has no `athrow`.
            ValueError: it is executing already.
        """
        native = self._native
        if native.gi_frame is None or native.gi_running:
            return cast("YieldT", native.throw(as_exception(typ, val, tb)))
        steps = [Step(Operation.THROW, as_exception(typ, val, tb))]
        del typ, val, tb  # or the exception and this frame would keep each other alive
        if native.gi_suspended:
            return cast("YieldT", native.send(steps.pop()))
        self._host.first = steps.pop()
        return cast("YieldT", native.send(None))

    def close(self) -> None:
        """Close the source: `aclose`, its cleanup awaited in its own task; does nothing the second time.

        Raises:
            RuntimeError: the source yielded while it was closed ("generator ignored GeneratorExit").
            BaseException: what its cleanup raised.
            ValueError: it is executing. If it is a portal's, and another thread waits for the step, that is cancelled.
        """
        native = self._native
        if native.gi_running and self._seat.close_running(self._host):
            return
        if inspect.getgeneratorstate(native) != inspect.GEN_CREATED or not self._host.needs_closing():
            native.close()
            return
        self._host.first = CLOSE
        try:
            native.send(None)
        except StopIteration:
            return
        raise RuntimeError("generator ignored GeneratorExit")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    @property
    def gi_running(self) -> bool:
        """Whether a step is running."""
        return self._native.gi_running

    @property
    def gi_suspended(self) -> bool:
        """Whether it has been started and waits for its next step."""
        return self._native.gi_suspended

    @property
    def gi_frame(self) -> FrameType | None:
        """The frame of the source where it has one to show, else of the native generator; None after the end."""
        frame: FrameType | None = self._native.gi_frame
        if frame is None:
            return None
        source_frame: FrameType | None = getattr(self._host.source, "ag_frame", None)
        return source_frame or frame

    @property
    def gi_code(self) -> CodeType:
        """The code of the source where it has some to show, else of the native generator."""
        return self._code or self._native.gi_code

    @property
    def gi_yieldfrom(self) -> object:
        """What the source awaits, if it tells; None between steps."""
        return getattr(self._host.source, "ag_await", None)


def as_exception(
    typ: type[BaseException] | BaseException, val: BaseException | object, tb: TracebackType | None
) -> BaseException:
    """The exception that the arguments of `throw` mean, with CPython's warning."""
    if val is not None or tb is not None:
        warnings.warn(
            "the (type, exc, tb) signature of throw() is deprecated, use the single-arg signature instead.",
            DeprecationWarning,
            stacklevel=3,
        )
    return exception_of(typ, val, tb)


_face: Any = SyncGenerator
own_frames(_face.send, _face.throw, _face.close)
