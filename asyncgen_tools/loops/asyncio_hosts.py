"""Hosts as tasks of asyncio: what a loop that runs in slices and one in a thread of its own have in common.

Theory of operation. The host is a real asyncio task (`occupy`), parked on a future, its mailbox. A step is first tried
with the task's identity borrowed, by whoever runs the loop. If it suspends, the future that it waits for is left in
`Host.work`, the mailbox wakes the task, and the task yields that same future to the loop: from there the ordinary
machinery of tasks applies.

A cancellation that reaches the task while it is parked is for the generator, not for us. The task remembers it and,
when a step next suspends, cancels itself again without touching the count of requests, as if the request had arrived
just then. anyio cancels a task again in every turn until it has left the scope, so for its scopes the task parks under
a shield, and what happens afterwards is anyio's own re-delivery.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import select
import selectors
import sys
import types
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, cast, final

from asyncgen_tools.errors import MissingLibraryError
from asyncgen_tools.host import PARKED, Marker, own_frames, strip_own_frames
from asyncgen_tools.loops.outcomes import RESULTS, resumed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from asyncgen_tools.host import Host
    from asyncgen_tools.steps import Outcome

__all__ = (
    "AsyncioHosts",
    "Leave",
    "Resume",
    "deliver_pending",
    "detach_selector",
    "dropped_generators",
    "in_cancelled_scope",
    "loop_maker",
    "quieten",
)


@final
class Resume:
    """Work for a host's task: a step to begin in the task itself, since the task is not where the generator left it."""

    __slots__ = ("argument", "function")

    def __init__(self, function: Callable[[Any], Any], argument: Any) -> None:
        self.function: Callable[[Any], Any] = function
        self.argument: Any = argument


class Leave:
    """Work for a host's task: there will be none any more."""


class AsyncioHosts(ABC):
    """An asyncio event loop, as far as it keeps hosts."""

    loop: asyncio.AbstractEventLoop
    shielded: int = 0
    """How many hosts are parked under a shield."""

    @abstractmethod
    def step_ended(self, host: Host) -> None:
        """Take notice that a step which the host's task carried on has ended with `Host.outcome`; the task calls it."""

    def wake(self, host: Host, work: Any) -> None:
        """Leave work for the host's task, and wake it if it is not awake already."""
        host.work = work
        if host.mailbox is not None and not host.mailbox.done():
            host.mailbox.set_result(None)

    async def occupy(self, host: Host) -> None:
        """The host's task: park, carry on what the generator has begun, park again."""
        while True:
            woken = host.pending is None
            while host.work is PARKED:
                host.mailbox = asyncio.Future(loop=self.loop)
                try:
                    await host.mailbox
                except asyncio.CancelledError as exc:
                    woken = False
                    host.pending = await self.cancelled_while_parked(host, exc) or host.pending
            work, host.work = host.work, PARKED
            if work is Leave:
                return
            if isinstance(work, Resume):
                work = resumed(host, work.function, work.argument)
            elif work is None and woken and not in_cancelled_scope():
                # The waking has answered a bare yield. In a cancelled scope anyio would have cancelled in that turn.
                work = resumed(host, host.body.send, None)
            host.outcome = work if type(work) in RESULTS else await carry_on(host, work)
            work = None  # or an error in it and this frame would keep each other alive
            self.step_ended(host)

    async def cancelled_while_parked(self, host: Host, exc: asyncio.CancelledError) -> asyncio.CancelledError | None:
        """Take a cancellation that arrived while the task was parked.

        Returns:
            The cancellation to deliver at the generator's next suspension. That of a scope of anyio is not, since
            anyio itself delivers it again; until then the task parks under a shield.
        """
        if host.work is Leave or not in_cancelled_scope():
            return exc
        cancelled = None
        if host.work is PARKED:
            import anyio

            self.shielded += 1
            with anyio.CancelScope(shield=True) as host.scope:
                while host.work is PARKED:
                    host.mailbox = asyncio.Future(loop=self.loop)
                    try:
                        await host.mailbox
                    except asyncio.CancelledError as other:
                        cancelled = other
            host.scope = None
            self.shielded -= 1
        return cancelled


@types.coroutine
def carry_on(host: Host, message: Any) -> Generator[Any, Any, Outcome | Marker]:
    """Be the task of a step that has suspended with this message, to the end of the step."""
    while type(message) not in RESULTS:
        resume: Callable[[Any], Any] = host.body.send
        if host.pending is not None:
            deliver_pending(host)
        try:
            answer = yield message
        except BaseException as exc:
            resume, answer = host.body.throw, strip_own_frames(exc)
        message = resumed(host, resume, answer)
        answer = None  # or an exception and this frame would keep each other alive
    try:
        return cast("Outcome | Marker", message)
    finally:
        del message  # the same


def deliver_pending(host: Host) -> None:
    """Let the cancellation that arrived while the host was parked reach what the generator waits for now.

    That of a cancelled scope of anyio, if there is one, comes first. One whose request was withdrawn is not delivered.
    """
    if in_cancelled_scope():
        return
    if host.task.cancelling():
        host.task.cancel(*host.pending.args)
        host.task.uncancel()
    host.pending = None


def in_cancelled_scope() -> bool:
    """Whether the current task is in a cancelled scope of anyio, which loads its asyncio part with its first use."""
    backend = sys.modules.get("anyio._backends._asyncio")
    if backend is None:
        return False
    # Where anyio keeps what it knows of tasks; asking it properly takes longer than a whole step, for a task that has
    # no scope at all in most cases. If that place has moved, the proper way it is.
    known = getattr(backend, "_task_states", None)
    if known is not None and asyncio.current_task() not in known:
        return False
    import anyio

    return anyio.current_effective_deadline() == -math.inf


async def dropped_generators() -> None:
    """Wait until async generators that were dropped have been closed: the loop's end would cancel their cleanup.

    Closing one may drop others in turn. The loop's finalizer only schedules their closing, so one look is not enough.
    """
    while True:
        closing = closing_tasks()
        if not closing:
            await asyncio.sleep(0)
            closing = closing_tasks()
            if not closing:
                return
        await asyncio.wait(closing)


def closing_tasks() -> list[asyncio.Task[Any]]:
    """The tasks that close async generators which were dropped: what runs in them is the awaitable of an aclose()."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    return [task for task in others if not inspect.iscoroutine(task.get_coro())]


def detach_selector(loop: asyncio.AbstractEventLoop) -> None:
    """Give a forked loop a selector of its own under the same file number.

    An epoll object is shared with the parent process: closing the loop would take the parent's sockets out. (A kqueue
    is not inherited.)
    """
    if not hasattr(select, "epoll"):  # pragma: no cover  # not on Linux
        return
    selector = getattr(loop, "_selector", None)
    number: int | None
    if isinstance(selector, selectors.EpollSelector):
        number = selector.fileno()
    else:
        backend_id: Callable[[], int] | None = getattr(loop, "_get_backend_id", None)  # uvloop
        number = None if backend_id is None else backend_id()
    if number is not None:
        with select.epoll() as fresh:
            os.dup2(fresh.fileno(), number, inheritable=False)


def quieten(loop: asyncio.AbstractEventLoop) -> None:
    """Let no task complain that it was left behind."""
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # what asyncio.gather does


def loop_maker(
    *,
    debug: bool | None = None,
    use_uvloop: bool = False,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the loop, from anyio's options for asyncio."""
    if use_uvloop and loop_factory is None:
        try:
            import uvloop
        except ModuleNotFoundError as exc:
            raise MissingLibraryError(
                "backend_options={'use_uvloop': True} needs uvloop, which is not installed. Install "
                "asyncgen_tools[uvloop], or leave the option out."
            ) from exc
        loop_factory = uvloop.new_event_loop
    make = loop_factory or asyncio.new_event_loop

    def new_loop() -> asyncio.AbstractEventLoop:
        loop = make()
        if debug is not None:
            loop.set_debug(debug)
        return loop

    return new_loop


own_frames(AsyncioHosts.occupy, carry_on)
