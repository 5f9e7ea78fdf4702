"""Waiting tasks and hosts' tasks in a running asyncio loop, uvloop's included.

asyncio delivers a cancellation once, and counts it. One that reaches a host's task while it is parked is for the
generator: it is remembered, and delivered when a step next suspends, unless its request was withdrawn by then
(`deliver_pending`). anyio cancels a task again in every turn until it has left the scope, so under its scopes a task
waits shielded, and what happens afterwards is anyio's own re-delivery.

A loop that comes to its end cancels all tasks, and does so while it does not run; so a parked task can tell that from
any cancellation that is meant for its generator.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import asyncio
import types
from asyncio.events import (
    _get_running_loop,  # pyright: ignore[reportPrivateUsage]  # documented for implementers of event loops
)
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, final

import anyio

from asyncgen_tools.host import own_frames
from asyncgen_tools.loops.asyncio_hosts import deliver_pending, in_cancelled_scope
from asyncgen_tools.loops.running import HostTask, Waiter
from asyncgen_tools.steps import Raised, Returned

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from asyncgen_tools.host import Host
    from asyncgen_tools.loops.running import Reraise
    from asyncgen_tools.steps import Outcome

__all__ = ("LibraryHostTask", "TaskWaiter")


@final
class TaskWaiter(Waiter):
    """The wait of a task on a future, and on another one if the first was cancelled."""

    cancelled_class: ClassVar[type[BaseException]] = asyncio.CancelledError

    # Declared by the base as well; repeated because this class assigns them (pyright --verifytypes).
    late: bool
    outcome: Outcome | None

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()

    async def wait(self, cancel: Callable[[bool], object]) -> Reraise | None:
        try:
            await self.future
        except asyncio.CancelledError as exc:
            self.late = self.outcome is not None
            while self.outcome is None:
                await self.wait_on(cancel)
            return partial(raise_again, [exc])
        return None

    async def wait_on(self, cancel: Callable[[bool], object]) -> None:
        """Pass a cancellation on, and wait until woken or cancelled again."""
        by_scope = in_cancelled_scope()
        cancel(by_scope)
        self.future = self.loop.create_future()
        with anyio.CancelScope(shield=by_scope):
            try:
                await self.future
            except asyncio.CancelledError:
                return

    def wake(self, outcome: Outcome) -> None:
        self.outcome = outcome
        if not self.future.done():
            self.future.set_result(None)

    def post(self, callback: Callable[[], object]) -> None:
        self.loop.call_soon_threadsafe(callback)


def raise_again(errors: list[BaseException]) -> None:
    """Raise the one error; it is taken out of the list, or it and this frame would keep each other alive."""
    raise errors.pop()


@final
class Mailbox(asyncio.Future[None]):
    """What a parked task waits for."""

    loop_ends: bool = False

    def cancel(self, msg: Any = None) -> bool:
        """Note whether the loop runs."""
        self.loop_ends = _get_running_loop() is None
        return super().cancel(msg)


@final
class LibraryHostTask(HostTask):
    """A host's task in the running asyncio loop."""

    # Declared by the base as well; repeated because this class assigns it (pyright --verifytypes).
    shield: Any

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.mailbox: Mailbox = Mailbox(loop=self.loop)
        self.requests: int = 0  # of a consumer to cancel the step under way

    @property
    def here(self) -> bool:
        return _get_running_loop() is self.loop

    @property
    def inside(self) -> bool:
        return asyncio.current_task() is self.host.task

    def new_waiter(self) -> Waiter:
        return TaskWaiter()

    def start(self) -> None:
        host = self.host
        host.task = self.loop.create_task(
            self.occupy(), name=f"asyncgen_tools host of {host.name}", context=host.context
        )
        host.task._log_destroy_pending = False  # it ends with the block; if that is lost, so is the loop
        host.task.add_done_callback(self.lost)

    def lost(self, _: object) -> None:
        """Let nobody wait for a task that was cancelled before it had begun."""
        if not self.ended:
            self.wake_waiter(Raised(asyncio.CancelledError()))
            self.end(Returned())

    async def occupy(self) -> None:
        """The task."""
        with anyio.CancelScope() as self.host.scope, anyio.CancelScope() as self.shield:
            self.end(await self.live())

    async def park(self) -> None:
        self.mailbox = Mailbox(loop=self.loop)
        try:
            await self.mailbox
        except asyncio.CancelledError as exc:
            if self.mailbox.loop_ends:
                self.forsake()
            elif not in_cancelled_scope():
                self.host.pending = exc
            elif self.idle():
                with anyio.CancelScope(shield=True):
                    while self.idle():
                        await self.park()

    def wake(self) -> None:
        if not self.mailbox.done():
            self.mailbox.set_result(None)

    def stepping(self, step: Awaitable[Any]) -> Awaitable[Any]:
        return step if self.host.pending is None else self.delivering(step)

    @types.coroutine
    def delivering(self, step: Awaitable[Any]) -> Generator[Any, Any, Any]:
        """The step, in which a cancellation arrives that came while the task was parked."""
        iterator = step.__await__()
        resume: Callable[[Any], Any] = iterator.send
        answer: Any = None
        try:
            while True:
                message = resume(answer)
                if self.host.pending is not None:
                    deliver_pending(self.host)
                resume = iterator.send
                try:
                    answer = yield message
                except BaseException as exc:
                    resume, answer = iterator.throw, exc
        except StopIteration as stop:
            return stop.value
        finally:
            del resume, answer  # or an exception in it and this frame would keep each other alive

    def cancel(self, by_scope: bool) -> None:
        if by_scope:
            self.cancel_scope()
        else:
            self.requests += 1
            self.host.task.cancel()

    def wake_waiter(self, outcome: Outcome) -> None:
        while self.requests:  # they were for this step, and must not count for the next one if it has swallowed them
            self.requests -= 1
            self.host.task.uncancel()
        super().wake_waiter(outcome)


own_frames(LibraryHostTask.occupy, LibraryHostTask.delivering)
