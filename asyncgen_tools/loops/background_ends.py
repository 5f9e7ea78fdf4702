"""The ends of loops in threads of their own: the interpreter's exit, a fork; and where the garbage collector runs.

At exit an open loop is closed, for its thread still runs, but not waited for longer than `PATIENCE`. In a forked child
there is no such thread: what is left of the loop is kept quiet.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import atexit
import gc
import os
import weakref
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from asyncgen_tools.loops.ends import all_of, warn_unclosed
from asyncgen_tools.loops.primitives import State

if TYPE_CHECKING:
    from asyncgen_tools.loops.background_thread import BackgroundThread

__all__ = ("COLLECTING", "LIVE")

#: The loops that run.
LIVE: Final[weakref.WeakSet[BackgroundThread]] = weakref.WeakSet()

#: The threads in which the cyclic garbage collector runs. It may strike anywhere, also where a lock is held.
COLLECTING: Final[set[int]] = set()

#: How many seconds the exit of the interpreter waits for an open loop.
PATIENCE: Final = 1.0


def note_collection(phase: str, _info: dict[str, Any]) -> None:
    """Take notice of a collection's begin or end in this thread."""
    if phase == "start":
        COLLECTING.add(get_ident())
    else:
        COLLECTING.discard(get_ident())


def at_exit() -> None:
    """Close what runs when the interpreter exits, and warn of the generators that are open."""
    for loop in all_of(LIVE):
        hosts = list(loop.hosts)
        try:
            with suppress(Exception):  # nobody is left to take it
                loop.close(PATIENCE)
        finally:
            for host in hosts:
                warn_unclosed(host, "was still open at the exit of the interpreter.")


def after_fork_in_child() -> None:
    """Let go of the parent's loops, whose threads are not here."""
    COLLECTING.clear()
    for loop in all_of(LIVE):
        loop.state = State.DISOWNED
        loop.forsake(forked=True)
    LIVE.clear()


gc.callbacks.append(note_collection)
atexit.register(at_exit)
if hasattr(os, "register_at_fork"):  # pragma: no branch  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=after_fork_in_child)
