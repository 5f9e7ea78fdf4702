"""A watchdog: ends what takes too long in the thread that started it, and remembers where that hung.

It is a thread, because what hangs may be a wait for something that never comes as well as a loop that awaits nothing.
First it asks politely, by whatever cancels the code under test, then less politely (a harness may take shields away);
at last, and at once where something computes, it raises `Stuck` in the thread, again and again. Only code that hangs
outside of Python (`time.sleep`, a C function) cannot be ended.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from typing import TYPE_CHECKING, Self, final

from asyncgen_tools.arguments import checked_seconds
from asyncgen_tools.testing.harness.watching import frames_below, user_place

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

    from asyncgen_tools.testing.harness.watching import Watch
    from asyncgen_tools.testing.places import Place

__all__ = ("Stuck", "Watchdog")


class Stuck(BaseException):  # it is never reported: what reports says where the code hung
    """Raised in the middle of code that takes too long and that did not end when it was cancelled."""


@final
class Watchdog:
    """Bounds what its own thread does, from `watch` to `rest`.

    Args:
        seconds: how long that may take; the grace after a cancellation is the same, but at most one second.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds: float = min(checked_seconds("timeout", seconds), threading.TIMEOUT_MAX)
        self.grace: float = min(self.seconds, 1.0)
        self.fired: bool = False
        self._barks: int = 0
        self.place: Place | None = None
        self._deadline: float = float("inf")
        self._cancel: Callable[[], object] | None = None
        self._watch: Watch | None = None
        self._guarded: int = threading.get_ident()
        self._lock: threading.Lock = threading.Lock()
        self._ended: threading.Event = threading.Event()
        self._thread: threading.Thread = threading.Thread(
            target=self._work, name="asyncgen_tools watchdog", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.rest()
        self._ended.set()
        self._thread.join()

    def watch(self, watch: Watch | None, cancel: Callable[[], object]) -> None:
        """Begin to count the seconds of something.

        Args:
            watch: of the coroutine that is stepped, by which it is found where that hangs.
            cancel: asks the code under test to end; called in the watchdog's thread, it must also wake the loop.
        """
        with self._lock:
            if self.fired:
                return  # the run is being ended, and what is begun meanwhile must not look like a new one
            self._watch, self._cancel = watch, cancel
            self._deadline = time.monotonic() + self.seconds

    def begin(self) -> None:
        """Forget what was seen of earlier runs."""
        with self._lock:
            self.fired, self.place, self._barks = False, None, 0

    def rest(self) -> None:
        """Stop counting; `fired` says whether it was too late. After this nothing strikes any more."""
        while True:
            try:
                with self._lock:
                    self._deadline = float("inf")
                    self._cancel = self._watch = None
            except Stuck:  # the last one; `suppress` could be struck itself
                continue
            return

    def _work(self) -> None:
        while not self._ended.wait(max(0.001, min(self._deadline - time.monotonic(), self.seconds))):
            with self._lock:  # so that `rest` returns only when nothing more will be done to the thread
                if time.monotonic() >= self._deadline and self._cancel is not None:
                    self._bark(self._cancel)

    def _bark(self, cancel: Callable[[], object]) -> None:
        self._deadline = time.monotonic() + self.grace
        self._barks += 1
        if not self.fired:
            self.fired = True
            self.place = self._where()
        elif self._barks > 2 or self._runs():
            # Until Stuck is raised there, this thread, if it is traced, goes round in circles at its next call (CPython
            # 3.11), and does not wake the loop.
            sys.settrace(None)
            thread, error = ctypes.c_ulong(self._guarded), ctypes.py_object(Stuck)  # pragma: no cover  # untraced
            ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, error)  # pragma: no cover  # the same
        cancel()

    def _runs(self) -> bool:
        """Whether the coroutine computes, instead of waiting for something."""
        return self._watch is None or self._watch.coroutine is None or bool(self._watch.coroutine.cr_running)

    def _where(self) -> Place | None:
        """Where the code hangs: at an await, or in a frame that runs right now."""
        if not self._runs():
            assert self._watch is not None
            return user_place(frames_below(self._watch.coroutine))
        frames: list[FrameType] = []
        frame: FrameType | None = sys._current_frames().get(self._guarded)  # pyright: ignore[reportPrivateUsage]
        while frame is not None:
            frames.insert(0, frame)
            frame = frame.f_back
        return user_place(frames)
