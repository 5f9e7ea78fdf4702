"""What each kind of event loop must bring along to be run in slices, and the state that all of them have.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Final

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Generator

    from asyncgen_tools.host import Host, Marker
    from asyncgen_tools.loops.ends import OwnThread
    from asyncgen_tools.loops.hooks import Hook, HookSeal
    from asyncgen_tools.loops.outcomes import Refused
    from asyncgen_tools.steps import Outcome, Step

__all__ = ("TURN", "LoopPrimitives", "State")

#: How many steps may be taken in one go before the event loop gets a turn of its own (SEMANTICS A15).
TURN: Final = 64


class State(Enum):
    """Where a loop stands in its life."""

    NEW = "not opened yet"
    OPEN = "open"
    CLOSED = "closed"
    DISOWNED = "given up, because the process ends or is a fork"


class LoopPrimitives(ABC):
    """The primitives of one kind of event loop.

    Args:
        private: whether it belongs to one generator, and closes when that ends.
    """

    blocks: ClassVar[bool] = True
    """Whether a step may wait, and so must not be taken where an event loop runs already."""

    state: State = State.NEW

    def __init__(self, *, private: bool) -> None:
        self.private: bool = private
        self.budget: int = 0  # steps left until a turn is due; 0 sends the next step the careful way
        self.thread: weakref.ref[OwnThread] | None = None
        self.active: Host | None = None  # the host for which something is done where Ctrl-C must not strike
        self.waiting: Host | None = None  # the host whose step the loop runs for
        self.interrupt_noted: bool = False  # Ctrl-C was pressed, and what is being done goes on to its end
        self.interrupt_sent: bool = False  # the loop was told to end it
        self.finishing: bool = False  # a source is being finished after an interrupt
        self.process: int = os.getpid()
        self.hook_seal: HookSeal | None = None
        self.seal: tuple[Hook | None, Hook | None] = (None, None)  # its two hooks
        self.hosts: dict[Host, None] = {}  # those that have a task, in the order of their first steps

    @abstractmethod
    def steps(self, host: Host, *, renewed: bool) -> Generator[Any, Step | None, Any]:
        """The native generator that steps a host: takes commands (None is next), yields what the source yields.

        Args:
            host: whose face this is for.
            renewed: whether an earlier native generator of the host was lost to a refusal, and this one carries on.
        """

    @abstractmethod
    def start(self, seal: HookSeal) -> None:
        """Make the event loop; give its asyncgen hooks to the seal, at the first turn at the latest."""

    @abstractmethod
    def seat(self, host: Host) -> None:
        """Give the host its task; note it in `hosts` before the loop runs, which Ctrl-C may leave."""

    @abstractmethod
    def vacate(self, host: Host) -> None:
        """End the host's task."""

    @abstractmethod
    def borrow(self, host: Host, function: Callable[[Any], Any], argument: Any) -> Any:
        """Call `function(argument)` as the host's task; restore the thread also when it raises."""

    @abstractmethod
    def adopt(self, host: Host, message: Any) -> Outcome | Marker | Refused:
        """Let the host's task carry on a step that suspended with `message`; run the loop until it has ended."""

    @abstractmethod
    def now(self) -> float:
        """The loop's clock, in seconds."""

    @abstractmethod
    def cancel(self, host: Host, reason: Callable[[], BaseException]) -> None:
        """Cancel the step that the host's task carries on; `reason` makes what is raised instead."""

    @abstractmethod
    def slice(self, host: Host | None) -> None:
        """Run the loop until the step of the host has ended; of None, only what is due."""

    @abstractmethod
    def turn(self) -> None:
        """Run everything that is due, without waiting for anything."""

    @abstractmethod
    def soon(self, callback: Callable[[], object]) -> None:
        """Have the loop call something between two of its callbacks; from a signal handler, too."""

    @abstractmethod
    def in_user_code(self) -> bool:
        """Whether a task of the loop is running, and an exception may be raised in it."""

    def protected(self) -> bool:
        """Whether Ctrl-C must not be raised where it has struck, although a source is running."""
        return False

    @abstractmethod
    def stop(self) -> None:
        """Cancel what is left, wait for it, and close the event loop."""

    @abstractmethod
    def disown(self, *, forked: bool) -> None:
        """Let the event loop go as it is, and keep it quiet: nothing can be run any more.

        Args:
            forked: whether it is still in use in the parent of this process, and must not notice.
        """

    @abstractmethod
    def inside(self) -> bool:
        """Whether this thread is inside a step of this loop."""

    @abstractmethod
    def leave(self, host: Host) -> None:
        """Give the thread its own identity back, if it has that of this host and the host is not running."""
