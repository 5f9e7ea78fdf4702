"""Slices of an asyncio loop, uvloop's included.

Theory of operation. The host is a task of the loop, see `asyncio_hosts`. A step is first tried in the caller:
`_enter_task` and `_set_running_loop`, which asyncio documents for implementers of event loops, make it run as that
task. If it suspends, it is left to the task, and the loop runs until it has ended.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from asyncio.events import (
    _get_running_loop,  # pyright: ignore[reportPrivateUsage]  # "this function is for event loop implementers", as are
    _set_running_loop,  # pyright: ignore[reportPrivateUsage]  # the other three; they are in asyncio's documentation
)
from asyncio.tasks import (
    _enter_task,  # pyright: ignore[reportPrivateUsage]
    _leave_task,  # pyright: ignore[reportPrivateUsage]
)
from typing import TYPE_CHECKING, Any, Final, cast, final

from asyncgen_tools.host import ABANDONED, PARKED, own_frames
from asyncgen_tools.loops.asyncio_hosts import (
    AsyncioHosts,
    Leave,
    Resume,
    detach_selector,
    dropped_generators,
    loop_maker,
    quieten,
)
from asyncgen_tools.loops.observers import observers
from asyncgen_tools.loops.options import checked_options
from asyncgen_tools.loops.primitives import TURN, State
from asyncgen_tools.loops.sliced import SlicedLoop
from asyncgen_tools.steps import Outcome, Returned, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from asyncgen_tools.host import Host, Marker
    from asyncgen_tools.loops.hooks import HookSeal
    from asyncgen_tools.loops.outcomes import Refused

__all__ = ("AsyncioLoop",)

get_hooks: Final = sys.get_asyncgen_hooks


@final
class AsyncioLoop(AsyncioHosts, SlicedLoop):
    """An asyncio event loop that runs in slices.

    Args:
        options: anyio's `debug`, `use_uvloop` and `loop_factory`.
        private: whether it belongs to one generator, and closes when that ends.
    """

    # Declared by the base as well; repeated because this class assigns them (pyright --verifytypes).
    budget: int

    def __init__(self, options: dict[str, Any], *, private: bool) -> None:
        super().__init__(private=private)
        self.new_loop: Callable[[], asyncio.AbstractEventLoop] = checked_options(loop_maker, options, backend="asyncio")
        self.loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]  # made by start()
        self.nudged: bool = False  # whether the loop has to be told of signals that came while it did not run

    # Longer than a function should be, and alike in each loop: calls cost more here than all else (see `sliced`).
    def steps(self, host: Host, *, renewed: bool) -> Generator[Any, Step | None, Any]:
        message: Any = PARKED if renewed else None
        command: Step | None = None
        try:
            if message is None:
                message = self.guarded(self.careful_step, host, host.first)
            firstiter, loop, task, timeout = self.seal[0], self.loop, host.task, host.timeout
            run, send = host.context.run, host.body.send
            while True:
                if message is not PARKED:
                    message = self.guarded(self.settle, host, message)
                    if message is not PARKED:
                        break
                try:
                    command = yield host.item
                except GeneratorExit:
                    pass  # and closed below: what the loop runs there would have it as the context of its errors
                else:
                    if self.budget > 0 and get_hooks().firstiter is firstiter:
                        self.budget -= 1
                        if timeout is not None:
                            host.deadline = loop.time() + timeout
                        try:
                            _enter_task(loop, task)
                            try:
                                _set_running_loop(loop)
                                message = run(send, command)
                            finally:  # and not by a function: the recursion may be too deep for that
                                _set_running_loop(None)
                                _leave_task(loop, task)
                        except BaseException as exc:
                            message = self.guarded(self.failed, host, exc)
                    else:
                        message = self.guarded(self.careful_step, host, command)
                    continue
                message = self.guarded(self.closing, host)
        except BaseException as exc:
            message = self.guarded(self.disturbed, host, exc)
        if isinstance(message, Returned):
            return message.value
        if message is ABANDONED:
            return None
        try:
            raise message.error
        finally:
            del message, command  # or the error and this frame would keep each other alive

    def start(self, seal: HookSeal) -> None:
        self.loop = self.new_loop()
        self.loop.call_soon(seal.take_hooks)  # they are in place while the loop runs
        self.nudged = not isinstance(self.loop, asyncio.BaseEventLoop)

    def seat(self, host: Host) -> None:
        host.task = self.loop.create_task(
            self.occupy(host), name=f"asyncgen_tools host of {host.name}", context=host.context.copy()
        )
        host.task._log_destroy_pending = False  # we warn of generators that are lost, in the user's words
        self.hosts[host] = None
        self.turn()  # a task that has not begun would be cancelled without ever running

    def vacate(self, host: Host) -> None:
        self.wake(host, Leave)
        if not self.private:  # a private loop is stopped next, which runs it
            self.turn()

    def borrow(self, host: Host, function: Callable[[Any], Any], argument: Any) -> Any:
        if host.scope is not None:  # parked under a shield, where the generator must not run
            return Resume(function, argument)
        _enter_task(self.loop, host.task)
        try:
            _set_running_loop(self.loop)
            return host.context.run(function, argument)
        finally:  # as in steps()
            _set_running_loop(None)
            _leave_task(self.loop, host.task)
            del argument  # or an exception in it and this frame would keep each other alive

    def leave(self, host: Host) -> None:
        if (  # pragma: no cover  # true only if a signal strikes where a step ends; tests that do that cannot be traced
            host.task is not None and not host.body.gi_running and asyncio.current_task(self.loop) is host.task
        ):
            _set_running_loop(None)
            _leave_task(self.loop, cast("asyncio.Task[None]", host.task))

    def inside(self) -> bool:
        return _get_running_loop() is self.loop

    def now(self) -> float:
        return self.loop.time()

    def turn(self) -> None:
        self.nudge()
        self.loop.stop()  # before it runs, this means: run what is due, then return
        self.slice(None)

    def nudge(self) -> None:
        """Tell the loop of signals that came while it did not run."""
        if self.nudged and threading.get_ident() == threading.main_thread().ident:
            self.loop.call_soon(notice_signals)

    def slice(self, host: Host | None) -> None:
        """Run the loop until the host's step has ended, or once.

        The collector may strike anywhere here, and close a generator that it finds, which runs the loop inside of this.
        """
        outer, self.waiting = self.waiting, host
        try:
            if host is None:
                self.run_once()
            else:
                while host.outcome is None:
                    self.run_once()
        finally:
            self.waiting = outer
            if outer is not None and outer.outcome is not None:  # the loop is about to run for a step that has ended
                self.loop.stop()
            self.budget = 0 if self.shielded or self.state is not State.OPEN else TURN

    def run_once(self) -> None:
        """Run the loop until it is stopped; with the seal for its hooks if somebody watches, who would not see others.

        The loop installs its hooks before anything else runs, so they are replaced where it looks for them: on itself.
        """
        if not observers.watchers or self.hook_seal is None or self.hook_seal.firstiter is None:
            self.loop.run_forever()
            return
        names = vars(self.loop)
        names["_asyncgen_firstiter_hook"], names["_asyncgen_finalizer_hook"] = self.seal
        try:
            self.loop.run_forever()
        finally:
            del names["_asyncgen_firstiter_hook"], names["_asyncgen_finalizer_hook"]

    def adopt(self, host: Host, message: Any) -> Outcome | Marker | Refused:
        host.outcome = None
        self.wake(host, message)
        timer = None if host.deadline is None else self.loop.call_at(host.deadline, self.expire, host)
        try:
            self.slice(host)
        except BaseException as exc:
            self.stop_waiting(host, exc)
        finally:
            if timer is not None:
                timer.cancel()
        return self.taken_outcome(host, cancelled=asyncio.CancelledError)

    def cancel(self, host: Host, reason: Callable[[], BaseException]) -> None:
        host.cancelled_by = reason
        host.task.cancel()

    def expire(self, host: Host) -> None:
        """The timer of a step has run out."""
        if host.outcome is None and host.cancelled_by is None:
            self.cancel(host, host.timeout_error)

    def soon(self, callback: Callable[[], object]) -> None:
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError:
            if not self.loop.is_closed():
                raise

    def in_user_code(self) -> bool:
        return asyncio.current_task(self.loop) is not None

    def step_ended(self, host: Host) -> None:
        del host
        self.loop.stop()

    def disown(self, *, forked: bool) -> None:
        quieten(self.loop)
        if forked:
            detach_selector(self.loop)
        if not self.loop.is_running():
            self.loop.close()

    def stop(self) -> None:
        if self.loop.is_closed():  # by a generator: in a borrowed step the loop does not know that it is in use
            return
        try:
            self.nudge()
            ending = self.loop.create_task(end(self.loop))
            ending.add_done_callback(lambda _: self.loop.stop())
            while not ending.done():  # a step that Ctrl-C made us leave may have stopped the loop once more
                self.loop.run_forever()
            ending.result()
        except BaseException:
            quieten(self.loop)
            raise
        finally:
            self.loop.close()


def notice_signals() -> None:
    """Have uvloop look at the signals that its handlers noted while it did not run: it ignores the byte itself."""
    number = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(number)
    if number != -1:
        os.write(number, b"\0")


async def end(loop: asyncio.AbstractEventLoop) -> None:
    """Do what closing an `asyncio.Runner` does, in one run of the loop instead of three, which costs a third.

    Besides, async generators that were dropped finish their cleanup, which a runner would cancel.
    """
    await dropped_generators()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left)
    for task in left:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            message = "unhandled exception while a runner was closed"
            loop.call_exception_handler({"message": message, "exception": error, "task": task})
    await loop.shutdown_asyncgens()
    await dropped_generators()
    await loop.shutdown_default_executor()


own_frames(AsyncioLoop.steps, AsyncioLoop.borrow)
