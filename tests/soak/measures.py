"""What must not grow: threads, file descriptors, objects, memory; and what must not be said: warnings, lost errors."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from tests.soak.sources import OPEN

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Complaints", "Measures", "left_threads", "settle")

DESCRIPTORS: Final = Path("/proc/self/fd")
STATM: Final = Path("/proc/self/statm")

#: How many seconds to wait for threads and tasks that are about to end.
PATIENCE: Final = 20
#: How many threads may be idle: as many as all loops together use at a time.
IDLE: Final = 40
#: How many more of a type there may be: idle threads keep some, and a leak goes on.
SLACK: Final = 10

#: Types of others that a leak would show in.
FOREIGN: Final = {"async_generator", "coroutine", "generator", "Context", "Thread", "Task", "Future", "socket", "Loop"}


@final
@dataclass(frozen=True, slots=True)
class Measures:
    """What was found after a round."""

    threads: int
    idle: int  # threads that trio and anyio keep for some seconds, and use again
    descriptors: int
    objects: Counter[str]
    blocks: int
    resident: int  # MiB

    def __str__(self) -> str:
        tasks = sum(number for name, number in self.objects.items() if name.startswith("tasks "))
        return (
            f"{self.threads} threads, {self.idle} idle, {self.descriptors} descriptors, {tasks} tasks, "
            f"{self.objects.total() - tasks:,} objects, {self.blocks:,} blocks, {self.resident} MiB"
        )

    def excess(self, baseline: Measures) -> list[str]:
        """What is more than it was then."""
        found = [f"open: {source!r}" for source in OPEN]
        if self.threads > baseline.threads:
            names = sorted(thread.name for thread in threading.enumerate())
            found.append(f"{self.threads} threads after {baseline.threads}: {', '.join(names)}")
        if self.idle > IDLE:
            found.append(f"{self.idle} idle threads")
        if self.descriptors > baseline.descriptors:
            found.append(f"{self.descriptors} file descriptors after {baseline.descriptors}")
        for name, number in (self.objects - baseline.objects).items():
            if number > (0 if name.startswith("tasks ") else SLACK):
                found.append(f"{number} more of {name}, after {baseline.objects[name]}")
        return found


def measure(tasks: Callable[[], dict[str, int]]) -> Measures:
    """Count everything."""
    objects = Counter(tasks())
    gc.collect()
    gc.collect()  # what a finalizer brings back for a moment goes in the second round
    kinds: list[type[object]] = [type(item) for item in gc.get_objects()]
    for kind in kinds:
        if kind.__name__ in FOREIGN or str(kind.__module__).startswith("asyncgen_tools"):
            objects[f"{kind.__module__}.{kind.__qualname__}"] += 1
    threads = [thread.name for thread in threading.enumerate()]
    idle = sum(name.startswith(("Trio thread ", "AnyIO worker thread")) for name in threads)
    descriptors = len([*DESCRIPTORS.iterdir()]) if DESCRIPTORS.is_dir() else 0
    resident = int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20 if STATM.is_file() else 0
    return Measures(len(threads) - idle, idle, descriptors, objects, sys.getallocatedblocks(), resident)


def left_threads() -> list[str]:
    """The threads of this library that are there when everything was closed."""
    ours = ("asyncgen_tools", "in_thread")
    return [f"a thread is left: {thread}" for thread in threading.enumerate() if thread.name.startswith(ours)]


def settle(baseline: Measures | None, tasks: Callable[[], dict[str, int]]) -> tuple[Measures, list[str]]:
    """Measure, until nothing is more than the baseline, or too many seconds have passed.

    Args:
        baseline: what is right; None if it is not known yet.
        tasks: counts the tasks of each loop. It uses every loop, so that what was left for its next use is done.

    Returns:
        The last measures, and what is too much.
    """
    end = time.monotonic() + PATIENCE
    while True:
        found = measure(tasks)
        excess = found.excess(baseline or found)
        if not excess or time.monotonic() > end:
            return found, excess
        del found
        time.sleep(0.05)


@final
class Complaints:
    """What Python would write to stderr: warnings, and errors that nobody was left to take."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.allowed: int = 0  # how many generators were dropped where a warning must be expected
        self.struck: int = 0  # how many signals may have come between the call of a coroutine function and its await
        self.told: Counter[str] = Counter()  # the warnings of each kind
        self.last: dict[str, str] = {}

    def listen(self) -> None:
        """Hear everything from now on, in all threads."""
        warnings.simplefilter("always")
        # On 3.12 and later, wherever another thread lives, if only an idle one.
        warnings.filterwarnings("ignore", r".*use of fork\(\) may lead to deadlocks", DeprecationWarning)
        warnings.showwarning = self.hear_warning
        sys.unraisablehook = self.hear_unraisable
        threading.excepthook = self.hear_thread
        handler = logging.Handler(logging.WARNING)
        handler.emit = self.hear_log  # type: ignore[method-assign]
        for name in ("asyncio", "trio"):
            logging.getLogger(name).addHandler(handler)

    def hear_log(self, record: logging.LogRecord) -> None:
        """Take what an event loop reports."""
        self.heard.append(logging.Formatter().format(record))

    def hear_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: object = None,
        line: object = None,
    ) -> None:
        """Take a warning."""
        del file, line
        dropped = "was dropped before its end" in str(message) or str(message).startswith(
            ("unclosed <P", "unclosed <R")
        )
        if issubclass(category, ResourceWarning) and dropped:
            self.note("unclosed", f"{filename}:{lineno}: {message}")
        elif issubclass(category, RuntimeWarning) and str(message).endswith("was never awaited"):
            self.note("unawaited", f"{filename}:{lineno}: {message}")
        else:
            self.heard.append(f"{filename}:{lineno}: {category.__name__}: {message}")

    def note(self, kind: str, text: str) -> None:
        """Count a warning of a kind of which some are expected."""
        self.told[kind] += 1
        self.last[kind] = text

    def hear_unraisable(self, unraisable: Any) -> None:
        """Take what a finalizer raised; Python loses a Ctrl-C that strikes in one."""
        if unraisable.exc_type is KeyboardInterrupt:
            return
        lines = traceback.format_exception(unraisable.exc_type, unraisable.exc_value, unraisable.exc_traceback)
        self.heard.append(f"unraisable in {unraisable.object!r}: {unraisable.err_msg}\n{''.join(lines)}")

    def hear_thread(self, args: Any) -> None:
        """Take what a thread raised."""
        lines = traceback.format_exception(args.exc_type, args.exc_value, args.exc_traceback)
        self.heard.append(f"in thread {args.thread}:\n{''.join(lines)}")

    def found(self) -> list[str]:
        """What was heard and should not have been."""
        expected = {"unclosed": self.allowed, "unawaited": self.struck}
        return self.heard + [
            f"{self.told[kind]} {kind}, of {count} that were expected, the last one: {self.last[kind]}"
            for kind, count in expected.items()
            if self.told[kind] > count
        ]
