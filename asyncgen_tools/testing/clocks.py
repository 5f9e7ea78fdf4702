"""virtual_time: hours of sleep in no time, on asyncio and trio alike.

The clock stands still while anything can run, and jumps to the next deadline when nothing can. What happens outside of
the loop takes no virtual time: see `patience`. Only the loop's own clock is virtual, not `time.monotonic()`.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from asyncgen_tools.arguments import checked_seconds
from asyncgen_tools.errors import MissingLibraryError, UnknownBackendError

if TYPE_CHECKING:
    from trio.testing import MockClock

__all__ = ("virtual_time",)


def virtual_time(backend: str = "asyncio", *, patience: float = 0.0) -> dict[str, Any]:
    """Give the `backend_options` that make time virtual, for `drive`, `Runner`, `Portal` and anyio.

    `asyncio.sleep(3600)`, `trio.sleep(3600)` and all timeouts end at once when nothing else can run; timers fire in
    the order of their deadlines. The clock (`loop.time()`, `trio.current_time()`) begins at 0.

    Sockets, worker threads and other processes are real: the loop looks at what is ready before it jumps, and waits for
    them if no timer is set. If one is set it does not wait, and the timer fires first, as with trio's
    `MockClock(autojump_threshold=0)`. Where the test needs both, give some `patience`.

    Args:
        backend: "asyncio", "trio", or "bare", which has no time at all.
        patience: how many seconds of real time nothing may happen before virtual time jumps.

    Returns:
        Options for one loop. Ask again for the next one.

    Raises:
        UnknownBackendError: there is no such backend (LookupError).
        MissingLibraryError: trio is not installed (ImportError).
        ArgumentTypeError: patience is no number (TypeError).
        ArgumentValueError: patience is negative (ValueError).

    >>> import asyncio
    >>> from asyncgen_tools import drive
    >>> async def ticks():
    ...     while True:
    ...         await asyncio.sleep(3600)
    ...         yield asyncio.get_running_loop().time()
    >>> with drive(ticks(), backend_options=virtual_time("asyncio")) as hours:
    ...     next(hours), next(hours)
    (3600.0, 7200.0)
    """
    patience = checked_seconds("patience", patience)
    match backend:
        case "asyncio":
            from asyncgen_tools.testing.virtual_loop import VirtualTimeLoop

            return {"loop_factory": partial(VirtualTimeLoop, patience)}
        case "trio":
            try:
                from trio.testing import MockClock
            except ModuleNotFoundError as exc:
                raise MissingLibraryError(
                    "virtual_time('trio') needs trio, which is not installed. Install asyncgen_tools[trio]."
                ) from exc
            return {"clock": patient_clock(MockClock(), patience)}
        case "bare":
            return {}
        case _:
            raise UnknownBackendError(
                f"There is no backend {backend!r} with virtual time. Write virtual_time('asyncio'), 'trio' or 'bare'; "
                "uvloop keeps its own clock, which cannot be replaced."
            )


def patient_clock(clock: MockClock, patience: float) -> MockClock:
    """Let a clock of trio's jump where there is a deadline to jump to.

    By itself it tries to jump also where there is none: the run never waits then, takes a whole core, and holds up the
    threads that it is waiting for. No class can be derived from MockClock.
    """
    sleep_time = clock.deadline_to_sleep_time

    def deadline_to_sleep_time(deadline: float) -> float:
        clock.autojump_threshold = patience if deadline < math.inf else math.inf
        return sleep_time(deadline)

    clock.deadline_to_sleep_time = deadline_to_sleep_time  # type: ignore[method-assign]
    return clock
