"""What the loops have in common: an event loop that runs in the calling thread, and only while a step runs.

Theory of operation. `steps()` is a native generator that turns commands into steps of one host; it is what the
generator face hands out, so that re-entry, exhaustion and finalisation are CPython's own. Each step is tried in the
caller first, with the identity of the host's parked task borrowed: running loop, current task, context and asyncgen
hooks are as if that task ran. A step that ends without suspending never enters the loop. One that suspends is adopted
by the host's task, and the loop runs until the step has ended. Every `TURN` steps the loop gets a turn of its own, so
that timers, background tasks and signals are not starved.

There is a fast way to take a step, written out in the `steps()` of each loop, and a careful one here, which is taken
whenever the thread does not look as the fast way needs it: first use, a turn that is due, hooks of the caller, misuse.

Here is what happens to one host, from its first step to its end; `sliced_life` opens and closes the loop itself.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar, cast

from asyncgen_tools.host import ABANDONED, IGNORED_EXIT, PARKED, Marker, own_frames, strip_own_frames
from asyncgen_tools.loops.admission import context_error, is_entered
from asyncgen_tools.loops.ends import report_unraisable, warn_unclosed
from asyncgen_tools.loops.hooks import set_hooks
from asyncgen_tools.loops.interrupts import guard_interrupts, release_interrupts
from asyncgen_tools.loops.observers import observers
from asyncgen_tools.loops.outcomes import RESULTS, Refused, is_exit, outcome_of, replaced
from asyncgen_tools.loops.primitives import TURN, State
from asyncgen_tools.loops.sliced_life import SlicedLife
from asyncgen_tools.steps import CLOSE, Outcome, Raised, Returned, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncgen_tools.host import Host, NativeGenerator

__all__ = ("SlicedLoop",)

R = TypeVar("R")


class SlicedLoop(SlicedLife):
    """An event loop of one thread that runs in slices.

    Args:
        private: whether it belongs to one generator, and closes when that ends.
    """

    # Declared by the base as well; repeated because this class assigns them (pyright --verifytypes).
    budget: int
    finishing: bool
    interrupt_noted: bool
    interrupt_sent: bool

    def generator(self, host: Host) -> NativeGenerator:
        """A native generator that steps the host, from where it stands."""
        renewed = host.task is not None
        native = cast("NativeGenerator", self.steps(host, renewed=renewed))
        if renewed:
            next(native)
        for recorder in observers.recorders:
            native = recorder.seated(host, native, renewed=renewed)
        return native

    def close_running(self, host: Host) -> bool:
        """Close a generator that is executing: in the one thread that may use it, there is no way."""
        del host
        return False

    # Steps -----------------------------------------------------------------------------------------------------

    def guarded(self, function: Callable[[Host, Any], R], host: Host, argument: Any = None) -> R | Outcome:
        """Call `function(host, argument)` where Ctrl-C must not strike on our side, and take it up afterwards."""
        held = guard_interrupts(self.on_sigint)
        if held:
            self.interrupt_sent = False
        outer, self.active = self.active, host
        result: R | Outcome | None = None
        try:
            result = function(host, argument)
            if held and self.interrupt_noted:
                self.interrupt_noted = False
                result = self.interrupted(host, KeyboardInterrupt())
                if function == self.settle:
                    self.dismiss(host)
            return result
        finally:
            if held:
                release_interrupts()
            self.active = outer
            del argument, result  # as in settle()
            if held and self.interrupt_noted:  # it came after the last look
                self.raise_interrupt()

    def careful_step(self, host: Host, command: Step | None) -> Outcome | Marker | Refused:
        """Take a step whatever the state of the thread, or say why it cannot be taken."""
        refusal = self.refusal()
        if refusal is not None:
            return Refused(refusal)
        self.make_ready()
        if host.task is None:
            if is_entered(host.context):
                return Refused(context_error())
            self.keep()
            self.seat(host)
            host.restart(command)
            command = host.first = None
        if self.budget <= 0:
            self.turn()
        self.budget -= 1
        if host.timeout is not None:
            host.deadline = self.now() + host.timeout
        hooks = sys.get_asyncgen_hooks()
        restore = hooks[0] is not self.seal[0] and set_hooks(*self.seal)
        try:
            return self.attempt(host, host.body.send, command)
        finally:
            if restore:
                sys.set_asyncgen_hooks(*hooks)
            del command  # as in settle()

    def attempt(self, host: Host, function: Callable[[Any], Any], argument: Any) -> Outcome | Marker | Refused:
        """Call `function(argument)` as the host, and see the step that this begins through to its end."""
        try:
            message = self.borrow(host, function, argument)
        except BaseException as exc:
            return self.failed(host, exc)
        finally:
            del argument  # as in settle()
        return message if isinstance(message, Marker) else self.adopt(host, message)

    def settle(self, host: Host, message: Any) -> Outcome | Marker | Refused:
        """See a step through that did not simply park: carry it on if it suspended, let the host go if it ended."""
        result = cast("Outcome | Marker | Refused", message) if type(message) in RESULTS else self.adopt(host, message)
        try:
            if result is IGNORED_EXIT:  # by a source that was closed before our first step
                return PARKED
            if isinstance(result, Marker):
                return result
            if isinstance(result, Refused):
                host.renew_face()
                return result
            if (
                isinstance(result, Raised)
                and isinstance(result.error, KeyboardInterrupt)
                and not host.source_finished()
            ):
                result = self.interrupted(host, result.error)
            self.dismiss(host)
            return result
        finally:
            # Or an error and this frame would keep each other alive: the frames below point back to it.
            del message, result

    def failed(self, host: Host, exc: BaseException) -> Outcome | Refused:
        """What an exception means that came out of a step in the caller; the thread gets its own identity back."""
        self.leave(host)
        try:
            if host.body.gi_frame is None:
                return outcome_of(exc)
            # It did not come through the host's coroutine: the step was not begun, or a signal struck on our side.
            refusal = self.refusal()
            if refusal is None and isinstance(exc, RuntimeError) and is_entered(host.context):
                refusal = context_error()
            if refusal is not None:
                return Refused(refusal)
            return outcome_of(exc) if self.finishing else self.interrupted(host, exc)
        finally:
            del exc  # as in settle()

    def interrupted(self, host: Host, exc: BaseException) -> Outcome:
        """Finish the source after an exception of a signal handler that the source itself has not seen."""
        self.finishing = True  # and if that fails as well, there is no second time
        try:
            if host.body.gi_suspended and host.body.gi_yieldfrom is None:
                self.attempt(host, host.body.send, CLOSE)
            elif host.body.gi_suspended:
                self.attempt(host, host.body.throw, exc)
            elif host.body.gi_frame is None and not host.source_finished():
                host.restart(CLOSE)
                self.attempt(host, host.body.send, None)
        finally:
            self.finishing = False
        return Raised(strip_own_frames(exc))

    def disturbed(self, host: Host, exc: BaseException) -> Outcome | Marker | Refused:
        """The end of a host whose native generator was struck by an exception between two steps."""
        return self.settle(host, self.failed(host, exc))

    def stop_waiting(self, host: Host, exc: BaseException) -> None:
        """Bring a step to its end after the loop was left by an exception that is not the step's own.

        The first such exception (a SystemExit of a background task, an interrupt that was not asked to wait) cancels
        the step and lets its cleanup finish; the second stops waiting (SEMANTICS A10).
        """
        if self.state is State.DISOWNED:  # the run has crashed
            host.outcome = Raised(exc)
            return
        if host.cancelled_by is None:
            self.cancel(host, lambda: exc)
            try:
                self.slice(host)
            except BaseException as second:
                exc = second
            else:
                return
        for _ in range(TURN):  # each time the source may wait for something in one more `finally`
            try:
                if isinstance(self.borrow(host, host.body.throw, exc), Marker):
                    host.body.close()
                    break
            except BaseException as raised:
                if raised is not exc:
                    exc.__context__ = raised
                break
        self.leave(host)
        try:
            self.cancel(host, lambda: exc)
            self.turn()
        except BaseException as raised:  # the loop has come to its end as well
            exc.__context__ = raised
        host.cancelled_by = None
        host.outcome = Raised(exc)

    def taken_outcome(self, host: Host, *, cancelled: type[BaseException]) -> Outcome | Marker | Refused:
        """The outcome of an adopted step, with the reason in place of the cancellation if this library cancelled it.

        Args:
            host: whose step it was.
            cancelled: the loop's class of cancellation.
        """
        taken, host.outcome = host.outcome, None
        assert taken is not None
        outcome: Outcome | Marker | Refused = taken
        reason, host.cancelled_by = host.cancelled_by, None
        if reason is None:
            return outcome
        error = reason()
        if isinstance(outcome, Marker):
            host.deadline = None
            outcome = self.attempt(host, host.body.send, CLOSE)
        return replaced(outcome, error, cancelled=cancelled)

    # The end ---------------------------------------------------------------------------------------------------

    def closing(self, host: Host, _: Any = None) -> Outcome | Marker | Refused:
        """Close the source because the native generator is being closed, or was dropped."""
        outcome = self.close_host(host)
        try:
            if not host.dropped():
                return PARKED if outcome is IGNORED_EXIT else outcome
            if self.state is State.DISOWNED:
                return Returned()  # a warning was given at exit, or the parent process still has the generator
            if isinstance(outcome, Refused):
                self.abandon(host, outcome.error)
                return ABANDONED
            if outcome is IGNORED_EXIT:
                outcome = Raised(RuntimeError("generator ignored GeneratorExit"))
            tell_lost(outcome)
            return outcome
        finally:
            del outcome  # as in settle()

    def close_host(self, host: Host) -> Outcome | Marker | Refused:
        """Close the source of a host, in a step of its own."""
        if host.source is None:
            return Returned()  # it ended with its runner
        outcome = self.careful_step(host, CLOSE)
        host.item = None
        try:
            return Returned() if isinstance(outcome, Raised) and is_exit(outcome.error) else outcome
        finally:
            del outcome  # as in settle()

    def dismiss(self, host: Host) -> None:
        """Let go of a host whose generator has ended, however it ended; close the loop if it was for this one alone."""
        if host not in self.hosts:
            return
        del self.hosts[host]
        if not self.hosts:
            self.release()
        host.item = None
        host.source = None  # an event loop that shuts down would close even a finished one
        if self.state is State.OPEN:
            try:
                self.vacate(host)
            finally:
                if self.private:
                    self.shut()

    def abandon(self, host: Host, reason: Exception) -> None:
        """Note a host that was dropped where it cannot be closed: its loop does that when it next gets the thread."""
        own = None if self.thread is None else self.thread()
        if own is None:
            self.give_up(forked=False)  # the thread has ended
        else:
            own.abandoned.append((self, host))
        warn_unclosed(host, f"was dropped before its end, and cannot be closed here: {reason}")

    def close_abandoned(self, host: Host) -> None:
        """Close a host that was dropped elsewhere; nobody is left to take its errors but the unraisable hook."""
        outcome = self.close_host(host)
        self.dismiss(host)
        tell_lost(outcome)
        if isinstance(outcome, Raised):
            report_unraisable(outcome.error, host.name)


def tell_lost(outcome: object) -> None:
    """Tell the thread's watchers of an error that nobody can catch."""
    if isinstance(outcome, Raised):
        for watcher in observers.watchers:
            watcher.lost(outcome.error)


own_frames(SlicedLoop.attempt)
