"""in_thread: a sync generator or iterable, consumed from async code, in a worker thread of its own.

All steps run in that one thread and in one context, so database connections, thread-local state and `ContextVar.reset`
work as in synchronous code. Steps and close queue there. `worker` is the thread's side, this module the event loop's.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import atexit
import inspect
import os
import sys
import weakref
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final, overload

from anyio.lowlevel import checkpoint

from asyncgen_tools.arguments import checked_count, close_refused, describe
from asyncgen_tools.bridged_generator import BridgedGenerator
from asyncgen_tools.errors import ArgumentTypeError, ForkError, PrefetchError, SourceTypeError
from asyncgen_tools.host import calling_line, own_frames
from asyncgen_tools.loops.admission import callers_context
from asyncgen_tools.loops.ends import all_of, warn_at
from asyncgen_tools.loops.primitives import TURN
from asyncgen_tools.loops.running import current_waiter
from asyncgen_tools.steps import CLOSE, Operation, Outcome, Raised, Returned, Step, Yielded
from asyncgen_tools.worker import RunAhead, Worker, finished_outcome, is_iterable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from anyio import CapacityLimiter

    from asyncgen_tools.loops.running import Reraise, Waiter
    from asyncgen_tools.protocols import ReturnT, SendT, YieldT

__all__ = ("in_thread",)


@overload
def in_thread(
    source: Generator[YieldT, SendT, ReturnT] | Callable[[], Generator[YieldT, SendT, ReturnT]],
    /,
    *,
    prefetch: int = 0,
    limiter: CapacityLimiter | None = None,
) -> BridgedGenerator[YieldT, SendT, ReturnT]: ...
@overload
def in_thread(
    source: Iterable[YieldT] | Callable[[], Iterable[YieldT]],
    /,
    *,
    prefetch: int = 0,
    limiter: CapacityLimiter | None = None,
) -> BridgedGenerator[YieldT, None, None]: ...
def in_thread(source: Any, /, *, prefetch: int = 0, limiter: CapacityLimiter | None = None) -> Any:
    """A sync generator or iterable as an async generator, whose steps run in one worker thread of its own.

    Args:
        source: a sync generator or iterable, or a function that makes one, which is then called in the thread. Closing
            the result closes it.
        prefetch: how many items the thread may produce before they are asked for. 0 is lock step; with more, a fast
            source is many times cheaper, and values and exceptions cannot be sent into it.
        limiter: one token of this is held while a step runs (with prefetch, while the thread produces), and none in
            between.

    Returns:
        An async generator and async context manager. The thread starts with its first step and ends with the generator;
        its context is a copy of the caller's, taken now. It may be stepped from any task, on asyncio and trio.

    Raises:
        SourceTypeError: the source is not iterable and cannot be called (TypeError).
        ArgumentTypeError: prefetch is no number, or the limiter no limiter (TypeError).
        ArgumentValueError: prefetch is negative (ValueError).

    A step that runs cannot be interrupted. When the task that waits for it is cancelled, it waits on until the step has
    ended, has the generator closed in its thread, and then the cancellation goes on. A task that finds an item ready
    (`prefetch`) gives way to others at least once in 64 items; if it is cancelled there, the generator stays as it is,
    with all items. A generator that is dropped before its end is closed in its thread as well, with a ResourceWarning
    that names the line of this call. Steps raise what the source raises, NoEventLoopError outside of asyncio and trio,
    and ForkError in a forked child (RuntimeError).

    >>> import asyncio
    >>> def numbers():
    ...     yield 1  # may block: the event loop goes on
    ...     yield 2
    >>> async def main():
    ...     async with in_thread(numbers) as items:
    ...         print([item async for item in items])
    >>> asyncio.run(main())
    [1, 2]
    """
    check_threadable(source)
    prefetch = checked_count("prefetch", prefetch, least=0, otherwise="puts the source behind its consumer")
    if limiter is not None and not hasattr(limiter, "acquire_on_behalf_of"):
        raise ArgumentTypeError(
            f"limiter={describe(limiter)} is no capacity limiter, and has no tokens to be held while a step runs. Give "
            "an anyio.CapacityLimiter, or leave it out."
        )
    worker = Worker(source, callers_context())
    engine = PrefetchingEngine(worker, limiter, RunAhead(prefetch)) if prefetch else ThreadEngine(worker, limiter)
    generator: BridgedGenerator[Any, Any, Any] = BridgedGenerator(engine)
    return generator


def check_threadable(source: object) -> None:
    """Refuse what is neither iterable nor callable; a coroutine is closed first."""
    if is_iterable(source) and not inspect.iscoroutine(source):
        return
    if hasattr(type(source), "__aiter__") or inspect.isasyncgenfunction(source):
        hint = "An async generator needs no thread: iterate over it as it is."
    elif inspect.iscoroutine(source):
        close_refused(source)
        hint = "A coroutine needs no thread: await it, and hand over what it gives."
    elif callable(source):
        return
    else:
        hint = "Its class has no __iter__ method, and it cannot be called."
    raise SourceTypeError(
        f"in_thread() takes a sync generator or iterable, or a function that makes one, not {describe(source)}. {hint}"
    )


class ThreadEngine:
    """Takes steps in the worker's thread, one at a time."""

    def __init__(self, worker: Worker, limiter: CapacityLimiter | None) -> None:
        self.worker: Worker = worker
        self.limiter: CapacityLimiter | None = limiter
        self.made_at: tuple[str, int] = calling_line()
        LIVE.add(self)

    @property
    def name(self) -> str:
        """The name of the source."""
        return self.worker.name

    @property
    def source(self) -> object:
        """The generator, while it is alive."""
        worker = self.worker
        return worker.source if worker.iterator is None else worker.iterator

    async def take(self, steps: list[Step], /) -> Outcome:
        """Take a step, unless there is nothing to take it."""
        self.check_process()
        if self.worker.finished or self.worker.left:
            return finished_outcome(steps)
        if self.limiter is None:
            return await self.step(steps)
        borrower = object()
        await self.acquire(borrower, steps)
        try:
            return await self.step(steps)
        finally:
            self.limiter.release_on_behalf_of(borrower)

    def check_process(self) -> None:
        """Refuse a forked child, which does not have the thread."""
        if self.worker.process is not None and self.worker.process != os.getpid():
            raise ForkError(
                f"in_thread({self.name}) was begun before this process was forked, and its thread exists in the parent "
                "alone. Make a new one in the child."
            )

    async def acquire(self, borrower: object, steps: list[Step]) -> None:
        """Wait for a token; if that is cancelled, a generator that was to be closed is."""
        assert self.limiter is not None
        try:
            await self.limiter.acquire_on_behalf_of(borrower)
        except BaseException:
            if steps[0].operation is Operation.CLOSE:
                self.worker.leave()
            raise

    async def step(self, steps: list[Step]) -> Outcome:
        """Hand the step to the thread, and wait until it has ended."""
        waiter = current_waiter()
        self.worker.submit(steps, partial(answer, waiter))
        reraise = await waiter.wait(ignore)
        return waiter.taken() if reraise is None else await self.cancelled(waiter, reraise)

    async def cancelled(self, waiter: Waiter, reraise: Reraise) -> Outcome:
        """Close the generator because the task was cancelled that waited for a step.

        Returns:
            An error that the step or the closing raised; there is nobody else to take it.

        Raises:
            BaseException: the cancellation, otherwise.
        """
        if not self.worker.finished:
            waiter = current_waiter()
            self.worker.submit([CLOSE], partial(answer, waiter))
            await waiter.wait(ignore)
        outcome = waiter.taken()
        if not isinstance(outcome, Raised):
            reraise()
        return outcome

    def __del__(self) -> None:
        worker = self.worker
        if worker.left or worker.process != os.getpid() or sys.is_finalizing():
            return
        finished = worker.finished  # its thread may wait nevertheless, see RunAhead
        worker.leave()
        if not finished:
            self.warn("was dropped before its end; its thread closes it now.")

    def warn(self, what: str) -> None:
        """Warn of a generator whose cleanup is late or lost, at the line that made it."""
        name = f"in_thread({self.name})"
        text = f"{name} {what} Close it where it is used: `async with in_thread(...) as items:`."
        warn_at(self.made_at, text, name=name)


@final
class PrefetchingEngine(ThreadEngine):
    """Takes items that the thread has produced ahead."""

    def __init__(self, worker: Worker, limiter: CapacityLimiter | None, ahead: RunAhead) -> None:
        super().__init__(worker, limiter)
        self.ahead: RunAhead = ahead
        self.borrowers: list[object] = []  # on whose behalf a token is held for the thread's run
        self.budget: int = 0  # items left that may be taken without giving way (SEMANTICS A15)

    async def take(self, steps: list[Step], /) -> Outcome:
        """Take the next item; or close, after what the thread is at."""
        operation = steps[0].operation
        ahead = self.ahead
        if operation is Operation.CLOSE:
            self.stop()
            try:
                return await super().take(steps)
            finally:
                self.leave()
        if operation is not Operation.NEXT:
            raise self.refusal(operation)
        self.check_process()
        if not self.budget and ahead.outcomes:  # while the item is in the store, where a cancellation leaves it
            await checkpoint()
        self.budget = (self.budget or TURN) - 1
        while not ahead.outcomes:
            if self.worker.finished and not ahead.active and not ahead.outcomes:
                return Returned()
            await self.look()
        outcome = ahead.outcomes.popleft()
        if not isinstance(outcome, Yielded):
            give_back(self.limiter, self.borrowers)
            self.worker.leave()
        elif len(ahead.outcomes) <= ahead.limit // 2:
            self.resume()
        return outcome

    def refusal(self, operation: Operation) -> PrefetchError:
        """The error of a step that has no place in a stream of items produced ahead."""
        return PrefetchError(
            f"a{operation.value}() was called on in_thread({self.name}, prefetch={self.ahead.limit}), whose thread has "
            "run ahead of the items that were taken, so the generator is not where it would have to arrive. Leave "
            "prefetch out."
        )

    async def look(self) -> None:
        """Wait until there may be an outcome."""
        ahead = self.ahead
        waiter = current_waiter()
        if not ahead.active and not ahead.outcomes:
            if self.limiter is not None:
                await self.borrow(self.limiter)
            self.produce(waiter)
        if ahead.call_on_arrival(partial(answer, waiter, Returned())):
            return  # pragma: no cover  # it came since the caller looked
        reraise = await waiter.wait(self.stop)
        if reraise is not None:
            self.stop()
            awaited = ahead.outcomes[0]
            try:
                outcome = awaited if isinstance(awaited, Raised) else await self.cancelled(waiter, reraise)
            finally:
                self.leave()
            ahead.outcomes.append(outcome)

    async def borrow(self, limiter: CapacityLimiter) -> None:
        """Wait for a token for the thread's next run."""
        give_back(limiter, self.borrowers)
        borrower = object()
        await limiter.acquire_on_behalf_of(borrower)
        self.borrowers = [borrower]

    def stop(self, *_: object) -> None:
        """Have the thread produce nothing after the item that it is at."""
        self.ahead.stopped = True

    def leave(self) -> None:
        """Have the thread end after the generator has, and forget what it has produced."""
        self.ahead.outcomes.clear()
        if not self.ahead.active:
            give_back(self.limiter, self.borrowers)
        if self.worker.finished:
            self.worker.leave()

    def resume(self) -> None:
        """Have the thread produce more: half is gone. With a limiter, whose token may take long, wait until all is."""
        ahead = self.ahead
        if not (ahead.active or ahead.stopped or self.limiter is not None or self.worker.finished):
            self.produce(current_waiter())

    def produce(self, waiter: Waiter) -> None:
        """Start the thread's next run; the token is given back after it."""
        limiter = self.limiter
        reply = ignore if limiter is None else partial(post, waiter, partial(give_back, limiter, self.borrowers))
        self.worker.run_ahead(self.ahead, reply)

    def __del__(self) -> None:
        self.stop()
        super().__del__()


def answer(waiter: Waiter, outcome: Outcome) -> None:
    """Wake whoever waits for a step; in the thread."""
    post(waiter, partial(waiter.wake, outcome))


def post(waiter: Waiter, callback: Callable[[], object]) -> None:
    """Have an event loop call something, if it has not ended."""
    with suppress(RuntimeError):
        waiter.post(callback)


def give_back(limiter: CapacityLimiter | None, borrowers: list[object]) -> None:
    """Give back the token of a run that has ended: the loop does, or a consumer that learns of the end before."""
    while limiter is not None and borrowers:
        limiter.release_on_behalf_of(borrowers.pop())


def ignore(*_: object) -> None:
    """Do nothing: a step in a thread cannot be interrupted, and a run ahead without a limiter has nothing to return."""


def at_exit() -> None:
    """Warn of what is open when the interpreter exits: its thread may block for ever, so nobody waits for it."""
    for engine in all_of(LIVE):
        worker = engine.worker
        if worker.process == os.getpid() and not worker.finished and not worker.left:
            engine.warn("was still open at the exit of the interpreter, which does not close it.")


#: The engines of the generators that are held, in all threads.
LIVE: Final[weakref.WeakSet[ThreadEngine]] = weakref.WeakSet()

atexit.register(at_exit)
own_frames(ThreadEngine.take)
