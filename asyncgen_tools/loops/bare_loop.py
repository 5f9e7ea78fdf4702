"""No event loop at all: a trampoline over `.send(None)`, for generators that never really wait.

The fastest way to run one, on any Python, without sockets or asyncio. A step that suspends gets an error thrown into
it where it waits, unless it is at the `checkpoint` of this module, which waits for nothing: the trampoline goes
straight on. Async generators that the body starts and drops are finalised here as a loop would.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import enum
import sys
import time
import types
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

from asyncgen_tools.arguments import describe
from asyncgen_tools.errors import BareSuspensionError
from asyncgen_tools.host import ABANDONED, PARKED, Marker, own_frames
from asyncgen_tools.loops.options import checked_options
from asyncgen_tools.loops.outcomes import Refused, collect, outcome_of
from asyncgen_tools.loops.sliced import SlicedLoop
from asyncgen_tools.steps import Outcome, Returned, Step

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from asyncgen_tools.host import Host
    from asyncgen_tools.loops.hooks import HookSeal

__all__ = ("BareLoop", "checkpoint")


class Checkpoint(enum.Enum):
    """The message of a step that only lets go of the thread for a moment."""

    CHECKPOINT = "go on"


CHECKPOINT: Final = Checkpoint.CHECKPOINT


@types.coroutine
def checkpoint() -> Generator[Checkpoint, None, None]:
    """Suspend once, for the trampoline of a bare loop, which resumes at once."""
    yield CHECKPOINT


get_hooks: Final = sys.get_asyncgen_hooks


@final
class BareLoop(SlicedLoop):
    """What stands for a loop on the `bare` backend; it has no options.

    Args:
        options: must be empty.
        private: whether it belongs to one generator, and closes when that ends.
    """

    # Declared by the base as well; repeated because this class assigns them (pyright --verifytypes).
    budget: int

    blocks = False

    def __init__(self, options: dict[str, Any], *, private: bool) -> None:
        super().__init__(private=private)
        checked_options(no_options, options, backend="bare")
        self.agens: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()
        self.running: bool = False

    # Longer than a function should be, and alike in each loop: calls cost more here than all else (see `sliced`).
    def steps(self, host: Host, *, renewed: bool) -> Generator[Any, Step | None, Any]:
        message: Any = PARKED if renewed else None
        command: Step | None = None
        try:
            if message is None:
                message = self.guarded(self.careful_step, host, host.first)
            firstiter, run, send = self.seal[0], host.context.run, host.body.send
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
                    if get_hooks().firstiter is firstiter and not self.running:
                        self.running = True
                        try:
                            message = run(send, command)
                            self.running = False
                        except BaseException as exc:
                            self.running = False
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
        seal.firstiter, seal.finalizer = self.agens.add, finalize

    def seat(self, host: Host) -> None:
        host.task = self
        self.hosts[host] = None

    def vacate(self, host: Host) -> None:
        host.task = None

    def borrow(self, host: Host, function: Callable[[Any], Any], argument: Any) -> Any:
        outer, self.running = self.running, True
        try:
            return host.context.run(function, argument)
        finally:
            self.running = outer
            del argument  # or an exception in it and this frame would keep each other alive

    def leave(self, host: Host) -> None:
        self.running = self.running and host.body.gi_running

    def inside(self) -> bool:
        return self.running

    def adopt(self, host: Host, message: Any) -> Outcome | Marker | Refused:
        while not isinstance(message, Marker):
            resume: Callable[[Any], Any] = host.body.send
            answer: Any = None
            if message is not CHECKPOINT:
                resume, answer = (
                    host.body.throw,
                    BareSuspensionError(
                        f"{host.name} waits for {describe(message)}, and the bare backend has no event loop that could "
                        "ever end the wait. Write backend='asyncio' or backend='trio'."
                    ),
                )
            try:
                message = self.borrow(host, resume, answer)
            except BaseException as exc:
                return outcome_of(exc)
        return message

    def now(self) -> float:
        return time.monotonic()

    def slice(self, host: Host | None) -> None:
        """Nothing is ever due."""

    def turn(self) -> None:
        self.budget = sys.maxsize

    def soon(self, callback: Callable[[], object]) -> None:
        del callback  # pragma: no cover  # for a second Ctrl-C while nothing of a generator runs, which takes no time

    def in_user_code(self) -> bool:
        return self.running

    def cancel(self, host: Host, reason: Callable[[], BaseException]) -> None:
        """Nothing ever waits."""

    def disown(self, *, forked: bool) -> None:
        """Nothing is shared with another process, and nothing makes a noise."""

    def stop(self) -> None:
        errors: list[BaseException] = []
        for agen in list(self.agens):
            collect(errors, partial(finalize, agen))
        if errors:
            raise BaseExceptionGroup("errors while closing async generators", errors)


def finalize(agen: AsyncGenerator[Any, Any]) -> None:
    """Close an async generator that must not wait for anything while it is closed."""
    closing = agen.aclose()
    try:
        while closing.send(None) is CHECKPOINT:
            pass
    except (StopIteration, StopAsyncIteration):  # the latter if it was closed and would not be
        return
    closing.close()
    raise BareSuspensionError(
        f"{agen!r} waits for something while it is closed, and the bare backend has no event loop that could ever end "
        "the wait. Write backend='asyncio' or backend='trio'."
    )


def no_options() -> None:
    """The options of the bare backend."""


own_frames(BareLoop.steps, BareLoop.borrow, BareLoop.adopt)
