"""trio in a thread of its own; the host is a system task of the run, see `trio_hosts`.

A step is begun in a callback of the run, as the host's task. Closing a generator whose step is under way breaks off
what that waits for, just once, so that its cleanup may await; a cancelled scope would cancel the cleanup, too. It is
not done by a trio.Cancelled that no cancelled scope stands for: a nursery that waits for its tasks would not cancel
them on its account, and one whose body it leaves would swallow it, and the source go on.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, final

import trio

from asyncgen_tools.host import own_frames
from asyncgen_tools.loops.background import BackgroundLoop
from asyncgen_tools.loops.options import checked_options
from asyncgen_tools.loops.outcomes import consists_of
from asyncgen_tools.loops.primitives import TURN
from asyncgen_tools.loops.trio_hosts import (
    RUN_CONTEXT,
    BreakOff,
    BrokenOff,
    TrioHosts,
    break_off_wait,
    foreign_wait,
    run_options,
)
from asyncgen_tools.steps import Raised

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncgen_tools.host import Host

__all__ = ("TrioBackground",)


@final
class TrioBackground(TrioHosts, BackgroundLoop):
    """A trio run in a thread of its own.

    Args:
        options: the keyword arguments of `trio.run`, as anyio passes them on.
        name: of the thread.
    """

    backend: ClassVar[str] = "trio"
    cancelled: ClassVar[tuple[type[BaseException], ...]] = (trio.Cancelled, BrokenOff)

    def __init__(self, options: dict[str, Any], *, name: str | None) -> None:
        checked_options(run_options, options, backend="trio")
        super().__init__(options, name=name)

    def attach(self) -> None:
        self.token: trio.lowlevel.TrioToken = trio.lowlevel.current_trio_token()

    def soon(self, callback: Callable[[], object]) -> bool:
        try:
            self.token.run_sync_soon(callback)
        except trio.RunFinishedError:
            return False
        return True

    def seat(self, host: Host) -> None:
        self.spawn(host, alone=False)

    async def occupy(self, host: Host) -> None:
        """The host's task; the first step comes when it is parked."""
        self.soon(partial(self.seated, host))
        await super().occupy(host)

    def vacate(self, host: Host) -> None:
        host.work = None
        if not host.line.suspended and trio.lowlevel.current_task() is not host.task:
            trio.lowlevel.reschedule(host.task)

    def borrow(self, host: Host, function: Callable[[Any], Any], argument: Any) -> Any:
        task, RUN_CONTEXT.task = RUN_CONTEXT.task, host.task
        try:
            return host.context.run(function, argument)
        finally:
            RUN_CONTEXT.task = task
            del argument  # or an exception in it and this frame would keep each other alive

    def adopt(self, host: Host, message: Any) -> None:
        error = foreign_wait(host, message)
        if error is None:
            self.block(host, message)
        else:
            host.line.suspended = False
            self.go_on(host, host.body.throw, [error])

    def step_ended(self, host: Host) -> None:
        outcome, host.outcome = host.outcome, None
        assert outcome is not None
        if isinstance(outcome, Raised) and self.cancelled_run(host) and consists_of(outcome.error, trio.Cancelled):
            host.line.suspended = False
            return  # `main` ends the task, and `run` tells why
        self.ended(host, outcome)

    def cancelled_run(self, host: Host) -> bool:
        """Whether it is the run that has cancelled the host's task, which calls this: it has crashed."""
        return not host.scope.cancel_called and trio.current_effective_deadline() == -math.inf

    def cancel_step(self, host: Host) -> None:
        host.scope.cancel()

    def break_off(self, host: Host) -> None:
        break_off = BreakOff()
        host.pending = partial(self.soon, partial(self.offer, host, break_off))
        self.offer(host, break_off)

    def offer(self, host: Host, break_off: BreakOff) -> None:
        """Break off what the host's step waits for, unless that refuses, as a worker thread does.

        Then its next wait is broken off. A cancelled scope would cancel all that the cleanup waits for, too: it is for
        what cannot be ended otherwise, such as one checkpoint after the other.
        """
        if host.pending is None or not host.line.suspended:
            return
        break_off.attempts += 1
        if break_off.attempts > TURN:
            host.scope.cancel()
        elif not break_off.delivered:
            break_off_wait(host.task, break_off)
        if break_off.delivered:
            host.pending = None

    def mend(self, host: Host) -> None:
        host.pending = None

    async def dropped_generators(self) -> None:
        """Trio does that."""

    def now(self) -> float:
        return trio.current_time()

    def forsake(self, *, forked: bool) -> None:
        """Nothing is shared with another process, and nothing makes a noise."""


own_frames(TrioBackground.borrow, TrioBackground.occupy)
