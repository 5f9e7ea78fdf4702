"""An asyncio event loop whose time is virtual: it jumps to the next deadline when there is nothing else to do.

The jump is made where a loop waits: in the selector, which is asked to wait until the next deadline. If nothing is
ready, the time has come at once. Without a deadline the selector really waits, for sockets and other threads.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from selectors import SelectorKey

__all__ = ("VirtualTimeLoop",)


@final
class JumpingSelector(selectors.DefaultSelector):
    """A selector with a clock, which moves on by the timeout instead of waiting for it.

    Args:
        patience: seconds of real time that nothing may happen before the clock moves.
    """

    def __init__(self, patience: float) -> None:
        super().__init__()
        self.now: float = 0.0
        self.patience: float = patience

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """What is ready; if that is nothing, the clock has reached the deadline."""
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(self.patience)
        if not ready:
            self.now += timeout
        return ready


@final
class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop with virtual time, which begins at 0.

    Args:
        patience: seconds of real time that nothing may happen before virtual time jumps.
    """

    def __init__(self, patience: float = 0.0) -> None:
        self._jumping: JumpingSelector = JumpingSelector(patience)
        super().__init__(self._jumping)
        # A timer is due when its deadline is before the time plus this. The nanosecond of a real clock is nothing to a
        # float of 100 days, and the loop would spin; a microsecond does for a century.
        self._clock_resolution: float = 1e-6

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # asyncio's own
        """Wait for the executor's threads, without a limit: the one given would be over before they could end."""
        del timeout
        await super().shutdown_default_executor()

    def time(self) -> float:
        """The virtual time, in seconds."""
        return self._jumping.now
