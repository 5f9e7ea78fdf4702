"""The ends that a generator does not choose: dropped in the wrong place, the interpreter's exit, a fork.

Nothing blocks there and nothing is lost silently: what can be closed later is remembered for its thread, the rest is
named in a ResourceWarning, and an event loop that has to be let go of goes without noise.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import warnings
import weakref
from collections import deque
from typing import TYPE_CHECKING, Final, TypeVar

from asyncgen_tools.loops.hooks import remove_seal

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncgen_tools.host import Host
    from asyncgen_tools.loops.sliced_life import SlicedLife

__all__ = (
    "LIVE",
    "OwnThread",
    "all_of",
    "loop_inside",
    "report_unraisable",
    "this_thread",
    "warn_at",
    "warn_unclosed",
)

T = TypeVar("T")


class OwnThread:
    """Stands for one thread, whose number may be another's when it has ended, and dies with it.

    Attributes:
        abandoned: the hosts that were dropped where they could not be closed, with their loops.
        busy: the loops that have hosts. The collector, which finds a dropped generator in a cycle, finalises in any
            order; kept here, neither its event loop nor its source can come before the generator, which closes both.
    """

    def __init__(self) -> None:
        self.abandoned: deque[tuple[SlicedLife, Host]] = deque()
        self.busy: set[SlicedLife] = set()

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:  # late, our globals are gone
        if not is_finalizing():  # pragma: no branch  # at the exit of the interpreter coverage has ended
            for loop, _ in self.abandoned:  # pragma: no branch  # below
                loop.give_up(forked=False)  # pragma: no cover  # as its thread ends, which 3.13 traces no more


class ThreadState(threading.local):
    """What each thread has one of, made at the first look, inside of which a finalizer may look, too."""

    @property
    def own(self) -> OwnThread:
        """This thread."""
        known: dict[str, OwnThread] = self.__dict__
        return known.get("own") or known.setdefault("own", OwnThread())


this_thread: Final = ThreadState()

#: The loops that are open, in all threads.
LIVE: Final[weakref.WeakSet[SlicedLife]] = weakref.WeakSet()


def all_of(registry: weakref.WeakSet[T]) -> list[T]:
    """What is in a registry now, which other threads may change while it is read."""
    while True:
        try:
            return list(registry)
        except RuntimeError:  # it grew
            continue


def loop_inside() -> SlicedLife | None:
    """The sliced loop inside of whose step this thread is, or None."""
    for loop in all_of(LIVE):
        if loop.thread is not None and loop.thread() is this_thread.own and loop.inside():
            return loop
    return None


def warn_unclosed(host: Host, what: str) -> None:
    """Warn of a generator whose cleanup is late or lost, at the line that made it."""
    text = f"{host.name} {what} Close a generator where it is used: `with drive(...) as rows:`."
    warn_at(host.made_at, text, name=host.name)


def warn_at(made_at: tuple[str, int], text: str, *, name: str) -> None:
    """Give a ResourceWarning that nobody could catch; where warnings are errors, it is reported as one of closing."""
    try:
        warnings.warn_explicit(text, ResourceWarning, *made_at)
    except ResourceWarning as warning:
        report_unraisable(warning, name)


def report_unraisable(error: BaseException, name: str) -> None:
    """Hand an error that nobody is left to take to `sys.unraisablehook`, as CPython does with those of finalizers."""

    class Ignored:
        def __del__(self) -> None:
            raise error

    Ignored.__del__.__qualname__ = f"closing {name}"
    Ignored()


def at_exit() -> None:
    """Give up what is open when the interpreter exits: cleanup could wait for ever, and soon nothing works any more."""
    for loop in all_of(LIVE):
        for host in loop.hosts:
            warn_unclosed(host, "was still open at the exit of the interpreter, which does not close it.")
        loop.give_up(forked=False)
        own = None if loop.thread is None else loop.thread()
        if own is not None:
            own.abandoned.clear()


def after_fork_in_child() -> None:
    """Let go of the parent's event loops."""
    remove_seal()
    for loop in all_of(LIVE):
        loop.give_up(forked=True)
    LIVE.clear()


atexit.register(at_exit)
if hasattr(os, "register_at_fork"):  # pragma: no branch  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=after_fork_in_child)
