"""Hosts of an event loop that runs in a thread of its own: the loop's side of every step.

Theory of operation. All functions here run in the loop's thread, as callbacks of the loop or in a host's task. A thread
that wants a step hands `begin` over and waits on the host's line. The step is first tried in that very callback, with
the identity of the host's parked task borrowed; one that suspends is left to the task, which comes back with `ended`.
So an item that is at hand costs one callback and two changes of thread, and no task, scope or future.

Everything that closes a generator comes together in `end`: it cancels the step that runs, closes the source when that
has stopped, and tells all who wait for it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, final

from asyncgen_tools.errors import ClosedError
from asyncgen_tools.host import PARKED, Marker, own_frames
from asyncgen_tools.loops.admission import context_error, is_entered
from asyncgen_tools.loops.outcomes import RESULTS, Refused, consists_of, outcome_of, replaced
from asyncgen_tools.loops.primitives import TURN
from asyncgen_tools.steps import CLOSE, Outcome, Raised, Returned

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncgen_tools.host import Host

__all__ = ("BackgroundHosts", "Line", "Result")

Result: TypeAlias = Outcome | Marker | Refused


@final
class Line:
    """What connects the thread that steps a host with the loop's thread.

    Args:
        prefetch: how many items the host may be ahead; 0 is lock step.
    """

    __slots__ = (
        "abandoned",
        "ahead",
        "answers",
        "broken_off",
        "closers",
        "closing",
        "command",
        "filling",
        "final",
        "interrupt",
        "item",
        "outcome",
        "prefetch",
        "running",
        "stepper",
        "suspended",
        "timer",
        "wants_close",
    )

    def __init__(self, prefetch: int) -> None:
        self.answers: SimpleQueue[None] = SimpleQueue()  # one for each time that `outcome` was set
        self.outcome: Result | None = None
        self.stepper: int | None = None  # the thread that waited last
        self.item: Any = None
        self.command: Any = None  # of the next step, or what to throw in; held here alone, so that it dies in time
        self.running: bool = False  # a step was begun, and has not ended
        self.suspended: bool = False  # it is left to the host's task
        self.closing: bool = False  # it closes the source
        self.closers: list[Callable[[Result], object]] = []  # to be told when the source is closed
        self.broken_off: bool = False  # the step that runs is cancelled because somebody closes the generator
        self.wants_close: bool = False  # what a thread waits for is not the step, but the close
        self.timer: Any = None
        self.interrupt: BaseException | None = None  # what struck the waiting thread, for which the step was cancelled
        self.abandoned: bool = False  # it was struck a second time, and waits no more
        self.prefetch: int = prefetch
        self.ahead: deque[Any] = deque()  # items that were made and not yet taken
        self.filling: bool = False  # more are being made
        self.final: Outcome | None = None  # what comes after the last of them

    def taken_command(self) -> Any:
        """The command, which is then forgotten."""
        command, self.command = self.command, None
        return command

    def begun(self, host: Host) -> bool:
        """Whether the loop has begun a step of this line's host, or is about to: it makes items ahead."""
        return host.task is not None or self.filling

    def over(self, result: Result) -> bool:
        """Whether this is what comes after the last of the items that were made ahead."""
        return result is self.final

    def taken_final(self) -> Outcome:
        """What comes after the last of the items that were made ahead; an error is forgotten then."""
        final, self.final = self.final, Returned()
        assert final is not None
        return final


class BackgroundHosts(ABC):
    """An event loop in a thread of its own, as far as it keeps hosts."""

    cancelled: ClassVar[tuple[type[BaseException], ...]]
    """What a cancelled step raises."""

    def __init__(self) -> None:
        self.hosts: dict[Host, None] = {}  # those that have a task, in the order of their first steps
        self.waiting: dict[Host, None] = {}  # those for whose step a thread waits
        self.stopping: bool = False
        super().__init__()

    @abstractmethod
    def soon(self, callback: Callable[[], object]) -> bool:
        """Have the loop call something, in the order of these calls; from any thread. False if it has ended."""

    @abstractmethod
    def seat(self, host: Host) -> None:
        """Give the host its task, which has the loop call `seated` once it is parked."""

    @abstractmethod
    def vacate(self, host: Host) -> None:
        """End the host's task, at once or when its step has ended."""

    @abstractmethod
    def borrow(self, host: Host, function: Callable[[Any], Any], argument: Any) -> Any:
        """Call `function(argument)` as the host's task."""

    @abstractmethod
    def adopt(self, host: Host, message: Any) -> None:
        """Let the host's task carry on a step that suspended with `message`, until `host.deadline`."""

    @abstractmethod
    def cancel_step(self, host: Host) -> None:
        """Cancel what the host's task carries on."""

    def break_off(self, host: Host) -> None:
        """Cancel it just this once: closing a generator lets its cleanup wait for what it likes."""
        self.cancel_step(host)

    @abstractmethod
    def mend(self, host: Host) -> None:
        """Take back what `break_off` has done, if the step ended at a yield all the same."""

    @abstractmethod
    def now(self) -> float:
        """The loop's clock, in seconds."""

    @abstractmethod
    def closed_error(self) -> ClosedError:
        """The error of using the loop after its end."""

    def answer(self, host: Host, result: Result) -> None:
        """Give the result to the thread that waits for it, if one does."""
        if self.waiting.pop(host, self) is None:
            host.line.item = host.item  # now, because somebody may close the host before that thread looks
            host.line.outcome = result
            host.line.answers.put(None)

    def answer_step(self, host: Host, result: Result) -> None:
        """Give the result of a step to the thread that waits, unless what it waits for is the close."""
        if not host.line.wants_close:
            self.answer(host, result)

    # Steps -----------------------------------------------------------------------------------------------------

    def begin(self, host: Host) -> None:
        """Take the step that `Line.command` says, for a thread that waits for it."""
        line: Line = host.line
        result: Result
        if self.stopping:
            result = Refused(self.closed_error())
            if line.running:  # it is being closed, and whoever closes it is told in the end
                line.command = None
                self.answer(host, result)
                return
        elif host.task is not None and host not in self.hosts:
            result = Raised(closed_meanwhile(host.name))
        elif line.running:  # another thread closes it just now
            line.closers.append(lambda _: self.answer(host, Raised(closed_meanwhile(host.name))))
            return
        elif host.task is not None:
            line.running = True
            self.take(host)
            return
        elif is_entered(host.context):
            result = Refused(context_error())
        else:
            line.running = True
            self.hosts[host] = None
            try:
                self.seat(host)
                return
            except BaseException as exc:
                del self.hosts[host]
                line.running = False
                result = Raised(exc)
        line.command = None
        self.tell(host, result, result)

    def begin_closing(self, host: Host) -> None:
        """Close the source, for a thread that waits for that."""
        if host.task is None:
            host.line.closers.append(partial(self.answer, host))
            self.begin(host)
        else:
            self.end(host, partial(self.answer, host))

    def seated(self, host: Host) -> None:
        """Take the first step, now that the host's task is parked."""
        line: Line = host.line
        self.take(host)
        if line.prefetch and not line.running:
            self.fill(host)

    def take(self, host: Host) -> None:
        """Take a step: to its end if it does not suspend."""
        line: Line = host.line
        line.closing = host.cancelled_by is not None or bool(line.closers)
        commands: list[Any] = [CLOSE if line.closing else line.taken_command()]
        if commands[0] is not None and not host.body.gi_suspended:
            host.restart(commands[0])
            commands[0] = None
        if host.timeout is not None:
            host.deadline = self.now() + host.timeout
        self.go_on(host, host.body.send, commands)

    def go_on(self, host: Host, function: Callable[[Any], Any], arguments: list[Any]) -> None:
        """Call `function` as the host, and see the step to its end, or leave it to the host's task.

        Args:
            host: whose step it is.
            function: its coroutine's send or throw.
            arguments: the one argument, which is taken out: nothing here may keep an exception in it alive.
        """
        result: Any = None
        try:
            result = self.borrow(host, function, arguments.pop())
        except BaseException as exc:
            result = outcome_of(exc) if host.body.gi_frame is None else Refused(context_error())
        try:
            if isinstance(result, Refused):
                host.line.running = False
                self.tell(host, result, result)
            elif type(result) in RESULTS:
                self.ended(host, result)
            else:
                host.line.suspended = True
                self.adopt(host, result)
        finally:
            del result  # or an exception in it and this frame would keep each other alive

    def ended(self, host: Host, outcome: Outcome | Marker) -> None:
        """A step has come to its end, here or in the host's task."""
        line: Line = host.line
        suspended, line.suspended = line.suspended, False
        reason = host.cancelled_by
        if isinstance(outcome, Marker):
            if (reason is not None or line.closers) and not line.closing:
                self.mend(host)
                self.soon(partial(self.take, host))
                return
            if reason is None:
                line.running = False
                if line.prefetch and not line.closing:
                    self.keep(host, go_on=suspended)
                else:
                    self.tell(host, outcome, outcome)
                return
            outcome = Returned()
        closed = outcome
        ours = line.broken_off or reason is not None
        normal = self.cancelled if ours and (line.broken_off or not line.closing) else ()
        if isinstance(outcome, Raised) and consists_of(outcome.error, (GeneratorExit, *normal)):
            closed = Returned()
        if reason is not None:
            host.cancelled_by = None
            outcome = replaced(outcome, reason(), cancelled=self.cancelled)
            closed = outcome if line.closing else closed
        elif line.broken_off:
            outcome = replaced(outcome, closed_meanwhile(host.name), cancelled=self.cancelled)
        elif line.closing:
            outcome = closed
        line.running = False
        self.dismiss(host)
        if line.prefetch:
            line.final = outcome
        self.tell(host, closed, outcome)

    def tell(self, host: Host, closed: Result, outcome: Result) -> None:
        """Tell those who wait what came of it: first those who closed the generator, then the one who stepped it."""
        closers, host.line.closers = host.line.closers, []
        for then in closers:
            then(closed)
        self.answer_step(host, outcome)

    def dismiss(self, host: Host) -> None:
        """Let go of a host whose generator has ended."""
        del self.hosts[host]
        host.item = None
        host.source = None  # an event loop that shuts down would close even a finished one
        self.vacate(host)

    # Ahead of the consumer -------------------------------------------------------------------------------------

    def keep(self, host: Host, *, go_on: bool) -> None:
        """Put an item with the others that were made ahead."""
        host.line.ahead.append(host.item)
        self.answer_step(host, PARKED)
        if go_on:
            self.soon(partial(self.fill, host))

    def fill(self, host: Host) -> None:
        """Make items until there are as many as allowed, or one suspends."""
        line: Line = host.line
        if host.task is None:
            self.begin(host)
            return
        for _ in range(TURN):
            if line.running or host not in self.hosts:
                return
            if len(line.ahead) >= line.prefetch:
                line.filling = False
                # The consumer may have taken all of them before that, and now wait for more.
                if len(line.ahead) >= line.prefetch or line.filling:  # pragma: no branch  # see below
                    return
                line.filling = True  # pragma: no cover  # only if it does so between these two looks
            line.running = True
            self.take(host)
        self.soon(partial(self.fill, host))

    # The end ---------------------------------------------------------------------------------------------------

    def cancel(self, host: Host, reason: Callable[[], BaseException]) -> None:
        """Cancel the step of a host; it is then closed, and `reason` makes what is raised instead."""
        line: Line = host.line
        if host.cancelled_by is None:
            host.cancelled_by = reason
        if line.suspended:
            self.cancel_step(host)
        elif not line.running:  # pragma: no branch  # it has just ended, or will not be begun; else it just begins
            self.answer_step(host, PARKED)  # not one who waits for the close, which is told next

    def expire(self, host: Host) -> None:
        """The timer of a step has run out."""
        if host.line.suspended and host.cancelled_by is None:
            self.cancel(host, host.timeout_error)

    def end(self, host: Host, then: Callable[[Result], object]) -> None:
        """Close the source of a host, cancelling the step that runs; call `then` with what came of it."""
        line: Line = host.line
        if host not in self.hosts:
            then(Returned())
            return
        line.closers.append(then)
        if not line.running:
            line.running = True
            self.take(host)
        elif line.abandoned:
            self.cancel(host, partial(closed_meanwhile, host.name))
        elif line.suspended and not line.closing and not line.broken_off and host.cancelled_by is None:
            line.broken_off = True
            self.break_off(host)


def closed_meanwhile(name: str) -> ClosedError:
    """The error of a step that was cancelled because somebody else closed its generator."""
    return ClosedError(
        f"{name} was closed by another thread while this one took its steps, which cancels the step that runs: the "
        "next item will never come. Close a generator after its last step, or catch ClosedError where it is stepped."
    )


own_frames(BackgroundHosts.go_on)
