"""Hosts as tasks of trio: what a run in slices and one in a thread of its own have in common.

Theory of operation. The host is a system task in a cancel scope of its own, parked in `wait_task_rescheduled`. A step
is first tried with the task's identity borrowed, by whoever runs the loop. A step that suspends needs no hand-over: to
trio the host is blocked already, so its wait simply becomes the step's wait: the step's abort function takes the place
of the parked one, and whoever reschedules the task wakes the step. Trio's cancellation is level-triggered, so what
arrives while the host is parked reaches the generator at its next suspension without any doing of ours.

Names of trio that are not public are used in `private_names`, `block`, `break_off_wait` and `close_descriptors` only.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import math
import types
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast, final

import trio

from asyncgen_tools.errors import MissingLibraryError
from asyncgen_tools.host import PARKED, life, own_frames
from asyncgen_tools.loops.ends import report_unraisable
from asyncgen_tools.loops.outcomes import RESULTS, failure_in, resumed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from asyncgen_tools.host import Host

__all__ = (
    "LIBRARY",
    "PARK",
    "RUN_CONTEXT",
    "BreakOff",
    "BrokenOff",
    "TrioHosts",
    "break_off_wait",
    "close_descriptors",
    "foreign_wait",
    "run_options",
    "unpark",
)


def message_of(wait: Any) -> Any:
    """What one of trio's two primitive waits yields to the run."""
    message = wait.send(None)
    wait.close()
    return message


def private_names() -> tuple[Any, Any]:
    """All that this module uses of trio's private names, besides `block` and `close_descriptors`.

    Returns:
        Trio's thread state (a threading.local), and sniffio's.

    Raises:
        MissingLibraryError: this trio has changed inside.
    """
    try:
        from sniffio import thread_local
        from trio._core._run import GLOBAL_RUN_CONTEXT, Runner, Task
    except ImportError as exc:
        raise unsupported(str(exc)) from exc
    needed = {"_abort_func", "_attempt_abort", "_attempt_delivery_of_any_pending_cancel"}
    missing = (needed | {"_cancel_points", "_schedule_points"}) - set(dir(Task))
    if missing:
        raise unsupported(f"Task has no {', '.join(sorted(missing))}")
    missing = {"entry_queue", "guest_tick_scheduled", "io_manager"} - set(dir(Runner))
    if missing:
        raise unsupported(f"Runner has no {', '.join(sorted(missing))}")
    return GLOBAL_RUN_CONTEXT, thread_local


def unsupported(reason: str) -> MissingLibraryError:
    """The error for a trio that has changed inside."""
    return MissingLibraryError(
        f"backend='trio' does not know the inside of trio {trio.__version__}: {reason}. Install a newer "
        "asyncgen_tools, or an older trio."
    )


def block(task: Any, abort: Any) -> None:
    """Block a task that is blocked already for another wait, as the run does when a task yields."""
    task._schedule_points += 1
    task._cancel_points += 1
    task._abort_func = abort
    task._attempt_delivery_of_any_pending_cancel()


def close_descriptors(runner: Any) -> None:
    """Close the file descriptors of a run in guest mode that never goes on, unless a thread of trio waits for them.

    Args:
        runner: trio's own.
    """
    if runner.guest_tick_scheduled:
        runner.entry_queue.done = True  # or a worker thread that ends later would want to wake the run
        runner.entry_queue.close()
        runner.io_manager.close()


class BrokenOff(BaseException):
    """What a generator's wait ends with when the generator is closed during a step: a cancellation just for once."""


@final
class BreakOff:
    """One BrokenOff for a host's step, for the first of its waits that takes it."""

    attempts: int = 0
    delivered: bool = False

    def raise_it(self) -> NoReturn:
        """Raise it; whoever takes it does that, perhaps later, perhaps in another thread."""
        self.delivered = True
        raise BrokenOff("the generator is being closed while it waits")


def break_off_wait(task: Any, break_off: BreakOff) -> None:
    """Offer a BrokenOff to what a task waits for, as the run does with Ctrl-C."""
    if task._abort_func is not None:  # else it waits no more, or has refused
        task._attempt_abort(break_off.raise_it)


RUN_CONTEXT, LIBRARY = private_names()
CHECKPOINT: Final = message_of(trio.lowlevel.cancel_shielded_checkpoint())  # noqa: ASYNC105  # not awaited: its message is wanted


class TrioHosts(ABC):
    """A trio run, as far as it keeps hosts."""

    crashed: bool = False
    """Whether the run is coming to its end although hosts are left."""

    @abstractmethod
    def step_ended(self, host: Host) -> None:
        """Take notice that a step which suspended has ended with `Host.outcome`; the host's task calls it."""

    def spawn(self, host: Host, *, alone: bool) -> None:
        """Make the host's task, and one around it if it is not alone in the run."""
        function, kind = (self.occupy, "host") if alone else (self.contain, "keeper")
        name = f"asyncgen_tools {kind} of {host.name}"
        host.task = trio.lowlevel.spawn_system_task(function, host, name=name, context=host.context.copy())

    async def contain(self, host: Host) -> None:
        """The task around a host's task, which trio lets fail if its source has left a scope or nursery open.

        A system task that fails ends the run, and with it all other generators.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.occupy, host, name=f"asyncgen_tools host of {host.name}")
        except BaseException as exc:
            error = failure_in(exc, trio.Cancelled)
            if error is not None:  # pragma: no branch  # else the run has crashed
                report_unraisable(error, host.name)

    @trio.lowlevel.enable_ki_protection
    async def occupy(self, host: Host) -> None:
        """The host's task."""
        host.task = trio.lowlevel.current_task()
        with trio.CancelScope() as host.scope:
            await self.carry_on(host)

    @types.coroutine
    def carry_on(self, host: Host) -> Generator[Any, Any, None]:
        """Be parked, or blocked for a step that has suspended; run the rest of that step; park again."""
        while host.work is PARKED and not self.crashed:
            host.mailbox = PARK
            answer = yield PARK
            if host.work is not PARKED:
                return
            message = resumed(host, host.body.send, answer)
            while type(message) not in RESULTS:
                resume: Callable[[Any], Any] = host.body.send
                if host.pending is not None:
                    host.pending()
                try:
                    answer = yield message
                except BaseException as exc:
                    resume, answer = host.body.throw, exc
                message = resumed(host, resume, answer)
            host.outcome = message
            del message, answer  # or an error in them and this frame would keep each other alive
            if host.deadline is not None:
                host.scope.deadline = math.inf
                if host.scope.cancel_called and host.cancelled_by is None:
                    host.cancelled_by = host.timeout_error
            self.step_ended(host)

    def block(self, host: Host, message: Any) -> None:
        """Let the parked host wait for what its step waits for."""
        host.mailbox = None
        if host.deadline is not None:
            host.scope.deadline = host.deadline
        if message is CHECKPOINT:
            host.task._schedule_points += 1
            trio.lowlevel.reschedule(host.task)
        else:
            block(host.task, message.abort_func)


def never_abort(_: object) -> trio.lowlevel.Abort:
    """The abort function of what only we end."""
    return trio.lowlevel.Abort.FAILED


PARK: Final = message_of(trio.lowlevel.wait_task_rescheduled(never_abort))  # noqa: ASYNC105  # the same
Wait: Final[type[object]] = cast("type[object]", type(PARK))


def unpark(host: Host) -> bool:
    """End a host's task, if it is parked; tell whether it was."""
    parked = host.mailbox is PARK
    if parked:
        host.mailbox = host.work = None
        trio.lowlevel.reschedule(host.task)
    return parked


def foreign_wait(host: Host, message: object) -> TypeError | None:
    """The error of a step that waits for something that trio does not know."""
    if message is CHECKPOINT or type(message) is Wait:
        return None
    return TypeError(
        f"{host.name} waits for {message!r}, which trio does not know. Was it written for another library, "
        "such as asyncio? Write backend='asyncio' then."
    )


def run_options(
    *,
    clock: trio.abc.Clock | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
    restrict_keyboard_interrupt_to_checkpoints: bool = False,
    strict_exception_groups: bool = True,
) -> dict[str, Any]:
    """The options of `trio.run` that a guest run takes, too."""
    return {
        "clock": clock,
        "instruments": instruments,
        "restrict_keyboard_interrupt_to_checkpoints": restrict_keyboard_interrupt_to_checkpoints,
        "strict_exception_groups": strict_exception_groups,
    }


# A host's task is a system task, which trio protects from Ctrl-C; the source is a user's code, and no more protected
# than that is elsewhere.
trio.lowlevel.disable_ki_protection(life)
own_frames(TrioHosts.occupy, TrioHosts.carry_on)
