"""Waiting tasks and hosts' tasks in a running trio loop.

A host's task is a system task, because those belong to no scope or nursery of a user; so a block may be left in another
task than the one that entered it. It never raises: what its generator raises is the outcome of a step. A second system
task watches for the end of the run, which the host, parked, must not be woken by: trio would wake it as well for every
scope that the generator holds.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, final

import trio

from asyncgen_tools.host import own_frames
from asyncgen_tools.loops.running import HostTask, Waiter
from asyncgen_tools.steps import Operation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncgen_tools.host import Host
    from asyncgen_tools.loops.running import Reraise
    from asyncgen_tools.steps import Outcome, Step

__all__ = ("LibraryHostTask", "TaskWaiter", "checkpoint")


@final
class TaskWaiter(Waiter):
    """The wait of a task until it is rescheduled."""

    cancelled_class: ClassVar[type[BaseException]] = trio.Cancelled

    # Declared by the base as well; repeated because this class assigns them (pyright --verifytypes).
    outcome: Outcome | None

    def __init__(self) -> None:
        self.task: trio.lowlevel.Task = trio.lowlevel.current_task()
        self.token: trio.lowlevel.TrioToken = trio.lowlevel.current_trio_token()

    async def wait(self, cancel: Callable[[bool], object]) -> Reraise | None:
        reraise: Reraise | None = None

        def abort(raise_cancel: Callable[[], object]) -> trio.lowlevel.Abort:
            nonlocal reraise
            reraise = raise_cancel
            cancel(True)  # noqa: FBT003  # positional, as callbacks take it
            return trio.lowlevel.Abort.FAILED

        await trio.lowlevel.wait_task_rescheduled(abort)
        return reraise

    def wake(self, outcome: Outcome) -> None:
        self.outcome = outcome
        trio.lowlevel.reschedule(self.task)

    def post(self, callback: Callable[[], object]) -> None:
        self.token.run_sync_soon(callback)


async def checkpoint() -> None:
    """Let other tasks run; cancellable."""
    await trio.lowlevel.checkpoint()


@final
class LibraryHostTask(HostTask):
    """A host's task in the running trio loop."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.token: trio.lowlevel.TrioToken = trio.lowlevel.current_trio_token()
        self.parked: bool = False
        self.watch_scope: trio.CancelScope = trio.CancelScope()
        host.scope = trio.CancelScope()
        self.shield = trio.CancelScope()

    @property
    def here(self) -> bool:
        return trio.lowlevel.in_trio_task() and trio.lowlevel.current_trio_token() is self.token

    @property
    def inside(self) -> bool:
        return trio.lowlevel.current_task() is self.host.task

    def new_waiter(self) -> Waiter:
        return TaskWaiter()

    def start(self) -> None:
        host = self.host
        name = f"asyncgen_tools host of {host.name}"
        host.task = trio.lowlevel.spawn_system_task(self.occupy, name=name, context=host.context)
        trio.lowlevel.spawn_system_task(self.watch, name=f"watch of {name}")

    async def occupy(self) -> None:
        """The host's task."""
        with self.host.scope, self.shield:
            await self.live()

    async def take(self, steps: list[Step]) -> Outcome:
        # A source that never suspends would leave a consumer that steps it no chance to be cancelled.
        if steps[0].operation in {Operation.NEXT, Operation.SEND}:
            await trio.lowlevel.checkpoint_if_cancelled()
        return await super().take(steps)

    async def watch(self) -> None:
        """The task that is cancelled when the run ends."""
        with self.watch_scope:
            try:
                await trio.sleep_forever()
            finally:
                if not self.leaving:
                    self.forsake()

    def leave(self) -> None:
        super().leave()
        self.watch_scope.cancel()

    async def park(self) -> None:
        self.parked = True
        await trio.lowlevel.wait_task_rescheduled(never_abort)

    def wake(self) -> None:
        if self.parked:
            self.parked = False
            trio.lowlevel.reschedule(self.host.task)

    def delivering(self, step: Awaitable[Any]) -> Awaitable[Any]:
        return step  # pragma: no cover  # nothing is pending: trio cancels at each checkpoint in the scope by itself

    def cancel(self, by_scope: bool) -> None:
        del by_scope
        self.cancel_scope()


def never_abort(_: object) -> trio.lowlevel.Abort:
    """The abort function of a parked host, which only we wake."""
    return trio.lowlevel.Abort.FAILED


own_frames(LibraryHostTask.occupy)
