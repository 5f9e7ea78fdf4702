"""Ctrl-C while a loop runs: the first one asks, the second one raises.

A KeyboardInterrupt that strikes inside an event loop's own code can lose a callback, and with it the step for ever. So
while a loop runs in the main thread, SIGINT calls a function instead of raising; between slices the thread's handler
is Python's own. A handler that the application installed is never replaced.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from queue import Empty
from typing import TYPE_CHECKING, Any, Final, TypeVar

try:
    # signal.signal converts to and from enums, which costs 3 to 7 µs a slice, more than the slice itself.
    from _signal import (  # type: ignore[import-not-found, unused-ignore]
        SIGINT,
        default_int_handler,
        getsignal,
        signal as set_signal,
    )
except ImportError:  # pragma: no cover  # another Python: the same functions, slower
    from signal import SIGINT, default_int_handler, getsignal, signal as set_signal

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue

__all__ = ("get_interruptibly", "guard_interrupts", "interrupt", "release_interrupts")

T = TypeVar("T")

#: After how many seconds of waiting a signal is looked for that came just before the wait.
PATIENCE: Final = 0.5


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


def guard_interrupts(handler: Callable[[int, Any], None]) -> bool:
    """Let SIGINT call `handler` where it would raise KeyboardInterrupt in this thread; tell whether it now does."""
    if getsignal(SIGINT) is not default_int_handler:
        return False
    try:
        set_signal(SIGINT, handler)
    except ValueError:  # this is not the main thread, which alone gets signals
        return False
    return True


def interrupt() -> None:
    """Raise out of a loop, between two of its callbacks."""
    raise KeyboardInterrupt


def release_interrupts(handler: Callable[[int, Any], None]) -> None:
    """Undo `guard_interrupts`, unless the generator has installed a handler of its own meanwhile."""
    if getsignal(SIGINT) is handler:
        set_signal(SIGINT, default_int_handler)
