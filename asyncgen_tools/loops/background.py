"""Generators of an event loop in a thread of its own: the side of the threads that step them.

Theory of operation. `steps` is the native generator that a face hands out. A step is handed over to the loop's thread
(`background_hosts`), and the calling thread waits on the host's line. Nothing waits where that could be for ever: in
the loop's own thread, in a forked child, after the loop's end (`background_thread`); and a dropped generator waits
only where nothing else is held up by it.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import get_ident
from typing import TYPE_CHECKING, Any, cast

from asyncgen_tools.errors import PrefetchError
from asyncgen_tools.host import ABANDONED, IGNORED_EXIT, PARKED, Marker, own_frames, strip_own_frames
from asyncgen_tools.loops.background_thread import BackgroundThread, error_in
from asyncgen_tools.loops.ends import report_unraisable, warn_unclosed
from asyncgen_tools.loops.interrupts import get_interruptibly, guard_interrupts, on_sigint, release_interrupts
from asyncgen_tools.loops.outcomes import Refused
from asyncgen_tools.loops.primitives import State
from asyncgen_tools.steps import CLOSE, Outcome, Raised, Returned, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from asyncgen_tools.host import Host, NativeGenerator
    from asyncgen_tools.loops.background_hosts import Line, Result

__all__ = ("BackgroundLoop",)


class BackgroundLoop(BackgroundThread):
    """An event loop in a thread of its own, which starts on its first use.

    Args:
        options: the backend's, checked.
        name: of the thread.
    """

    # Steps -----------------------------------------------------------------------------------------------------

    def generator(self, host: Host) -> NativeGenerator:
        """A native generator that steps the host, from where it stands."""
        renewed = host.task is not None
        native = cast("NativeGenerator", self.steps(host, renewed=renewed))
        if renewed:
            next(native)
        return native

    def steps(self, host: Host, *, renewed: bool) -> Generator[Any, Step | None, Any]:
        """The native generator: takes commands (None is next), yields what the source yields."""
        line: Line = host.line
        advance = self.step_ahead if line.prefetch else self.step
        message: Any = PARKED if renewed else None
        command: Step | None = None
        try:
            if message is None:
                message = advance(host, host.first)
            while True:
                if message is not PARKED and message is not IGNORED_EXIT:
                    break
                try:
                    command = yield line.item
                except GeneratorExit:
                    message = self.closing(host)
                    continue
                message = advance(host, command)
        except BaseException as exc:
            message = self.disturbed(host, exc)
        if isinstance(message, Returned):
            return message.value
        if message is ABANDONED:
            return None
        if isinstance(message, Refused):
            host.renew_face()
        try:
            raise message.error
        finally:
            del message, command  # or the error and this frame would keep each other alive

    def step(self, host: Host, command: Step | None) -> Result:
        """Have the loop take a step, and wait for its end."""
        refusal = self.refusal()
        if refusal is not None:
            return Refused(refusal)
        if self.state is State.NEW:
            self.open()
        host.first = None
        if command is CLOSE:
            host.line.wants_close = True
            result = self.hand_over(host, partial(self.begin_closing, host))
        else:
            host.line.command = command
            result = self.hand_over(host, partial(self.begin, host))
        host.line.wants_close = False
        return result

    def hand_over(self, host: Host, callback: Callable[[], object] | None) -> Result:
        """Have the loop call something, if there is something, and wait for the answer."""
        line: Line = host.line
        result = self.exchange(host, callback)
        return result if line.interrupt is None else self.interrupted(host, result)

    def exchange(self, host: Host, callback: Callable[[], object] | None) -> Result:
        """Have the loop call something and wait for the answer, which an exception of a signal handler may be."""
        line: Line = host.line
        line.stepper = get_ident()
        held = guard_interrupts(partial(self.on_sigint, host))
        try:
            self.waiting[host] = None
            if callback is not None:
                self.soon(callback)
            elif line.ahead or line.final is not None:  # made since this thread last looked
                self.answer(host, PARKED)
            if self.state is State.CLOSED:  # the loop's thread has looked for those who wait, maybe before this one did
                self.answer(host, Raised(self.closed_error()))
            self.wait(line)
        except BaseException as exc:
            self.stop_waiting(host, exc)
        finally:
            if held:
                release_interrupts()
        result, line.outcome = line.outcome, None
        assert result is not None
        return result

    def wait(self, line: Line) -> None:
        """Wait for an answer."""
        while line.outcome is None:
            get_interruptibly(line.answers)

    def step_ahead(self, host: Host, command: Step | None) -> Result:
        """Give the next of the items that were made ahead, and wait if there is none."""
        line: Line = host.line
        if command is CLOSE:
            return self.step(host, CLOSE)
        if command is not None:
            return Refused(prefetch_error(host, command))
        while not line.ahead or self.state is State.DISOWNED:
            result = self.next_ahead(host)
            if result is not PARKED:
                return result
        line.item = line.ahead.popleft()
        if not line.filling and line.final is None and len(line.ahead) <= line.prefetch // 2:
            line.filling = True
            self.soon(partial(self.fill, host))
        return PARKED

    def next_ahead(self, host: Host) -> Result:
        """Wait until an item was made, or give what comes after the last."""
        line: Line = host.line
        refusal = self.refusal()
        if refusal is not None:
            return Refused(refusal)
        if self.state is State.NEW:
            self.open()
        if not line.filling and line.final is None:
            line.filling = True
            self.soon(partial(self.fill, host))
        if line.final is None:
            result = self.hand_over(host, None)
            if not line.over(result):
                return result
        # Whatever was made before it came first.
        return PARKED if line.ahead else line.taken_final()

    # Ctrl-C ----------------------------------------------------------------------------------------------------

    def on_sigint(self, host: Host) -> bool:
        """Cancel the step that is waited for; the second time, have it raised out of the waiting."""
        if host.line.interrupt is not None:
            return True
        self.cancel_for(host, KeyboardInterrupt())
        return False

    def cancel_for(self, host: Host, exc: BaseException) -> None:
        """Have the step cancelled because this exception struck the thread that waits for it."""
        host.line.interrupt = exc
        self.soon(partial(self.cancel, host, lambda: exc))

    def stop_waiting(self, host: Host, exc: BaseException) -> None:
        """Wait for the end of a cancelled step after the first exception of a signal handler, no more after the second.

        An exception strikes here that is not Python's own KeyboardInterrupt, or is its second (SEMANTICS A10).
        """
        line: Line = host.line
        if line.interrupt is None:
            try:
                self.cancel_for(host, exc)
                self.wait(line)
            except BaseException as second:
                exc = second
            else:
                return
        line.interrupt = exc
        line.abandoned = True
        self.waiting.pop(host, None)
        line.outcome = Raised(exc)

    def interrupted(self, host: Host, result: Result) -> Outcome:
        """What comes of a step that was cancelled because an exception struck the waiting thread."""
        line: Line = host.line
        exc = line.interrupt
        assert exc is not None
        if isinstance(result, (Marker, Refused)) and line.begun(host):
            line.wants_close = True
            result = self.exchange(host, partial(self.begin_closing, host))
        if isinstance(result, Raised) and result.error is not exc and result.error is not exc.__cause__:
            exc.__context__ = result.error
        exc, line.interrupt = line.interrupt or exc, None
        return Raised(strip_own_frames(exc))

    def disturbed(self, host: Host, exc: BaseException) -> Result:
        """Close the source because an exception of a signal handler struck this thread between two steps."""
        if not host.line.begun(host) or self.refusal() is not None:
            return Raised(strip_own_frames(exc))
        host.line.interrupt = exc
        return self.interrupted(host, PARKED)

    # The end of a generator ------------------------------------------------------------------------------------

    def closing(self, host: Host) -> Result:
        """Close the source because the native generator is being closed, or was dropped."""
        if host.source is None or (self.state is State.CLOSED and self.process == os.getpid()):
            return Returned()  # it ended with its portal
        if not host.dropped():
            return self.step(host, CLOSE)
        if self.process != os.getpid() or self.state is not State.OPEN:
            return Returned()  # the parent process still has the generator, or a warning was given at exit
        reason = self.cannot_wait()
        if reason is not None:
            self.abandon(host, reason)
            return ABANDONED
        result = self.step(host, CLOSE)
        return Raised(RuntimeError("generator ignored GeneratorExit")) if result is IGNORED_EXIT else result

    def abandon(self, host: Host, reason: str) -> None:
        """Have the loop close a host, without waiting for that."""
        self.soon(partial(self.end, host, partial(self.report, host)))
        warn_unclosed(host, f"was dropped before its end; its portal closes it, but nobody waits: {reason}.")

    def report(self, host: Host, result: Result) -> None:
        """Report what came of closing a generator that was dropped."""
        error = error_in(result)
        if error is not None:
            report_unraisable(error, host.name)

    def close_running(self, host: Host) -> bool:
        """Close a generator whose step another thread waits for: cancel the step, and wait for its end.

        Returns:
            Whether it was another thread; the caller cannot close what it is itself executing.

        Raises:
            BaseException: what the cleanup raised.
        """
        if self.refusal() is not None or host.line.stepper == get_ident():
            return False
        self.open()  # which that thread may be waiting for
        results: SimpleQueue[Result] = SimpleQueue()
        if self.state is State.OPEN:
            self.soon(partial(self.end, host, results.put))
        while self.thread.is_alive():
            with suppress(Empty):
                error = error_in(results.get(timeout=0.1))
                if error is None:
                    break
                try:
                    raise error
                finally:
                    del error  # or the error and this frame would keep each other alive
        return True


def prefetch_error(host: Host, command: Step) -> PrefetchError:
    """The error of a value or an exception for a generator that has run ahead."""
    return PrefetchError(
        f"{command.operation.value}() into {host.name} was refused: with prefetch={host.line.prefetch} it runs ahead "
        "of its consumer, and has left the yield that this would answer. Leave prefetch out to send and throw."
    )


own_frames(
    BackgroundLoop.step,
    BackgroundLoop.hand_over,
    BackgroundLoop.exchange,
    BackgroundLoop.wait,
    on_sigint,
)
