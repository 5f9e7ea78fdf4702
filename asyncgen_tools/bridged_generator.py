"""BridgedGenerator: what `hosted` and `in_thread` give, an async generator to every observer.

The face is thin: it keeps the running checks and the return value, and hands each step to an engine that takes it
elsewhere, in another task or another thread. Nothing here knows an event loop.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Generic, cast, final

from asyncgen_tools.arguments import copy_error
from asyncgen_tools.errors import NotReturnedError
from asyncgen_tools.protocols import ReturnT, SendT, YieldT
from asyncgen_tools.steps import CLOSE, NEXT, Operation, Raised, Returned, Step
from asyncgen_tools.sync_generator import as_exception

if TYPE_CHECKING:
    from types import CodeType, FrameType, TracebackType
    from typing import Never, Protocol, Self

    from asyncgen_tools.steps import Outcome

    class Engine(Protocol):
        """What takes the steps."""

        @property
        def name(self) -> str:
            """The name of the source."""
            ...

        @property
        def source(self) -> object:
            """The source, as far as it can be told; for the attributes of generators."""
            ...

        async def take(self, steps: list[Step], /) -> Outcome:
            """Take the one step in the list, and take it out."""
            ...


__all__ = ("BridgedGenerator",)


@final
class BridgedGenerator(AsyncGenerator[YieldT, SendT], Generic[YieldT, SendT, ReturnT]):
    """An async generator whose steps are taken in another task, or in a thread; `hosted` and `in_thread` give it.

    It is a `collections.abc.AsyncGenerator`, and an async context manager that closes it. A return value is the value
    of StopAsyncIteration (`stop_value`), and `return_value`. A step that is cancelled has ended, with its cleanup,
    before the cancellation goes on in the task that waits for it.

    >>> import asyncio
    >>> from asyncgen_tools import in_thread
    >>> async def main():
    ...     async with in_thread([1, 2]) as numbers:
    ...         print(await anext(numbers))
    >>> asyncio.run(main())
    1
    """

    __slots__ = ("__name__", "__qualname__", "__weakref__", "_engine", "_returned", "_running")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._running = False
        self._returned: tuple[Any, ...] = ()
        self.__name__: str = engine.name.rpartition(".")[2]
        self.__qualname__: str = engine.name

    def __repr__(self) -> str:
        return f"<BridgedGenerator of {self.__qualname__} at {id(self):#x}>"

    def __reduce_ex__(self, _protocol: object, /) -> Never:
        raise copy_error(self, "a generator is where it is. Make another one, over a new source.")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> YieldT:
        return cast("YieldT", await self._take([NEXT], "anext"))

    async def asend(self, value: SendT, /) -> YieldT:
        """Resume the source with a value; None is `anext`.

        Args:
            value: what the source's `yield` evaluates to.

        Returns:
            What the source yields next.

        Raises:
            StopAsyncIteration: the source returned.
            TypeError: the value is not None and the source has not been started.
            UnsupportedStepError: the value is not None and the source takes none; nothing is lost.
            RuntimeError: it is running already.
        """
        step = NEXT if value is None else Step(Operation.SEND, value)
        return cast("YieldT", await self._take([step], "asend"))

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
        /,
    ) -> YieldT:
        """Raise an exception where the source is suspended.

        Args:
            typ: the exception, or its class.
            val: deprecated, as in CPython: the instance or the argument for the class.
            tb: deprecated, as in CPython: the traceback.

        Returns:
            What the source yields next.

        Raises:
            StopAsyncIteration: the source returned.
            BaseException: the exception itself, if the source does not handle it or cannot be thrown into.
            RuntimeError: it is running already.
        """
        steps = [Step(Operation.THROW, as_exception(typ, val, tb))]
        del typ, val, tb  # or the exception and this frame would keep each other alive
        return cast("YieldT", await self._take(steps, "athrow"))

    async def aclose(self) -> None:
        """Close the source, its cleanup awaited; does nothing the second time.

        Raises:
            RuntimeError: the source yielded while it was closed, or it is running.
            BaseException: what its cleanup raised.
        """
        await self._take([CLOSE], "aclose")

    async def _take(self, steps: list[Step], method: str) -> Any:
        if self._running:
            raise RuntimeError(f"{method}(): asynchronous generator is already running")
        self._running = True
        try:
            outcome = await self._engine.take(steps)
        finally:
            self._running = False
        if isinstance(outcome, Raised):
            try:
                raise outcome.error
            finally:
                del outcome  # or the error and this frame would keep each other alive
        if not isinstance(outcome, Returned):
            return outcome.value
        if method == "aclose":
            return None
        self._returned = self._returned or (outcome.value,)
        raise StopAsyncIteration if outcome.value is None else StopAsyncIteration(outcome.value)

    @property
    def return_value(self) -> ReturnT:
        """What the source returned, or None.

        Raises:
            NotReturnedError: it has not ended, or it ended with an exception or by being closed.
        """
        if not self._returned:
            raise NotReturnedError(
                f"{self!r} has not returned, so it has no return value. Read return_value after its items are "
                "exhausted, or take the value where it arrives: `stop_value(stop)` of the StopAsyncIteration."
            )
        return cast("ReturnT", self._returned[0])

    @property
    def ag_running(self) -> bool:
        """Whether a step is under way."""
        return self._running

    @property
    def ag_frame(self) -> FrameType | None:
        """The frame of the source's body, if it is a generator that has not ended."""
        return cast("FrameType | None", self._attribute("frame"))

    @property
    def ag_code(self) -> CodeType | None:
        """The code of the source's body, if it is a generator."""
        return cast("CodeType | None", self._attribute("code"))

    @property
    def ag_await(self) -> object:
        """What the source waits for."""
        source = self._engine.source
        return getattr(source, "ag_await", None) or getattr(source, "gi_yieldfrom", None)

    def _attribute(self, name: str) -> object:
        source = self._engine.source
        return getattr(source, f"ag_{name}", None) or getattr(source, f"gi_{name}", None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        await self.aclose()
