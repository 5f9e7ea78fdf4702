"""The asyncgen hooks of one sliced loop: the loop's inside a step, the caller's outside.

Setting and restoring the thread's hooks around each step would cost more than the step. So one pair of hooks, the
seal, stays in place between steps, and acts as the loop's hooks inside a step and as no hooks at all outside. It stays
only where the caller has no hooks; a caller that has some gets them back after every step.

The seal doubles as the check that a step may be taken the fast way: hooks belong to a thread, every event loop sets
its own while it runs, and a fork resets the seal; so a thread whose first-iteration hook is this very seal is the
loop's own thread, runs no loop, and is not a forked child.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias, final

from asyncgen_tools.loops.observers import observers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    Hook: TypeAlias = Callable[[AsyncGenerator[Any, Any]], None]

__all__ = ("HookSeal", "close_without_hooks", "remove_seal", "set_hooks")


@final
class HookSeal:
    """The pair of hooks; `first_iterated` and `finalized` are what is installed.

    Args:
        inside: tells whether a step of the loop is running now in this thread.
    """

    __slots__ = ("begun", "finalizer", "firstiter", "inside")

    def __init__(self, inside: Callable[[], bool]) -> None:
        self.firstiter: Hook | None = None  # the loop's own, see `take_hooks`
        self.finalizer: Hook | None = None
        self.inside: Callable[[], bool] = inside
        # Those that the loop has begun, by id, because weak references are cleared before a finalizer runs. The id of
        # one that ended by itself stays; the next generator there is first iterated, too, and puts it right.
        self.begun: set[int] = set()

    def take_hooks(self) -> None:
        """Take the hooks that are installed now for the loop's own."""
        self.firstiter, self.finalizer = sys.get_asyncgen_hooks()

    def retire(self) -> None:
        """Let go of the loop, which is closed and would otherwise be kept until the cyclic collector comes by."""
        self.firstiter = self.finalizer = None
        self.inside = bool  # which gives False

    def first_iterated(self, agen: AsyncGenerator[Any, Any]) -> None:
        """The first-iteration hook: hand the generator to the loop, if it is not the caller's."""
        if not self.inside():
            self.begun.discard(id(agen))
            return
        self.begun.add(id(agen))
        for watcher in observers.watchers:
            watcher.first_iterated(agen)
        if self.firstiter is not None:  # pragma: no branch  # asyncio, uvloop and trio have one
            self.firstiter(agen)

    def finalized(self, agen: AsyncGenerator[Any, Any]) -> None:
        """The finalizer: the loop's for the loop's generators, what CPython does without hooks for the caller's."""
        if id(agen) in self.begun:
            self.begun.discard(id(agen))
            for watcher in observers.watchers:
                watcher.finalized(agen)
            if self.finalizer is not None:
                self.finalizer(agen)
        else:
            close_without_hooks(agen)


def close_without_hooks(agen: AsyncGenerator[Any, Any]) -> None:
    """Close a collected async generator as CPython does where no hooks are installed: without a loop, in one go."""
    try:
        agen.athrow(GeneratorExit).send(None)
    except GeneratorExit:
        return
    except StopIteration:  # it has yielded
        pass
    raise RuntimeError("async generator ignored GeneratorExit")


def set_hooks(firstiter: Hook | None, finalizer: Hook | None) -> bool:
    """Put the hooks of a seal in place.

    Returns:
        Whether they hide hooks that somebody still needs, and must be given back after the step: all but the seal
        of a loop that takes no step now.
    """
    previous = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=firstiter, finalizer=finalizer)
    seal = getattr(previous.firstiter, "__self__", None)
    if isinstance(seal, HookSeal):
        return seal.inside()
    return previous != (None, None)


def remove_seal(firstiter: Hook | None = None) -> None:
    """Take the seal with this hook, or any seal, out of this thread."""
    current = sys.get_asyncgen_hooks().firstiter
    if current is not None and (
        current is firstiter if firstiter is not None else isinstance(getattr(current, "__self__", None), HookSeal)
    ):
        sys.set_asyncgen_hooks(firstiter=None, finalizer=None)
