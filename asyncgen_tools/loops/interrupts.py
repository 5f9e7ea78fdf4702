"""Ctrl-C while a loop runs: the first one asks, the second one raises.

A KeyboardInterrupt that strikes inside an event loop's own code can lose a callback, and with it the step for ever. So
while a loop runs in the main thread, SIGINT calls a function instead of raising; between slices the thread's handler
is Python's own. A handler that the application installed is never replaced.

That function is the same for all loops, and asks the one that runs. For a body may set it aside in one step, and put it
back in a later one, when none does: then it acts as Python's own, and gives way to that.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from queue import Empty
from signal import SIGINT, default_int_handler
from typing import TYPE_CHECKING, Final, TypeVar

try:
    # signal.signal converts to and from enums, which costs 3 to 7 µs a slice, more than the slice itself.
    from _signal import getsignal, signal as set_signal  # type: ignore[import-not-found, unused-ignore]
except ImportError:  # pragma: no cover  # another Python: the same functions, slower
    from signal import getsignal, signal as set_signal

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue
    from types import FrameType

__all__ = ("get_interruptibly", "guard_interrupts", "interrupt", "on_sigint", "release_interrupts")

T = TypeVar("T")

#: After how many seconds of waiting a signal is looked for that came just before the wait.
PATIENCE: Final = 0.5

#: What the main thread asks about SIGINT, innermost last.
ASKED: Final[list[Callable[[], bool]]] = []


def get_interruptibly(queue: SimpleQueue[T]) -> T:
    """The next item of a queue, waiting for it.

    CPython looks for signals, then waits: one that comes in between does not end the wait, and would be answered only
    when something else does.
    """
    while True:
        try:
            return queue.get(timeout=PATIENCE)
        except Empty:
            continue


def on_sigint(_signum: int, _frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, unless whoever is asked takes it up otherwise."""
    if not ASKED:
        set_signal(SIGINT, default_int_handler)
    elif not ASKED[-1]():
        return
    raise KeyboardInterrupt


def guard_interrupts(handler: Callable[[], bool]) -> bool:
    """Let SIGINT call `handler`, which tells whether it still raises KeyboardInterrupt in this thread.

    Returns:
        Whether it now does, and `release_interrupts` is to undo that.
    """
    current = getsignal(SIGINT)  # pyright: ignore[reportUnknownVariableType]  # _signal has no stubs
    if current is not default_int_handler and (current is not on_sigint or ASKED):
        return False
    try:
        set_signal(SIGINT, on_sigint)
    except ValueError:  # this is not the main thread, which alone gets signals
        return False
    ASKED.append(handler)
    return True


def interrupt() -> None:
    """Raise out of a loop, between two of its callbacks."""
    raise KeyboardInterrupt


def release_interrupts() -> None:
    """Undo `guard_interrupts`, unless the generator has installed a handler of its own meanwhile."""
    try:
        if getsignal(SIGINT) is on_sigint:
            set_signal(SIGINT, default_int_handler)
    finally:
        ASKED.pop()
