"""What a check needs of an event loop: a fresh run of it, a scope to cancel, a task of its own. And bare, without any.

Unlike `Runner`, a harness uses each library's own `run`: what is checked should meet nothing of this package. Bare
alone, which is of this package, is a `Runner`.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, final

from asyncgen_tools.loops.observers import observers
from asyncgen_tools.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator
    from types import TracebackType
    from typing import Self

    from asyncgen_tools.testing.harness.watching import Watch

__all__ = ("BareHarness", "Harness", "LevelScope", "NeverCancelledError", "Scope", "ThrownError")

T = TypeVar("T")


class NeverCancelledError(BaseException):
    """What stands for a cancellation where there is none: nothing raises it."""


class ThrownError(Exception):
    """What is thrown into generators, which do not expect it."""


class Scope(ABC):
    """Code that can be cancelled from within, by whatever the library has for it; a context manager, used once."""

    requested: bool = False
    """Whether `cancel` was called."""

    caught: bool = False
    """Whether the block ended with the cancellation that was requested, and with nothing else."""

    @abstractmethod
    def cancel(self) -> None:
        """Request the cancellation of the block."""

    @abstractmethod
    def sent(self, error: BaseException, *, at_once: bool) -> bool:
        """Whether a cancellation that arrives in the current task is the one that was requested, and no other.

        Args:
            error: the cancellation.
            at_once: whether nothing else has arrived since the request.
        """

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> bool: ...


class LevelScope(Scope):
    """A cancel scope of trio or anyio: every await in it is cancelled until the block is left.

    Args:
        scope: the library's own.
    """

    # Declared by the base as well; repeated because this class assigns them (pyright --verifytypes).
    caught: bool
    requested: bool

    def __init__(self, scope: Any) -> None:
        self._scope = scope

    def cancel(self) -> None:
        self.requested = True
        self._scope.cancel()

    def sent(self, error: BaseException, *, at_once: bool) -> bool:
        del error, at_once  # it may come at any time, and says nothing of its scope
        return self.requested and not any(scope.shield for scope in self.scopes_within())

    @abstractmethod
    def scopes_within(self) -> Iterator[Any]:
        """The library's scopes in which the current task is, innermost first, up to this one."""

    def __enter__(self) -> Self:
        self._scope.__enter__()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> bool:
        suppressed = bool(self._scope.__exit__(exc_type, exc, traceback))
        self.caught = suppressed and exc is not None
        return suppressed


class Harness(ABC):
    """One kind of event loop, seen from a check.

    Args:
        options: the backend's options, with anyio's names and meaning.
    """

    library: ClassVar[str]
    """The library that async code runs on."""

    cancelled: ClassVar[type[BaseException]] = NeverCancelledError
    """The class of its cancellations."""

    level: bool = False
    """Whether `scope` cancels every await in it (trio, anyio), and not only one (asyncio)."""

    @abstractmethod
    def run(self, function: Callable[[], Coroutine[Any, Any, T]], /) -> T:
        """Run an async function in a fresh event loop, which is closed then."""

    @abstractmethod
    def scope(self) -> Scope:
        """A new scope, cancelled in the library's own manner."""

    def level_scope(self) -> Scope:
        """A new scope that cancels every await in it."""
        return self.scope()

    @abstractmethod
    def canceller(self) -> Callable[[], object]:
        """What cancels the current task and wakes the loop, from any thread."""

    @abstractmethod
    async def in_new_task(self, awaitable: Awaitable[T], /) -> T:
        """Await something in a task of its own."""

    async def absorb(self) -> None:  # noqa: B027  # most have nothing to do
        """Take in a cancellation that was requested and has not been delivered."""

    def scopes(self) -> list[Any]:
        """The cancel scopes and nurseries in which the current task is, as far as its library lists them."""
        return []

    def entered_scopes(self) -> Callable[[], list[Any]]:
        """What gives, each time, the scopes, timeouts, task groups and nurseries that the current task has entered and
        not left since, if it had no timeouts and task groups open before.
        """
        before = {id(scope) for scope in self.scopes()}
        return lambda: [scope for scope in self.scopes() if id(scope) not in before]

    def named(self, scope: object) -> str:
        """What a report calls one of them."""
        return type(scope).__name__

    async def settle(self) -> None:  # noqa: B027  # the same
        """Let everything run that is ready now, finalizers included."""

    def shortcut(self) -> Callable[[Any], Any] | None:
        """What answers a message of the current task in the loop's stead, where the loop would only hand it back.

        Returns:
            A function that gives the answer, or the message itself if the loop must have it; None if there is none.
        """
        return None  # pragma: no cover  # nothing is swept without an event loop; those that have one override it

    def watch_tree(self, watch: Watch) -> None:
        """Have `watch` count the suspensions of every task that the current one starts, too."""
        raise NotImplementedError  # pragma: no cover  # the same


@final
class BareHarness(Harness):
    """No event loop, and so no cancellation."""

    library = "bare"

    def run(self, function: Callable[[], Coroutine[Any, Any, T]], /) -> T:
        watchers, observers.watchers = observers.watchers, ()  # what is left behind here is this run's own concern
        try:
            with Runner(backend="bare") as runner:
                return runner.run(function)
        finally:
            observers.watchers = watchers

    def scope(self) -> Scope:
        raise NotImplementedError  # pragma: no cover  # nothing is cancelled

    def canceller(self) -> Callable[[], object]:
        return bool  # nothing waits

    async def in_new_task(self, awaitable: Awaitable[T], /) -> T:
        return await awaitable  # pragma: no cover  # the check `wrong-task` leaves it out
