"""sweep_close: does this generator clean up after itself, at whichever yield it is left, and however?

The generator is run once to count its yields, then once for each yield and each action: stepped to that yield, in a
fresh event loop, left by that action, and looked at. What `check` sees is how things stand after the cleanup.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final

from asyncgen_tools.arguments import checked_count, close_refused, describe
from asyncgen_tools.errors import ArgumentValueError, HangError, SourceTypeError, SweepError
from asyncgen_tools.testing.backends import Backend, get_backend
from asyncgen_tools.testing.harness.base import ThrownError
from asyncgen_tools.testing.harness.bounds import make_harness, refuse_running_loop, run_bounded
from asyncgen_tools.testing.harness.watchdog import Watchdog
from asyncgen_tools.testing.harness.watching import Watch, frames_below, user_place, watched
from asyncgen_tools.testing.leaks import track_async_generators
from asyncgen_tools.testing.sweeps import (
    Check,
    Ending,
    SweepPoint,
    SweepReport,
    is_async_iterable,
    judge,
    made_pair,
    scenario_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from asyncgen_tools.testing.harness.base import Harness
    from asyncgen_tools.testing.places import Place

__all__ = ("CloseAction", "sweep_close")

CloseAction: TypeAlias = Literal["aclose", "athrow", "drop", "aclose-cancelled"]
ACTIONS: Final[tuple[CloseAction, ...]] = ("aclose", "athrow", "drop", "aclose-cancelled")


def sweep_close(
    make: Callable[[], Any],
    /,
    *,
    backend: str | Backend = "asyncio",
    actions: Sequence[CloseAction] = ACTIONS,
    check: Check | None = None,
    close_at: int | None = None,
    max_yields: int = 100,
    timeout: float = 10.0,
) -> SweepReport:
    """Leave an async generator at each of its yields, in several ways, and report what came of it.

    Args:
        make: gives a new async generator or iterator each time, or a pair of that and a state for `check`.
        backend: the row to run on: "asyncio", "trio", "bare", "uvloop" or "level".
        actions: by default all of these: "aclose"; "athrow", an error that the generator cannot expect; "drop", its
            last reference, so that the event loop finalises it; "aclose-cancelled", closed in a scope that was
            cancelled. What the source has no method for, and what the backend has no cancellation for, is left out.
        check: called as `check(state, point)` after each run, when cleanup is over; it raises what is wrong.
        close_at: leave it at this yield only, counted from 1.
        max_yields: how many yields to go through at most.
        timeout: how many seconds one run may take.

    Returns:
        What happened at each point. Its ending is "closed" or, in a cancelled scope, "cancelled"; others are problems.
        A generator that yields nothing has no points: a random program may be such a one.

    Raises:
        SweepError: the generator raised, stayed unfinished, or `check` raised (AssertionError).
        HangError: a run took longer than `timeout`; says where it hangs (AssertionError, TimeoutError).
        SourceTypeError: `make` is no factory of async iterators (TypeError).
        ArgumentValueError: there is no such action or yield, or a number leaves nothing to do (ValueError).
        UnknownBackendError: there is no such backend (LookupError).
        MissingLibraryError: its library is not installed (ImportError).
        RunningLoopError: an event loop is running in this thread (RuntimeError).

    >>> async def numbers():
    ...     yield 1
    ...     yield 2
    >>> report = sweep_close(numbers, actions=["aclose"])
    >>> [(point.number, point.action, point.ending.value) for point in report.points]
    [(1, 'aclose', 'closed'), (2, 'aclose', 'closed')]
    """
    for action in actions:
        if action not in ACTIONS:
            raise ArgumentValueError(f"sweep_close() has no action {action!r}. Its actions are: {', '.join(ACTIONS)}.")
    max_yields = checked_count("max_yields", max_yields, least=1, otherwise="lets no yield be looked at")
    row = get_backend(backend) if isinstance(backend, str) else backend
    refuse_running_loop("sweep_close")
    points: list[SweepPoint] = []
    with Watchdog(timeout) as watchdog:
        sweep = CloseSweep(make, make_harness(row), watchdog)
        count = sweep.count(max_yields)
        if close_at is not None and not 1 <= close_at <= count:
            raise ArgumentValueError(
                f"close_at={close_at} is no yield of {sweep.name}, which has yields 1 to {count}. Give one of them, or "
                "leave it out for all."
            )
        for number in range(1, count + 1) if close_at is None else [close_at]:
            for action in actions:
                if sweep.has(action, cancellable=row.cancellation != "none"):
                    point, state = sweep.left_at(number, action)
                    points.append(judge(point, allowed=("closed", "cancelled"), state=state, check=check))
    report = SweepReport(sweep.name, row.id, tuple(points))
    report.raise_problems(replay="close_at")
    return report


@final
class CloseSweep:
    """The runs of one sweep.

    Args:
        make: gives a generator.
        harness: runs it.
        watchdog: bounds each run.
    """

    def __init__(self, make: Callable[[], Any], harness: Harness, watchdog: Watchdog) -> None:
        self.make: Callable[[], Any] = make
        self.harness: Harness = harness
        self.watchdog: Watchdog = watchdog
        self.name: str = getattr(make, "__qualname__", repr(make))
        self.methods: frozenset[str] = frozenset()

    def has(self, action: CloseAction, *, cancellable: bool) -> bool:
        """Whether an action can be taken with this source and backend."""
        match action:
            case "athrow":
                return "athrow" in self.methods
            case "aclose":
                return "aclose" in self.methods
            case "aclose-cancelled":
                return cancellable and "aclose" in self.methods
            case "drop":  # pragma: no branch  # there are no more
                return True

    def made(self) -> tuple[list[Any], Any]:
        """A new source in a list, from which it can be dropped, and its state."""
        source, state = made_pair(self.make, user="sweep_close")
        if not is_async_iterable(source):
            close_refused(source)
            raise SourceTypeError(
                f"sweep_close(): make() gave {describe(source)}, which is not async-iterable. Return an async "
                "generator, or a pair of it and the state that `check` is to see."
            )
        self.name = scenario_name(source)
        return [source], state

    def count(self, limit: int) -> int:
        """How many yields the source has, as far as they are to be looked at."""
        sources, _ = self.made()
        self.methods = frozenset(name for name in ("athrow", "aclose") if hasattr(sources[0], name))

        async def main() -> int:
            source = self.begin(sources)
            count = 0
            try:
                while count < limit:
                    await self.bounded(anext(source))
                    count += 1
            except StopAsyncIteration:
                pass
            finally:
                if "aclose" in self.methods:
                    await source.aclose()
            return count

        try:
            return run_bounded(self.harness, self.watchdog, main, what=self.name)
        except Exception as exc:
            if isinstance(exc, SweepError | TimeoutError):
                raise
            raise SweepError(
                f"{self.name} raises {exc!r} when it is left to run to its end, so there is nothing to sweep. Give a "
                "generator that does."
            ) from exc

    def begin(self, sources: list[Any]) -> Any:
        """The iterator of the source that was made."""
        self.watchdog.watch(None, self.harness.canceller())
        return aiter(sources.pop())

    async def bounded(self, awaitable: Any) -> Any:
        """Await one step."""
        watch = Watch(self.harness.cancelled)
        self.watchdog.watch(watch, self.harness.canceller())
        return await watched(awaitable, watch)

    def left_at(self, number: int, action: CloseAction) -> tuple[SweepPoint, Any]:
        """Step a new source to a yield and leave it there; give the point and the state."""
        sources, state = self.made()
        place: Place | None = None

        async def main() -> SweepPoint:
            nonlocal place
            source = self.begin(sources)
            try:
                for _ in range(number):
                    await self.bounded(anext(source))
            except StopAsyncIteration:
                return SweepPoint(number, action, None, Ending.NOT_REACHED)
            place = user_place(frames_below(source))
            sources.append(source)
            del source
            ending, error = await self.leave(sources, action)
            return SweepPoint(number, action, place, ending, error)

        what = f"{self.name}, {action} at yield {number},"
        try:
            return run_bounded(self.harness, self.watchdog, main, what=what), state
        except HangError:
            raise
        except (Exception, self.harness.cancelled) as exc:  # the event loop has come down, or its main task
            return SweepPoint(number, action, place, Ending.RAISED, exc), state

    async def leave(self, sources: list[Any], action: CloseAction) -> tuple[Ending, BaseException | None]:
        """Leave the source, and say how it ended."""
        scope = self.harness.level_scope() if action == "aclose-cancelled" else None
        with track_async_generators() as tracker:
            if action == "drop":
                with unraisable_errors(tracker.errors):
                    sources.clear()
                await self.harness.settle()
            else:
                try:
                    if scope is None:
                        await self.bounded(step_of(sources[0], action))
                    else:
                        with scope:
                            scope.cancel()
                            await self.bounded(sources[0].aclose())
                except (ThrownError, StopAsyncIteration):
                    pass
                except Exception as exc:
                    return Ending.RAISED, exc
        if tracker.errors:
            return Ending.RAISED, tracker.errors[0]
        if sources and not await self.finished(sources[0], action):
            return Ending.UNFINISHED, None
        return (Ending.CANCELLED if scope is not None and scope.caught else Ending.CLOSED), None

    async def finished(self, source: Any, action: CloseAction) -> bool:
        """Whether the source yields no more; one that took a thrown error and went on may be closed first."""
        if action == "athrow" and "aclose" in self.methods:
            await source.aclose()
        try:
            await self.bounded(anext(source))
        except Exception:
            return True
        return False


@contextmanager
def unraisable_errors(errors: list[BaseException]) -> Generator[None]:
    """Put into a list what is raised where nobody can catch it, as a finaliser without an event loop does."""

    def note(unraisable: sys.UnraisableHookArgs) -> None:
        if unraisable.exc_value is not None:  # pragma: no branch  # None is when there is no memory left
            errors.append(unraisable.exc_value)

    before, sys.unraisablehook = sys.unraisablehook, note
    try:
        yield
    finally:
        sys.unraisablehook = before


def step_of(source: Any, action: CloseAction) -> Any:
    """The awaitable of an action."""
    return source.athrow(ThrownError("thrown by sweep_close")) if action == "athrow" else source.aclose()
