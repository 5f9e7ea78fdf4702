"""What an event loop leaves in a thread, seen from outside of it (SEMANTICS A13)."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ("closes_at_once", "policy_state", "settled", "traces")


def traces() -> list[str]:
    """All that tells this thread from one in which no event loop has ever run; an empty list is right."""
    found: list[str] = []
    if asyncio._get_running_loop() is not None:
        found.append("a running asyncio loop")
    current: dict[Any, Any] = getattr(asyncio.tasks, "_current_tasks", {})
    found += [f"a current task of asyncio: {task!r}" for task in current.values()]
    if "trio" in sys.modules:
        import sniffio
        import trio
        from trio._core._run import GLOBAL_RUN_CONTEXT

        if trio.lowlevel.in_trio_run() or trio.lowlevel.in_trio_task():
            found.append("a trio run")
        found += [f"trio's {name}" for name in vars(GLOBAL_RUN_CONTEXT)]
        with suppress(sniffio.AsyncLibraryNotFoundError):
            found.append(f"sniffio's {sniffio.current_async_library()}")
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGINT)
        if handler not in {signal.default_int_handler, signal.SIG_IGN}:
            found.append(f"a handler of SIGINT: {handler!r}")
        descriptor = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(descriptor)
        if descriptor != -1:
            found.append(f"the wakeup descriptor {descriptor}")
    if not closes_at_once():
        found.append("asyncgen hooks that act")
    return found


def settled() -> bool:
    """Whether this thread is as if no event loop had ever run in it, its asyncgen hooks included."""
    return traces() == [] and sys.get_asyncgen_hooks() == (None, None)


def closes_at_once() -> bool:
    """Whether a generator that is dropped here is closed as without any asyncgen hooks."""
    closed: list[bool] = []

    async def probe() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            closed.append(True)

    agen = probe()
    with suppress(StopIteration):
        agen.asend(None).send(None)
    del agen
    return closed == [True]


def policy_state() -> dict[str, Any]:
    """What asyncio's policy remembers of this thread: its event loop, and whether one was ever set."""
    policy: Any = asyncio.get_event_loop_policy()  # type: ignore[deprecated, unused-ignore]  # the state lives here
    local: object = policy._local
    return dict(vars(local))
