"""Slices of a trio run.

Theory of operation. Trio's guest mode hands each tick of the run to a callback queue, which `slice` works off in the
calling thread until the step has ended. Between slices the run's thread state is taken out of the thread, so that it
looks untouched.

The host is a system task, see `trio_hosts`. A step is first tried in the caller, with trio's thread state as if the
host's task ran; one that suspends is trio's from there.

Guest mode starts an I/O thread whenever a tick leaves nothing to run. So the run's main task stays runnable while no
step is waited for: the next tick is then always due at once, and that is where a slice stops. While a step is waited
for it parks, and the host that ends the step wakes it.

Code that trio protects from Ctrl-C is not broken off by it, with one exception: where a step is taken the fast way, and
has not suspended yet, Python's own handler is in place. To change it and back takes longer than such a step. So after
a step that has suspended the next one, which may suspend as well, begins with ours in place.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import queue
import sys
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast, final

import trio

from asyncgen_tools.host import ABANDONED, PARKED, Marker, own_frames
from asyncgen_tools.loops.hooks import remove_seal
from asyncgen_tools.loops.interrupts import get_interruptibly
from asyncgen_tools.loops.observers import observers
from asyncgen_tools.loops.options import checked_options
from asyncgen_tools.loops.primitives import TURN, State
from asyncgen_tools.loops.sliced import SlicedLoop
from asyncgen_tools.loops.trio_hosts import (
    LIBRARY,
    PARK,
    RUN_CONTEXT,
    TrioHosts,
    close_descriptors,
    foreign_wait,
    run_options,
    unpark,
)
from asyncgen_tools.steps import Outcome, Raised, Returned, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    import outcome

    from asyncgen_tools.host import Host
    from asyncgen_tools.loops.hooks import Hook, HookSeal
    from asyncgen_tools.loops.outcomes import Refused

__all__ = ("TrioLoop",)

get_hooks: Final = sys.get_asyncgen_hooks

#: The loops whose runs never go on. If the collector found one, trio would end it in whatever thread that is, and with
#: it the thread state and the asyncgen hooks of any run there.
GIVEN_UP: Final[list[TrioLoop]] = []


@final
class TrioLoop(TrioHosts, SlicedLoop):
    """A trio run in slices.

    Args:
        options: the keyword arguments of `trio.run`, as anyio passes them on.
        private: whether it belongs to one generator, and closes when that ends.
    """

    # Declared by the base as well; repeated because this class assigns them (pyright --verifytypes).
    budget: int
    crashed: bool

    def __init__(self, options: dict[str, Any], *, private: bool) -> None:
        super().__init__(private=private)
        self.options: dict[str, Any] = checked_options(run_options, options, backend="trio")
        self.callbacks: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self.hooks: tuple[Hook | None, Hook | None] = (None, None)
        self.main_task: Any = None  # a trio.lowlevel.Task once the run has started
        self.main_parked: bool = False
        self.left: Host | None = None  # the last whose task still waited for what the second Ctrl-C has left
        self.stopping: bool = False
        self.result: outcome.Outcome[None] | None = None
        self.runner: Any = None  # trio's own, whose class is private
        self.clock: Any = None
        self.state_here: Any = {}  # trio's thread state in the loop's own thread
        self.library_here: Any = {}  # sniffio's
        self.library_outside: str | None = None  # what that said before a careful step

    # Longer than a function should be, and alike in each loop: calls cost more here than all else (see `sliced`).
    def steps(self, host: Host, *, renewed: bool) -> Generator[Any, Step | None, Any]:
        message: Any = PARKED if renewed else None
        command: Step | None = None
        try:
            if message is None:
                message = self.guarded(self.careful_step, host, host.first)
            firstiter, state, library = self.seal[0], self.state_here, self.library_here
            runner, task, leave = self.runner, host.task, self.state_here.clear
            timeout, clock, run, send = host.timeout, self.clock, host.context.run, host.body.send
            waited = self.budget == TURN  # whether the last step did
            while True:
                if message is not PARKED:
                    message = self.guarded(self.settle, host, message)
                    waited = True
                    if message is not PARKED:
                        break
                try:
                    command = yield host.item
                except GeneratorExit:
                    pass  # and closed below: what the loop runs there would have it as the context of its errors
                else:
                    if self.budget > 0 and get_hooks().firstiter is firstiter and not state and library["name"] is None:
                        self.budget -= 1
                        if timeout is not None:
                            host.deadline = clock.current_time() + timeout
                        if waited:  # and perhaps again: what trio protects is guarded from the beginning of the step
                            message = self.guarded(self.begin, host, command)
                            waited = self.budget == TURN
                            continue
                        try:
                            state["runner"] = runner
                            state["task"] = task
                            library["name"] = "trio"
                            message = run(send, command)
                            if message is PARKED:  # else adopt() leaves
                                library["name"] = None
                                leave()
                        except BaseException as exc:
                            library["name"] = None  # and not by a function: the recursion may be too deep for that
                            leave()
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

    def begin(self, host: Host, command: Step | None) -> Outcome | Marker | Refused:
        """Take a step where the thread is as the fast way needs it, but Ctrl-C is minded."""
        return self.attempt(host, host.body.send, command)

    def start(self, seal: HookSeal) -> None:
        self.state_here = cast("dict[str, Any]", vars(RUN_CONTEXT))
        self.library_here = cast("dict[str, Any]", vars(LIBRARY))
        self.library_here.setdefault("name", None)
        hooks = get_hooks()
        # Where Python's own handler is, trio would install one of its own, and leave it there between slices; but the
        # loop is opened with ours in place.
        try:
            trio.lowlevel.start_guest_run(
                self.main,
                run_sync_soon_threadsafe=self.callbacks.put,
                done_callback=self.done,
                host_uses_signal_set_wakeup_fd=True,  # waiting in the main thread ends with a signal anyway
                **self.options,
            )
            self.runner = self.state_here["runner"]
            self.clock = self.runner.clock
            self.hooks = get_hooks()
            seal.take_hooks()
        finally:
            self.state_here.clear()
            sys.set_asyncgen_hooks(*hooks)

    async def main(self) -> None:
        """The run's main task: stays runnable while no step is waited for, and parks while one is."""
        self.main_task = trio.lowlevel.current_task()
        try:
            while not self.stopping:
                if self.waiting is None or self.waiting.outcome is not None:
                    await trio.lowlevel.checkpoint()
                else:
                    self.main_parked = True
                    await trio.lowlevel.wait_task_rescheduled(self.abort_main)
        finally:
            # When the run crashes, it cancels everything and waits for it, but parked hosts do not notice.
            self.crashed = not self.stopping
            for host in self.hosts if self.crashed and self.result is None else ():
                unpark(host)

    def abort_main(self, _: object) -> trio.lowlevel.Abort:
        """The abort function of the parked main task, which only a crash of the run cancels."""
        self.main_parked = False
        return trio.lowlevel.Abort.SUCCEEDED

    def done(self, result: outcome.Outcome[None]) -> None:
        self.result = result
        self.main_parked = False
        if not self.stopping:
            self.crashed = True  # perhaps inside of trio: then no task has noticed, not even main

    def seat(self, host: Host) -> None:
        self.call(lambda: self.spawn(host, alone=self.private))
        self.hosts[host] = None
        while host.scope is None or self.main_task is None:
            self.turn()

    def step_ended(self, host: Host) -> None:
        del host
        self.wake_main()

    def wake_main(self) -> None:
        """Have the main task run again, if it is parked: then a tick is due, and no turn waits for anything."""
        if self.main_parked:
            self.main_parked = False
            self.call(lambda: trio.lowlevel.reschedule(self.main_task))

    def vacate(self, host: Host) -> None:
        host.work = None
        if not self.call(lambda: unpark(host)) and host.scope is not None:  # else it has not begun, and is going to
            self.left = host
        if not self.private or self.left is not None:
            self.turn()

    def borrow(self, host: Host, function: Callable[[Any], Any], argument: Any) -> Any:
        """Where the step suspends, the thread stays in the run until `adopt` has blocked the host for it.

        Otherwise a generator that the collector closes in between might run the loop, and with it the rest of the step.
        """
        if not self.state_here:
            self.library_outside = self.library_here["name"]
        self.state_here.update(runner=self.runner, task=host.task)
        self.library_here["name"] = "trio"
        message: Any = PARKED
        try:
            message = host.context.run(function, argument)
            return message
        finally:
            if isinstance(message, Marker):
                self.leave(host)
            del argument  # or an exception in it and this frame would keep each other alive

    def leave(self, host: Host) -> None:
        state = self.state_here
        if not host.body.gi_running and state.get("task", self) is host.task:
            self.library_here["name"], self.library_outside = self.library_outside, None
            state.clear()

    def inside(self) -> bool:
        return "task" in self.state_here and self.state_here["runner"] is self.runner

    def call(self, function: Callable[[], Any]) -> Any:
        """Call a function of trio that wants to be called from within the run."""
        state = self.state_here
        if state:
            return function()
        state["runner"] = self.runner
        try:
            return function()
        finally:
            state.clear()

    def now(self) -> float:
        return self.clock.current_time()  # type: ignore[no-any-return]

    def turn(self) -> None:
        self.slice(None)

    def slice(self, host: Host | None) -> None:
        outer, self.waiting = self.waiting, host  # the collector may strike here, and close a generator that it finds
        try:
            if host is None:
                self.work_off(lambda: True)
            else:
                if self.interrupt_noted and host.cancelled_by is None:  # where trio protected the source from Ctrl-C
                    self.interrupt_noted = False
                    self.cancel(host, KeyboardInterrupt)
                self.work_off(lambda: host.outcome is not None)
        finally:
            self.waiting = outer
            self.wake_main()  # Ctrl-C may have ended this before the step

    def work_off(self, done: Callable[[], bool]) -> None:
        """Run ticks, and whatever else is on the callback queue, until something is done; at least one."""
        hooks = get_hooks()
        state = self.state_here
        state["runner"] = self.runner
        # Under the seal's hooks if somebody watches, who would not see the run's own.
        sys.set_asyncgen_hooks(*(self.seal if observers.watchers else self.hooks))
        try:
            get_interruptibly(self.callbacks)()
            while not done() or self.crashed:
                if self.crashed and self.result is not None:
                    self.give_up(forked=False)
                    self.result.unwrap()
                get_interruptibly(self.callbacks)()
        finally:
            state.clear()
            sys.set_asyncgen_hooks(*hooks)
            if self.state is State.DISOWNED:  # it has crashed
                remove_seal(self.seal[0])
            self.budget = TURN if self.state is State.OPEN else 0

    def adopt(self, host: Host, message: Any) -> Outcome | Marker | Refused:
        error = foreign_wait(host, message)
        if error is not None:
            return self.attempt(host, host.body.throw, error)
        if host.mailbox is not PARK:
            return self.forsake(host)
        host.outcome = None
        try:
            self.block(host, message)
        finally:
            self.leave(host)
        try:
            self.slice(host)
        except BaseException as exc:
            self.stop_waiting(host, exc)
        return self.taken_outcome(host, cancelled=trio.Cancelled)

    def forsake(self, host: Host) -> Outcome:
        """Close a source that would wait in a task which waits already, for what the second Ctrl-C has left."""
        with suppress(BaseException):
            self.borrow(host, lambda _: host.body.close(), None)
        self.leave(host)
        return Raised(KeyboardInterrupt())

    def cancel(self, host: Host, reason: Callable[[], BaseException]) -> None:
        host.cancelled_by = reason
        self.call(host.scope.cancel)

    def soon(self, callback: Callable[[], object]) -> None:
        self.callbacks.put(callback)

    def in_user_code(self) -> bool:
        return self.inside() and not self.protected()

    def protected(self) -> bool:
        return trio.lowlevel.currently_ki_protected()

    def disown(self, *, forked: bool) -> None:
        del forked  # the run's own file descriptors are only ever closed, which the parent does not notice
        warnings.filterwarnings("ignore", "Trio guest run got abandoned", RuntimeWarning)
        GIVEN_UP.append(self)
        if not self.state_here and self.result is None:  # else a step is running, or trio has closed them
            close_descriptors(self.runner)

    def stop(self) -> None:
        self.stopping = True
        self.wake_main()
        if self.private and self.left is not None and self.left.outcome is None:
            self.disown(forked=False)  # it waits still, and would be waited for
            return
        try:
            self.work_off(lambda: self.result is not None)
        except KeyboardInterrupt:
            self.disown(forked=False)
            raise
        assert self.result is not None
        try:
            self.result.unwrap()
        except trio.TrioInternalError as exc:
            if self.interrupt_sent:  # which broke the run
                raise KeyboardInterrupt from exc
            raise


own_frames(TrioLoop.steps, TrioLoop.borrow)
