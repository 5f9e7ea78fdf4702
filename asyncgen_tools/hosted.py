"""hosted: an async generator whose every step runs in one task of the running event loop, whoever asks for it.

A plain async generator runs in the task that steps it. If it holds a timeout, a cancel scope or a task group over a
`yield`, and another task steps or closes it, that breaks (PEP 789). Here its whole life is in a task of its own, its
host, and consumers only wait for what comes of their steps. `loops.running` says how.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextvars
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, cast, final, overload

from asyncgen_tools.arguments import check_source, copy_error
from asyncgen_tools.bridged_generator import BridgedGenerator
from asyncgen_tools.errors import ClosedError, NotEnteredError, ReusedError, WrongLoopError
from asyncgen_tools.host import Host, calling_line, own_frames
from asyncgen_tools.loops.running import new_host_task
from asyncgen_tools.steps import Operation, Raised, Returned

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable
    from types import TracebackType
    from typing import Never

    from asyncgen_tools.loops.running import HostTask
    from asyncgen_tools.protocols import ReturningAsyncGenerator, ReturnT, SendT, YieldT
    from asyncgen_tools.steps import Outcome, Step

__all__ = ("hosted",)


@overload
def hosted(
    source: ReturningAsyncGenerator[YieldT, SendT, ReturnT], /
) -> AbstractAsyncContextManager[BridgedGenerator[YieldT, SendT, ReturnT]]: ...
@overload
def hosted(
    source: AsyncGenerator[YieldT, SendT], /
) -> AbstractAsyncContextManager[BridgedGenerator[YieldT, SendT, None]]: ...
@overload
def hosted(source: AsyncIterable[YieldT], /) -> AbstractAsyncContextManager[BridgedGenerator[YieldT, None, None]]: ...
def hosted(source: Any, /) -> Any:
    """An async context manager that gives the source as an async generator which may be stepped from any task.

    All its steps run in one task, the host, with one context: a copy of that of the task that enters the block.
    Timeouts, cancel scopes and task groups that it holds over a `yield` work, also when the block is entered in one
    task, the generator stepped in others, and the block left in yet another.

    Args:
        source: an async generator, async iterator or async iterable. The end of the block closes it, and awaits its
            cleanup in the host; a step that another task waits for just then is cancelled.

    Returns:
        An async context manager, which serves once.

    Raises:
        SourceTypeError: the source is not async-iterable (TypeError).

    Entering raises NoEventLoopError outside of asyncio and trio. Steps raise what the source raises; ClosedError after
    the block; WrongLoopError in another event loop; StepCancelledError when the block was left in another task
    meanwhile. When a task is cancelled that waits for a step, that step is cancelled in the host, its cleanup is
    awaited, then the cancellation goes on. The deadlines of a consumer's scopes work this way, too. If the source goes
    on and gives an item, later steps and the cleanup are not cancelled. The end of the block raises what the source's
    cleanup raises. (On asyncio somebody may cancel the host's own task; whoever waits for its step gets that
    CancelledError.)

    >>> import asyncio
    >>> async def numbers():
    ...     async with asyncio.timeout(10):
    ...         yield 1
    ...         yield 2
    >>> async def main():
    ...     async with hosted(numbers()) as generator:
    ...         print(await asyncio.create_task(anext(generator)))
    >>> asyncio.run(main())
    1
    """
    check_source(source, user="hosted")
    return HostedBlock(source)


@final
class HostedBlock(AbstractAsyncContextManager[BridgedGenerator[Any, Any, Any]]):
    """The block in which a hosted generator lives; also the engine that takes its steps."""

    def __init__(self, source: Any) -> None:
        self._host = Host(source, context=contextvars.Context(), timeout=None, made_at=calling_line())
        self._task: HostTask | None = None

    def __reduce_ex__(self, _protocol: object, /) -> Never:
        raise copy_error(self, "its task lives for one block only. Call hosted() again, with a new generator.")

    @property
    def name(self) -> str:
        """The name of the source."""
        return self._host.name

    @property
    def source(self) -> object:
        """The source."""
        return self._host.source

    async def __aenter__(self) -> BridgedGenerator[Any, Any, Any]:
        if self._task is not None:
            raise ReusedError(
                f"hosted({self.name}) was entered before, and its task lives for one block only. Call hosted() again, "
                "with a new generator."
            )
        self._host.context = contextvars.copy_context()
        self._task = new_host_task(self._host)
        self._task.start()
        return BridgedGenerator(self)

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        task = cast("HostTask", self._task)
        if not task.here:
            raise self._wrong_loop("left")
        outcome = await task.join()
        if isinstance(outcome, Raised):
            try:
                raise outcome.error
            finally:
                del outcome, exc, traceback  # or the error and this frame would keep each other alive

    async def take(self, steps: list[Step], /) -> Outcome:
        """Have the host take a step, unless it cannot."""
        task = cast("HostTask", self._task)
        if task.ended or task.leaving:
            if steps[0].operation is Operation.CLOSE:
                return Returned()
            raise ClosedError(
                f"The `async with hosted(...)` block of {self.name} has ended, and with it the generator and its task. "
                "Step it inside of the block."
            )
        if not task.here:
            raise self._wrong_loop("stepped")
        return await task.take(steps)

    def _wrong_loop(self, what: str) -> WrongLoopError:
        return WrongLoopError(
            f"hosted({self.name}) was {what} from another event loop than the one where its block was entered, and its "
            "task lives in that one. Use it there; from another thread, asyncio.run_coroutine_threadsafe or "
            "anyio.from_thread reach that loop."
        )

    def __aiter__(self) -> Never:
        raise NotEnteredError(
            f"hosted({self.name}) is an async context manager, not an iterator, because its task ends with a block. "
            "Write `async with hosted(...) as generator:`, and in it `async for item in generator:`."
        )


own_frames(HostedBlock.take)
