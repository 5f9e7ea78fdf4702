"""The worker: a thread that takes the steps of one sync generator, from the first to its close, and then ends.

Theory of operation. Commands come through a queue, so steps and close never meet in the generator. A command names a
step and who gets its outcome; `RunAhead` is the one that produces items before they are asked for, and stops as soon as
there are enough of them or another command has come. The thread holds the worker, and the worker nothing of its
consumers, so that dropping them can end the thread. Nothing here knows an event loop.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast, final

from asyncgen_tools.arguments import describe
from asyncgen_tools.errors import SourceTypeError, UnsupportedStepError
from asyncgen_tools.host import own_frames, strip_own_frames
from asyncgen_tools.steps import CLOSE, NEXT, Operation, Outcome, Raised, Returned, Step, Yielded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextvars import Context

__all__ = ("RunAhead", "Worker", "finished_outcome", "is_iterable")


@final
class RunAhead:
    """Items that are produced before they are asked for.

    Args:
        limit: how many may wait here.
    """

    def __init__(self, limit: int) -> None:
        self.limit: int = limit
        self.outcomes: deque[Outcome] = deque()
        self.arrival: deque[Callable[[], object]] = deque()  # what to call when the next one comes, if anything
        self.active: bool = False  # whether the thread is at it
        self.stopped: bool = False  # whether it should be no more

    def produce(self, perform: Callable[[list[Step]], Outcome]) -> None:
        """Take steps until there are enough items; in the thread."""
        enough = False
        while not enough:
            outcome = perform([NEXT])
            self.outcomes.append(outcome)
            enough = not isinstance(outcome, Yielded) or len(self.outcomes) >= self.limit or self.stopped
            del outcome
            self.active = not enough
            self.alert()

    def alert(self) -> None:
        """Tell whoever waits that it should look again."""
        if self.arrival:
            with suppress(IndexError):  # it was just taken back
                self.arrival.pop()()

    def call_on_arrival(self, call: Callable[[], object]) -> bool:
        """Have something called when there is something to see.

        Returns:
            Whether there is already, and it will not be called. Either this sees what the thread has done by now, or
            the thread sees this.
        """
        self.arrival.append(call)
        if self.outcomes or not self.active:
            try:
                self.arrival.pop()
            except IndexError:  # pragma: no cover  # the thread has taken it, between these few lines
                return False
            return True
        return False


@final
class Worker:
    """A thread of its own for a sync generator.

    Args:
        source: a sync generator or iterable, or a callable that makes one.
        context: where all of it runs.
    """

    def __init__(self, source: Any, context: Context) -> None:
        self.source: Any = source
        self.context: Context = context
        self.name: str = getattr(source, "__qualname__", None) or type(source).__qualname__
        self.iterator: Iterator[Any] | None = None
        self.finished: bool = False
        self.left: bool = False
        self.process: int | None = None  # in which the thread runs
        self.started: bool = False
        self.places: list[None] = [None]  # for one thread
        self.commands: queue.SimpleQueue[tuple[list[Step] | RunAhead, Callable[..., object]] | None] = (
            queue.SimpleQueue()
        )

    def submit(self, steps: list[Step], reply: Callable[[Outcome], object]) -> None:
        """Have the thread take a step.

        Args:
            steps: the one to take; it is taken out.
            reply: called in the thread with what came of it.
        """
        self.start()
        self.commands.put((steps, reply))

    def run_ahead(self, ahead: RunAhead, reply: Callable[[], object]) -> None:
        """Have the thread produce items.

        Args:
            ahead: where to.
            reply: called in the thread when there are enough.
        """
        ahead.active = True
        self.start()
        self.commands.put((ahead, reply))

    def leave(self) -> None:
        """Have the thread close the generator, if it is not finished, and end; nobody waits for that.

        An error in its cleanup goes to `threading.excepthook`.
        """
        self.left = True
        self.commands.put(None)

    def start(self) -> None:
        """Start the thread, if that has not been done."""
        if not self.started:
            self.process = os.getpid()
            # A daemon: a generator that nobody closes must not keep the interpreter from exiting.
            threading.Thread(target=self.work_alone, name=f"in_thread of {self.name}", daemon=True).start()
            self.started = True

    def work_alone(self) -> None:
        """Work, unless another thread does: Ctrl-C may strike `start` when it has started one, and does not know it."""
        try:
            self.places.pop()
        except IndexError:
            return
        self.context.run(self.work)

    def work(self) -> None:
        """What the thread does."""
        try:
            while (command := self.commands.get()) is not None:
                steps, reply = command
                ahead = isinstance(steps, RunAhead)
                if isinstance(steps, RunAhead):
                    steps.produce(self.perform)
                    reply()
                else:
                    reply(self.perform(steps))
                del command, steps, reply  # or what they refer to would live on
                if self.finished and not ahead:  # else the end is seen later, and another command may come first
                    return
            outcome = self.perform([CLOSE])
            if isinstance(outcome, Raised):
                raise outcome.error
        finally:
            self.source = self.iterator = None  # here, where they belong

    def perform(self, steps: list[Step]) -> Outcome:
        """Take the one step in the list."""
        if self.finished:  # in a run ahead
            return finished_outcome(steps)
        outcome = self.attempt(steps)
        if not isinstance(outcome, Yielded) and getattr(self.iterator, "gi_frame", None) is None:
            self.finished = not (isinstance(outcome, Raised) and isinstance(outcome.error, UnsupportedStepError))
        try:
            return outcome
        finally:
            del outcome  # or an error in it and this frame would keep each other alive

    def attempt(self, steps: list[Step]) -> Outcome:
        """Take the one step in the list, whatever comes of it."""
        step = steps.pop()
        operation = step.operation
        try:
            if operation is Operation.NEXT:
                return Yielded(next(self.begin() if self.iterator is None else self.iterator))
            if operation is Operation.CLOSE:
                close(self.source if self.iterator is None else self.iterator)
                return Returned()
            iterator: Any = self.begin() if self.iterator is None else self.iterator
            if operation is Operation.SEND:
                return Yielded(sender(iterator)(step.argument))
            if hasattr(iterator, "throw"):
                return Yielded(iterator.throw(step.argument))
            return Raised(visible(cast("BaseException", step.argument)))
        except StopIteration as stop:
            return Returned(stop.value)
        except BaseException as exc:
            return Raised(visible(strip_own_frames(exc)))
        finally:
            del step  # or an exception that it holds and this frame would keep each other alive

    def begin(self) -> Iterator[Any]:
        """Iterate the source."""
        source: Any = self.source
        if not is_iterable(source):
            source = source()
            if not is_iterable(source):
                if hasattr(source, "close"):
                    source.close()
                raise SourceTypeError(
                    f"in_thread({self.name}) called it, and got {describe(source)}, which is not iterable. Give it a "
                    "sync generator or iterable, or a function that returns one; async generators need no thread."
                )
        self.iterator = iter(source)
        return self.iterator


def is_iterable(source: object) -> bool:
    """Whether `iter()` takes it."""
    kind: Any = type(source)
    return hasattr(kind, "__iter__") or hasattr(kind, "__getitem__")


def close(iterator: Any) -> None:
    """Close an iterator that can be closed; a source that was never iterated only if it is one."""
    if hasattr(iterator, "__next__") and hasattr(iterator, "close"):
        iterator.close()


def sender(iterator: Any) -> Callable[[object], Any]:
    """The `send` of an iterator that has one."""
    if not hasattr(iterator, "send"):
        raise UnsupportedStepError(
            f"{type(iterator).__qualname__!r} object has no attribute 'send': it is an iterator, not a generator, and "
            "takes no values. Use anext(), or wrap it in a generator that does.",
            name="send",
            obj=iterator,
        )
    return cast("Callable[[object], Any]", iterator.send)


def visible(error: BaseException) -> BaseException:
    """An error that no coroutine and no loop takes for the end of iteration (PEP 479)."""
    if not isinstance(error, StopIteration | StopAsyncIteration):
        return error
    replaced = RuntimeError(f"async generator raised {type(error).__name__}")
    replaced.__cause__ = replaced.__context__ = error
    return replaced


def finished_outcome(steps: list[Step]) -> Outcome:
    """What comes of a step after the end."""
    step = steps.pop()
    try:
        if step.operation is Operation.THROW:
            return Raised(cast("BaseException", step.argument))
        return Returned()
    finally:
        del step  # or an exception that it holds and this frame would keep each other alive


own_frames(Worker.attempt, Worker.begin)
