"""The tasks of a `concurrent_map`: one that takes items from the source, and up to `limit` that make the calls.

Theory of operation. One task, the feeder, steps the source and closes it, so that what the source holds over its yields
works. It takes an item whenever fewer than `limit` are on their way, from having been taken to having been given out;
that one count bounds the calls in flight, the results waiting and how far the source is ahead. Up to `limit` workers
make the calls; they are started as they are needed and stay, which costs less than a task per call. A worker that has
found more work than it can do itself calls the next one, so that calls that never wait wake nobody for nothing.

All tasks are children of the block. An error, in whichever of them, is kept for the consumer and ends the others: the
block's own body is never cancelled from within. A feeder that is inside a step is cancelled there; one that waits for
room is told to stop, so that the source's cleanup may await. So it may where the source has outlived the cancellation
of its step: the closing is shielded from that, and a task watches for one of the block itself. (A scope around each
step would do without, if sources did not hold scopes over their yields, which end inside of the one around them.)

A cancellation of the block from outside reaches our tasks, but no consumer that is shielded or in another task. The
first task that it ends stops the others; results that are missing then are an error, and never look like the end.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, final

from anyio import CancelScope, Event, create_task_group, current_effective_deadline, get_cancelled_exc_class
from anyio.lowlevel import checkpoint_if_cancelled

from asyncgen_tools.errors import ClosedError, StepCancelledError
from asyncgen_tools.loops.outcomes import is_exit, without

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
    from typing import Never

__all__ = ("Crew",)

T = TypeVar("T")


@final
class Call:
    """An item, in whose place comes the result of its call."""

    __slots__ = ("done", "value")

    def __init__(self, item: Any) -> None:
        self.value: Any = item
        self.done: bool = False


@final
class Crew:
    """The tasks of a block, and what is on its way between them.

    Args:
        call: makes the call for an item.
        source: what has the items, checked by `check_source`.
        limit: how many items may be on their way.
        ordered: whether results are due in the order of their items.
    """

    def __init__(self, call: Callable[[Any], Awaitable[Any]], source: Any, *, limit: int, ordered: bool) -> None:
        self._call = call
        self._source = source
        self._limit = limit
        self._ordered = ordered
        self._todo: deque[Call] = deque()  # taken from the source
        self._due: deque[Call] = deque()  # in the order in which the results are given out
        self._on_their_way = 0
        self._tasks = 0
        self._workers = 0
        self._idle: list[Event] = []  # of workers
        self._summoned = False  # a worker that has not come yet
        self._room: Event | None = None  # what the feeder waits for
        self._news: Event | None = None  # what consumers wait for
        self._scopes: set[CancelScope] = set()  # what is cancelled at the end: each worker, and a feeder in a step
        self._group = create_task_group()
        self._cancelled = get_cancelled_exc_class()
        self._error: BaseException | None = None  # not given out yet
        self._exhausted = False  # the source has said that there are no more items
        self._drained = False  # the source is closed, there will be no more items
        self._stopping = False
        self._over = False  # consumers have been told of the end
        self._left = False

    async def begin(self) -> None:
        """Enter the block: the calls begin."""
        await self._group.__aenter__()
        self._start(self._feed)

    async def leave(self, exc: BaseException | None) -> None:
        """Leave the block: end everything.

        Args:
            exc: what the block's body raised.

        Raises:
            BaseException: an error that was not given out, if the body raised none itself.
        """
        self._left = True
        self._stop()
        try:
            # It is not told of the body's exception, which it would put into a group.
            await self._group.__aexit__(None, None, None)
            await checkpoint_if_cancelled()  # trio's nurseries leave this to their tasks, and ours raise nothing
        except BaseException as ended:
            # Our tasks raise nothing, so it was cancelled from outside, unless Ctrl-C struck; errors come before that.
            # It goes before our own error, too, which is for those inside whom it does not reach.
            quiet = self._error is None and (exc is None or isinstance(exc, StepCancelledError))
            if quiet or self._without_cancellation(ended) is not None:
                raise
        self._due.clear()
        error, self._error = self._error, None
        if error is None:
            return
        try:
            if exc is None or is_exit(exc) or self._without_cancellation(exc) is None:
                raise error
            add_note(exc, error)
        finally:
            del error

    async def take(self) -> Any:
        """The next result; raises the first error, or StopAsyncIteration."""
        while True:
            if self._due and self._due[0].done:
                self._on_their_way -= 1
                if self._room is not None:
                    self._room.set()
                    self._room = None
                return self._due.popleft().value
            if not self._tasks:
                if self._error is None:
                    await checkpoint_if_cancelled()  # rather than tell it that others were cancelled
                self._end()
            await self._wait_for_news()

    async def close(self) -> None:
        """Stop, and wait for the end of all tasks."""
        self._over = True
        self._stop()
        while self._tasks:
            await self._wait_for_news()
        self._due.clear()
        if self._error is not None:
            self._end()

    def _end(self) -> Never:
        """Say how it ended."""
        told, self._over = self._over, True
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
            if told:
                raise StopAsyncIteration
            if self._left:
                raise ClosedError(
                    "The block of this concurrent_map() was left before all results were taken, and there will be no "
                    "more. Take them inside the `async with` block."
                )
            if self._on_their_way or not self._exhausted:
                self._over = False  # or the loop of another consumer would end as if all were well
                raise StepCancelledError(
                    "The block of this concurrent_map() was cancelled from outside, and its calls with it, while "
                    "whoever takes the results was not, so some of them may never come. To have all in spite of a "
                    "cancellation, put the shield around the `async with` block, not inside of it."
                )
            raise StopAsyncIteration
        finally:
            del error

    async def _wait_for_news(self) -> None:
        if self._news is None:
            self._news = Event()
        await self._news.wait()

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None

    def _start(self, function: Callable[[CancelScope], Awaitable[None]]) -> None:
        self._tasks += 1
        self._group.start_soon(self._run, function)

    async def _run(self, function: Callable[[CancelScope], Awaitable[None]]) -> None:
        """One of our tasks: its own scope, and an end that never passes unnoticed."""
        try:
            with CancelScope() as scope:
                await function(scope)
        except BaseException as exc:
            self._fail(exc)
        finally:
            self._tasks -= 1
            if not self._tasks:
                self._tell()

    async def _feed(self, scope: CancelScope) -> None:
        """The feeder: take items while there is room, then close the source."""
        source = self._source
        iterator: Any = None
        with CancelScope() as shield:  # from the beginning: the source may hold scopes over its yields, inside of it
            try:
                iterator = aiter(source) if hasattr(source, "__aiter__") else stepped(source)
                await self._take_items(iterator, scope)
            except BaseException as exc:
                self._fail(exc)
            try:
                if hasattr(iterator, "aclose"):
                    await self._close_source(iterator, shield, stopped=scope.cancel_called)
            except BaseException as exc:
                if not is_exit(exc):  # a task group held over the yield puts GeneratorExit into a group
                    self._fail(exc)
        self._drained = True
        while self._idle:
            self._idle.pop().set()

    async def _close_source(self, iterator: Any, shield: CancelScope, *, stopped: bool) -> None:
        """Close the source. Our cancelling of its last step does not reach its cleanup; that of the block does."""
        closed = Event()
        if stopped:
            shield.shield = True
            self._start(partial(self._shield_until, closed, shield))
        try:
            await iterator.aclose()
        finally:
            closed.set()

    async def _shield_until(self, closed: Event, shield: CancelScope, _: CancelScope) -> None:
        """Take the shield away when the source is closed, or when the block is cancelled, which reaches this task."""
        try:
            await closed.wait()
        finally:
            shield.shield = False

    async def _take_items(self, iterator: Any, scope: CancelScope) -> None:
        while True:
            cancellation = await self._room_or_end()
            if self._stopping:
                return
            throw = None if cancellation is None else getattr(iterator, "athrow", None)
            self._scopes.add(scope)
            try:
                call = Call(await (anext(iterator) if throw is None else throw(cancellation)))
            except StopAsyncIteration:
                self._exhausted = True
                return
            finally:
                self._scopes.discard(scope)
                del cancellation  # or it and this frame, which is in its traceback, would keep each other alive
            if not self._stopping:
                self._on_their_way += 1
                self._todo.append(call)
                if self._ordered:
                    self._due.append(call)
                self._summon()
            del call

    async def _room_or_end(self) -> BaseException | None:
        """Wait until there is room, or until we stop.

        Returns:
            A cancellation that came meanwhile. It belongs to the source, whose timeout or task group may have asked for
            it, and is thrown in at the next step, as other drivers of this library deliver it (rule A12).
        """
        cancellation: BaseException | None = None
        try:
            while self._on_their_way >= self._limit and not self._stopping:
                self._room = room = Event()
                try:
                    with CancelScope(shield=cancellation is not None):
                        await room.wait()
                except self._cancelled as exc:
                    cancellation = cancellation or exc
            return cancellation
        finally:
            del cancellation

    def _summon(self) -> None:
        """Have another worker come, if there is work for one and none is coming already."""
        if self._summoned or not self._todo:
            return
        if self._idle:
            self._summoned = True
            self._idle.pop().set()
        elif self._workers < self._limit:
            self._summoned = True
            self._workers += 1
            self._start(self._work)

    async def _work(self, scope: CancelScope) -> None:
        """A worker: make calls until there will be no more."""
        self._scopes.add(scope)
        try:
            while True:
                self._summoned = False
                while self._todo:
                    call = self._todo.popleft()
                    self._summon()
                    call.value = await self._call(call.value)
                    self._finish(call)
                    del call
                if self._drained or self._stopping:
                    return
                event = Event()
                self._idle.append(event)
                await event.wait()
        finally:
            self._scopes.discard(scope)

    def _finish(self, call: Call) -> None:
        call.done = True
        if not self._ordered:
            self._due.append(call)
        if self._due and self._due[0].done:
            self._tell()

    def _stop(self) -> None:
        """Cancel every call, and the step of the source if one runs."""
        self._stopping = True
        self._todo.clear()
        for scope in self._scopes:
            scope.cancel()
        if self._room is not None:
            self._room.set()

    def _fail(self, exc: BaseException) -> None:
        """Keep an error for the consumer, unless it is only the cancellation that we, or those around us, asked for."""
        if self._stopping or current_effective_deadline() == float("-inf"):
            remaining = self._without_cancellation(exc)
            if remaining is None or is_exit(remaining):  # a nursery may have both in one group
                self._stop()  # others may wait for what this task will not do
                return
            exc = remaining
        if isinstance(exc, StopAsyncIteration):  # it would end the consumer's loop as if all were well
            exc, cause = RuntimeError("a call of concurrent_map() raised StopAsyncIteration"), exc
            exc.__cause__ = cause
        if self._error is None:
            self._error = exc
        elif isinstance(self._error, Exception) and not isinstance(exc, Exception):
            self._error, exc = exc, self._error  # KeyboardInterrupt and its kind are not for a note
            add_note(self._error, exc)
        else:
            add_note(self._error, exc)
        self._stop()

    def _without_cancellation(self, exc: BaseException) -> BaseException | None:
        """The exception without what is a cancellation; trio's nurseries put one into a group."""
        return without(exc, self._cancelled)


async def stepped(source: Iterable[T]) -> AsyncGenerator[T, None]:
    """A sync iterable as an async generator that closes it if it is a generator."""
    iterator = iter(source)
    try:
        for item in iterator:
            yield item
    finally:
        if isinstance(iterator, Generator):
            iterator.close()


def add_note(exc: BaseException, other: BaseException) -> None:
    """Write on an exception that there was another one."""
    exc.add_note(f"In the same concurrent_map(), while it was ending: {type(other).__qualname__}: {other}")
