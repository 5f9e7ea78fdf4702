"""asyncio in a thread of its own, uvloop included; the host is a task of the loop, see `asyncio_hosts`.

A step is begun in a callback of the loop, as the host's task. Closing a generator whose step is under way cancels that
once, so that its cleanup may await.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import asyncio
from asyncio.tasks import (
    _enter_task,  # pyright: ignore[reportPrivateUsage]  # "this function is for event loop implementers", in the
    _leave_task,  # pyright: ignore[reportPrivateUsage]  # documentation of asyncio
)
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, final

from asyncgen_tools.host import own_frames
from asyncgen_tools.loops.asyncio_hosts import (
    AsyncioHosts,
    Leave,
    Resume,
    detach_selector,
    dropped_generators,
    loop_maker,
    quieten,
)
from asyncgen_tools.loops.background import BackgroundLoop
from asyncgen_tools.loops.options import checked_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncgen_tools.host import Host

__all__ = ("AsyncioBackground",)


@final
class AsyncioBackground(AsyncioHosts, BackgroundLoop):
    """An asyncio event loop in a thread of its own.

    Args:
        options: anyio's `debug`, `use_uvloop` and `loop_factory`.
        name: of the thread.
    """

    backend: ClassVar[str] = "asyncio"
    cancelled: ClassVar[tuple[type[BaseException], ...]] = (asyncio.CancelledError,)

    # Declared by the base as well; repeated because this class assigns them (pyright --verifytypes).
    loop: asyncio.AbstractEventLoop

    def __init__(self, options: dict[str, Any], *, name: str | None) -> None:
        checked_options(loop_maker, options, backend="asyncio")
        super().__init__(options, name=name)

    def attach(self) -> None:
        self.loop = asyncio.get_running_loop()

    def soon(self, callback: Callable[[], object]) -> bool:
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError:
            if not self.loop.is_closed():  # but where the recursion is too deep, which is one as well
                raise
            return False
        return True

    def seat(self, host: Host) -> None:
        host.task = self.loop.create_task(
            self.occupy(host), name=f"asyncgen_tools host of {host.name}", context=host.context.copy()
        )

    async def occupy(self, host: Host) -> None:
        """The host's task; the first step comes when it is parked."""
        self.loop.call_soon(partial(self.seated, host))
        await super().occupy(host)

    def vacate(self, host: Host) -> None:
        self.wake(host, Leave)

    def borrow(self, host: Host, function: Callable[[Any], Any], argument: Any) -> Any:
        if host.scope is not None:  # parked under a shield, where the generator must not run
            return Resume(function, argument)
        _enter_task(self.loop, host.task)
        try:
            return host.context.run(function, argument)
        finally:
            _leave_task(self.loop, host.task)
            del argument  # or an exception in it and this frame would keep each other alive

    def adopt(self, host: Host, message: Any) -> None:
        if host.deadline is not None:
            host.line.timer = self.loop.call_at(host.deadline, self.expire, host)
        self.wake(host, message)

    def step_ended(self, host: Host) -> None:
        if host.line.timer is not None:
            host.line.timer.cancel()
            host.line.timer = None
        outcome, host.outcome = host.outcome, None
        assert outcome is not None
        self.ended(host, outcome)

    def cancel_step(self, host: Host) -> None:
        host.task.cancel()

    def mend(self, host: Host) -> None:
        if host.line.broken_off:
            host.task.uncancel()

    async def dropped_generators(self) -> None:
        await dropped_generators()

    def now(self) -> float:
        return self.loop.time()

    def forsake(self, *, forked: bool) -> None:
        quieten(self.loop)
        if forked:
            detach_selector(self.loop)


own_frames(AsyncioBackground.borrow, AsyncioBackground.occupy)
