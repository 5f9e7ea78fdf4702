"""Who watches the sliced loops of a thread: the seams that the testing kit hangs on.

Without an observer each seam costs one look at an empty tuple, at the start of a generator and never at a step.
They are tuples, which each thread has from its class and replaces by its own, because a finalizer may ask for them at
any time: while a thread's first look made lists for it, too.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection

    from asyncgen_tools.host import Host, NativeGenerator

__all__ = ("GeneratorWatcher", "StepRecorder", "observers", "without")

T = TypeVar("T")


class GeneratorWatcher(Protocol):
    """Is told of the async generators that begin inside the steps of this thread's loops."""

    def first_iterated(self, agen: AsyncGenerator[Any, Any], /) -> None:
        """An async generator is about to take its first step."""

    def finalized(self, agen: AsyncGenerator[Any, Any], /) -> None:
        """An unfinished async generator was garbage-collected, and is about to be closed."""

    def shutting_down(self, begun: Collection[int], /) -> None:
        """A loop is about to close what is left of the generators that it has begun, told by their ids."""

    def lost(self, error: BaseException, /) -> None:
        """Closing a driven generator that was dropped has raised this, which nobody can catch."""


class StepRecorder(Protocol):
    """May put itself between a generator face and the native generator that steps its host."""

    def seated(self, host: Host, native: NativeGenerator, /, *, renewed: bool) -> NativeGenerator:
        """Give what the face is to use in place of the native generator."""
        ...


class ThreadObservers(threading.local):
    """What each thread has one of."""

    watchers: tuple[GeneratorWatcher, ...] = ()
    recorders: tuple[StepRecorder, ...] = ()


def without(these: tuple[T, ...], one: T) -> tuple[T, ...]:
    """All but one."""
    return tuple(other for other in these if other is not one)


observers: Final = ThreadObservers()
