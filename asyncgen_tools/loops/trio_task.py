"""Waiting tasks and hosts' tasks in a running trio loop.

A host's task is in the nursery of a system task, its keeper, because those belong to no scope or nursery of a user; so
a block may be left in another task than the one that entered it. What its generator raises is the outcome of a step;
but trio lets a task fail whose generator has left a scope or nursery open, and a system task that fails ends the whole
run. So the keeper takes that error, and makes it the outcome of closing. The keeper also watches for the end of the
run, which the host, parked, must not be woken by: trio would wake it as well for every scope that the generator holds.

Ctrl-C strikes in the frames of the generator and in none of ours, where it could lose an outcome.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, final

import trio

from asyncgen_tools.host import own_frames, strip_own_frames
from asyncgen_tools.loops.outcomes import failure_in
from asyncgen_tools.loops.running import HostTask, Waiter
from asyncgen_tools.steps import Operation, Raised, Returned

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncgen_tools.host import Host
    from asyncgen_tools.loops.running import Reraise
    from asyncgen_tools.steps import Outcome, Step

__all__ = ("LibraryHostTask", "TaskWaiter")


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


@final
class LibraryHostTask(HostTask):
    """A host's task in the running trio loop."""

    # Declared by the base as well; repeated because this class assigns it (pyright --verifytypes).
    shield: Any

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.token: trio.lowlevel.TrioToken = trio.lowlevel.current_trio_token()
        self.parked: bool = False
        self.final: Outcome = Returned()  # of closing
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
        name = f"asyncgen_tools host of {self.host.name}"
        trio.lowlevel.spawn_system_task(self.keep, name, name=f"keeper of {name}", context=self.host.context)

    async def keep(self, name: str) -> None:
        """The keeper's task."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.occupy, name=name)
                await self.watch()
        except BaseException as exc:
            self.failed(exc)
        final, self.final = self.final, Returned()  # or an error and the block that it left would keep each other alive
        self.end(final)

    @trio.lowlevel.enable_ki_protection
    async def occupy(self) -> None:
        """The host's task."""
        host = self.host
        host.task = trio.lowlevel.current_task()
        host.context = host.task.context
        with host.scope, self.shield:
            self.final = await self.live()

    def failed(self, exc: BaseException) -> None:
        """Take the error with which trio has let the host's task fail."""
        error = failure_in(exc, trio.Cancelled)
        if error is not None:
            if isinstance(self.final, Raised):
                error.__context__ = self.final.error
            self.final = Raised(strip_own_frames(error))

    async def take(self, steps: list[Step]) -> Outcome:
        # A source that never suspends would leave a consumer that steps it no chance to be cancelled.
        if steps[0].operation in {Operation.NEXT, Operation.SEND}:
            await trio.lowlevel.checkpoint_if_cancelled()
        return await super().take(steps)

    async def watch(self) -> None:
        """Wait until the host leaves, or is forsaken because the run ends."""
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

    def stepping(self, step: Awaitable[Any]) -> Awaitable[Any]:
        return interruptible(step)

    def cancel(self, by_scope: bool) -> None:
        del by_scope
        self.cancel_scope()


@trio.lowlevel.disable_ki_protection
async def interruptible(step: Awaitable[Any]) -> Any:
    """The step, in which Ctrl-C strikes; cancellations need no help, they arrive at each checkpoint."""
    return await step


def never_abort(_: object) -> trio.lowlevel.Abort:
    """The abort function of a parked host, which only we wake."""
    return trio.lowlevel.Abort.FAILED


own_frames(LibraryHostTask.occupy, interruptible)
