"""In a loop that runs already: how a task waits for a step that is taken elsewhere, and how a host gets its own task.

Theory of operation. A consumer hands a step over, to a host's task or to a thread, and waits (`Waiter`). The step
cannot be abandoned: nobody would own what it does next. So a cancellation of the consumer does not end its wait; it is
passed on to whatever takes the step, and raised when that has ended.

A host's task (`HostTask`) belongs to no scope of its consumers. Were it inside the scope that somebody has around the
block, a shield around one step would not protect that step. So cancellation reaches it on two ways only: from the
consumer that waits for a step, and from the scopes that the generator itself holds. The latter may cancel it while it
is parked; the generator gets to know at its next suspension. The former is for that step alone; but a scope that was
cancelled stays so. So there are two scopes around all of the host's life, and between cancelled steps the inner one
shields from the outer.

`asyncio_task.py` and `trio_task.py` have what differs between the libraries.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import functools
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast

from asyncgen_tools.arguments import check_send
from asyncgen_tools.errors import NoEventLoopError, StepCancelledError
from asyncgen_tools.host import PARKED, own_frames, request, stepper, wait
from asyncgen_tools.loops.admission import loaded
from asyncgen_tools.loops.ends import report_unraisable, warn_at
from asyncgen_tools.loops.outcomes import is_exit, outcome_of
from asyncgen_tools.steps import CLOSE, Operation, Outcome, Raised, Returned, Step, Yielded

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from asyncgen_tools.host import Host

__all__ = ("HostTask", "Waiter", "current_waiter", "give_way", "new_host_task")

Reraise: TypeAlias = Callable[[], object]
"""Raises the cancellation of a consumer, which has waited until its step ended."""


class Waiter(ABC):
    """The wait of the current task for the outcome of one step, or of closing."""

    cancelled_class: ClassVar[type[BaseException]]
    """What the library raises in a task that is cancelled."""

    outcome: Outcome | None = None
    late: bool = False
    """Whether the task was cancelled only after the outcome had come, and before it could take it."""
    scope_cancelled: bool = False
    """Whether the step was cancelled by the host's scope."""

    @abstractmethod
    async def wait(self, cancel: Callable[[bool], object]) -> Reraise | None:
        """Wait for the outcome, whatever happens.

        Args:
            cancel: called when the task is cancelled before there is an outcome, perhaps several times; told whether a
                cancelled scope is behind it, which goes on cancelling, or a single request (asyncio's `Task.cancel`).

        Returns:
            How to raise the cancellation, if the task was cancelled.
        """

    @abstractmethod
    def wake(self, outcome: Outcome) -> None:
        """End the wait; from within the loop."""

    @abstractmethod
    def post(self, callback: Callable[[], object]) -> None:
        """Have the loop call something; from any thread.

        Raises:
            RuntimeError: the loop has ended.
        """

    def taken(self) -> Outcome:
        """The outcome, after the wait."""
        assert self.outcome is not None
        return self.outcome

    def less_cancellations(self) -> Outcome | None:
        """The outcome without the cancellations in it; None if it is nothing else, but GeneratorExit beside them."""
        error = self.outcome.error if isinstance(self.outcome, Raised) else None
        if isinstance(error, BaseExceptionGroup):
            cancelled, rest = cast("BaseExceptionGroup[BaseException]", error).split(self.cancelled_class)
            if cancelled is not None:
                return None if rest is None or is_exit(rest) else Raised(rest)
        return None if isinstance(error, self.cancelled_class) else self.outcome


class HostTask(ABC):
    """A host's task in the running loop; it takes one step at a time until it is joined.

    Args:
        host: the source, and the context of the task.
    """

    def __init__(self, host: Host) -> None:
        self.host: Host = host
        self.waiter: Waiter | None = None  # of whoever waits for the step that was handed over
        self.joiner: Waiter | None = None  # of whoever waits for the end
        self.leaving: bool = False
        self.ended: bool = False
        self.scope_cancelled: bool = False  # the step under way
        self.shield: Any = None  # the inner scope; the outer one is Host.scope
        self.advance: Callable[[Any], Any] | None = None  # begins `anext`, once the source was iterated

    @property
    @abstractmethod
    def here(self) -> bool:
        """Whether the current task belongs to the same loop."""

    @property
    @abstractmethod
    def inside(self) -> bool:
        """Whether the current task is this one."""

    @abstractmethod
    def new_waiter(self) -> Waiter:
        """A wait of the current task."""

    @abstractmethod
    def start(self) -> None:
        """Make the task."""

    @abstractmethod
    async def park(self) -> None:
        """Wait until there is something to do."""

    @abstractmethod
    def wake(self) -> None:
        """End the parking, if it is parked."""

    @abstractmethod
    def delivering(self, step: Awaitable[Any]) -> Awaitable[Any]:
        """The step, in which a cancellation arrives that came while the task was parked."""

    @abstractmethod
    def cancel(self, by_scope: bool) -> None:
        """Cancel the step under way: by a scope around all of the host's life, or as `Task.cancel` does."""

    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return self.host.work is PARKED and not self.leaving

    async def take(self, steps: list[Step]) -> Outcome:
        """Have the task take a step.

        Args:
            steps: the one to take; it is taken out, since it may hold an exception whose traceback has this frame.

        Returns:
            What came of it.

        Raises:
            BaseException: the current task was cancelled, and so was the step.
        """
        waiter = self.waiter = self.new_waiter()
        self.host.work = steps.pop()
        self.wake()
        reraise = await waiter.wait(self.cancel)
        outcome = waiter.taken()
        if reraise is None:
            if waiter.scope_cancelled:
                return waiter.less_cancellations() or Raised(self.step_cancelled(outcome))
            return outcome
        if waiter.late and isinstance(outcome, Yielded) and not self.leaving:
            # The item can go nowhere, and to lose one silently would be worse than to end.
            outcome = await self.take([CLOSE])
        if waiter.less_cancellations() is None or (waiter.late and not isinstance(outcome, Raised)):
            reraise()
        return outcome

    def step_cancelled(self, outcome: Outcome | None) -> StepCancelledError:
        """The error for a consumer whose step was cancelled on account of somebody else."""
        error = StepCancelledError(
            f"A step of {self.host.name} was cancelled, although whoever waits for it was not: meanwhile the `async "
            "with hosted(...)` block was left. The generator is finished. Take steps only in tasks that end before the "
            "block does."
        )
        error.__cause__ = outcome.error if isinstance(outcome, Raised) else None
        return error

    async def join(self) -> Outcome:
        """Have the task close the source, and wait for its end; a step that is under way is cancelled.

        Returns:
            What came of closing.

        Raises:
            RuntimeError: the current task is this one, which cannot wait for its own end.
            BaseException: the current task was cancelled, and closing raised nothing else.
        """
        if self.ended:
            return Returned()
        if self.inside:
            raise RuntimeError(
                f"hosted({self.host.name}): asynchronous generator is already running. It cannot wait for the end of "
                "its own block: let it return or raise, and leave the block in the task that steps it."
            )
        waiter = self.joiner = self.new_waiter()
        if self.waiter is not None:
            self.cancel(by_scope=True)
        self.leave()
        reraise = await waiter.wait(self.cancel)
        outcome = waiter.less_cancellations() or Returned()  # whoever was cancelled knows
        if reraise is not None and not isinstance(outcome, Raised):
            reraise()
        return outcome

    def leave(self) -> None:
        """Have the task close the source and end."""
        self.leaving = True
        self.wake()

    def forsake(self) -> None:
        """Leave because the loop comes to its end, and nobody has joined."""
        self.leave()
        text = (
            f"The event loop ended inside the `async with hosted(...)` block of {self.host.name}: the generator is "
            "closed now, but the end of the block was not reached. Leave the block before the loop ends."
        )
        warn_at(self.host.made_at, text, name=self.host.name)

    async def live(self) -> None:
        """What the task does: take the steps that are handed over; at the end, close the source."""
        host = self.host
        while True:
            while self.idle():
                await self.park()
            if host.work is PARKED:
                break
            self.wake_waiter(await self.perform())
        host.work = CLOSE
        self.end(await self.perform())

    def cancel_scope(self) -> None:
        """Cancel the step under way by the scope around all of the host's life."""
        self.scope_cancelled = True
        self.shield.shield = False
        self.host.scope.cancel()

    def wake_waiter(self, outcome: Outcome) -> None:
        """Give the outcome of a step to whoever waits for it; its cancellation ends with it."""
        waiter, self.waiter = self.waiter, None
        if waiter is not None:
            if self.scope_cancelled:
                self.scope_cancelled = False
                self.shield.shield = waiter.scope_cancelled = True
            waiter.wake(outcome)

    def end(self, outcome: Outcome) -> None:
        """Take no step any more; give the outcome of closing to whoever waits for it."""
        self.ended = True
        joiner, self.joiner = self.joiner, None
        if joiner is not None:
            joiner.wake(outcome)
        elif isinstance(outcome, Raised) and isinstance(outcome.error, Exception):
            report_unraisable(outcome.error, self.host.name)

    async def perform(self) -> Outcome:
        """Take the step that was handed over."""
        host = self.host
        step, host.work = host.work, PARKED
        operation = step.operation
        try:
            steps = [step]
            del step  # or an exception that it holds and this frame would keep each other alive
            awaitable = self.begin(steps)
            value = await (awaitable if host.pending is None else self.delivering(awaitable))
        except BaseException as exc:
            if self.ended_unaware(operation):
                self.finish()
            if operation is Operation.CLOSE and is_exit(exc):
                return Returned()
            return outcome_of(exc)
        if operation is not Operation.CLOSE:
            return Yielded(value)
        if not hasattr(host.source, "aclose"):
            self.finish()
        return Returned()

    def begin(self, steps: list[Step]) -> Awaitable[Any]:
        """The awaitable of a step, which is taken out of the list."""
        host = self.host
        if self.advance is None and steps[0].operation is not Operation.CLOSE:
            host.source = aiter(host.source)
            self.advance = stepper(host.source)
        operation = steps[0].operation
        if self.advance is not None and (
            operation is Operation.NEXT or (operation is Operation.SEND and host.source is None)
        ):
            return cast("Awaitable[Any]", self.advance(host.source))
        if operation is Operation.SEND:
            check_send(host.source)
        return wait([request(host.source, steps.pop())])

    def ended_unaware(self, operation: Operation) -> bool:
        """Whether the source has ended by this step, and does not know."""
        source = self.host.source
        if operation is Operation.THROW and not hasattr(source, "athrow"):
            return True
        # CPython 3.11 counts a generator as running for ever if its aclose() was cancelled
        return self.host.source_finished() and getattr(source, "ag_running", False)

    def finish(self) -> None:
        """Be finished, with a source that does not know."""
        self.host.source = None
        self.advance = exhausted


async def exhausted(_source: object) -> None:
    """`anext` of a source that has ended."""
    raise StopAsyncIteration


@functools.cache
def library(name: str) -> Any:
    """Our module for the tasks of a library."""
    return importlib.import_module(f"asyncgen_tools.loops.{name}_task")


def current_library() -> str:
    """The library whose task runs now.

    Raises:
        NoEventLoopError: none does.
    """
    lowlevel = loaded("trio", "lowlevel")
    if lowlevel is not None and lowlevel.in_trio_task():  # in guest mode a loop of asyncio may run around it
        return "trio"
    get_running_loop = loaded("asyncio.events", "_get_running_loop")
    if get_running_loop is not None and get_running_loop() is not None:
        return "asyncio"
    raise NoEventLoopError(
        "There is no task of asyncio or trio running here, and without one nothing can wait for a step. Await it in "
        "a coroutine that asyncio.run(), trio.run() or anyio.run() runs."
    )


def current_waiter() -> Waiter:
    """A new wait of the current task."""
    return cast("Waiter", library(current_library()).TaskWaiter())


async def give_way() -> None:
    """Let the other tasks of the loop run; the current task may be cancelled here."""
    await library(current_library()).checkpoint()


def new_host_task(host: Host) -> HostTask:
    """A task for the host in the running loop, not started yet."""
    return cast("HostTask", library(current_library()).LibraryHostTask(host))


own_frames(HostTask.live, HostTask.perform, HostTask.begin, exhausted)
