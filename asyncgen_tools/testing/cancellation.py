"""sweep_cancellation: is this code safe to cancel, wherever it waits?

Theory of operation. The scenario is run once to count its suspensions, then once for each point, the entry and every
suspension: cancelled there, in a fresh event loop. The request is made just before the suspension reaches the loop,
from within the task, so a point is the same await each time. With scope="tree" the suspensions of the tasks that the
scenario starts are points as well; what is cancelled is always the whole scenario.

A delivered cancellation is one that arrived at an await: one that was requested and never delivered, because the
scenario was shielded or finished first, is no bug of its own.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, final

from asyncgen_tools.errors import ArgumentValueError, HangError, SweepError, UnknownBackendError
from asyncgen_tools.testing.backends import Backend, get_backend
from asyncgen_tools.testing.harness.bounds import make_harness, refuse_running_loop, run_bounded
from asyncgen_tools.testing.harness.watchdog import Watchdog
from asyncgen_tools.testing.harness.watching import ENTRY, Watch, watched
from asyncgen_tools.testing.sweeps import (
    Check,
    Ending,
    Scenario,
    SweepPoint,
    SweepReport,
    judge,
    made_scenario,
    run_scenario,
    scenario_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from asyncgen_tools.testing.harness.base import Harness, Scope

__all__ = ("sweep_cancellation",)

SCOPES: Final = ("task", "tree")


def sweep_cancellation(
    make: Callable[[], Any],
    /,
    *,
    backend: str | Backend = "asyncio",
    check: Check | None = None,
    scope: Literal["task", "tree"] = "task",
    allowed: Collection[str] = ("cancelled", "completed-late"),
    cancel_at: int | None = None,
    timeout: float = 10.0,
) -> SweepReport:
    """Cancel a scenario once at its entry and once at each of its suspensions, and report what came of it.

    Args:
        make: gives a new scenario each time: a coroutine, an async function without arguments, or an async iterable,
            which is iterated to its end and closed; or a pair of that and a state for `check`.
        backend: the row to run on: "asyncio", "trio", "uvloop", or "level", asyncio with every await cancelled.
        check: called as `check(state, point)` after each run; it raises what is wrong.
        scope: "task" cancels at the suspensions of the scenario's own task; "tree" at those of tasks below it, too.
        allowed: endings that are no problem: "cancelled", "completed-late" (requested, but never delivered),
            "swallowed" (delivered, and yet the scenario returned), "raised".
        cancel_at: run only this point; -1 is the entry.
        timeout: how many seconds one run may take.

    Returns:
        What happened at each point.

    Raises:
        SweepError: at some points the ending is not allowed or `check` raised, or the scenario fails uncancelled
            (AssertionError).
        HangError: a run took longer than `timeout`; says where it hangs (AssertionError, TimeoutError).
        SourceTypeError: `make` is no factory of scenarios (TypeError).
        ArgumentValueError: there is no such point or scope (ValueError).
        UnknownBackendError: there is no such backend, or it has no cancellation (LookupError).
        MissingLibraryError: its library is not installed (ImportError).
        RunningLoopError: an event loop is running in this thread (RuntimeError).

    >>> import asyncio
    >>> async def transfer():
    ...     await asyncio.sleep(0)
    >>> print(sweep_cancellation(transfer).points[1].ending)
    Ending.CANCELLED
    """
    row = get_backend(backend) if isinstance(backend, str) else backend
    if row.cancellation == "none":
        raise UnknownBackendError(
            f"sweep_cancellation() cannot run on {row.id!r}, which has no cancellation. Use 'asyncio', 'trio' or "
            "'level'."
        )
    if scope not in SCOPES:
        raise ArgumentValueError(
            f"scope={scope!r} does not say whose suspensions are points. Write scope='task', or 'tree' for "
            "those of the tasks below it, too."
        )
    refuse_running_loop("sweep_cancellation")
    with Watchdog(timeout) as watchdog:
        sweep = Sweep(make, make_harness(row), watchdog, tree=scope == "tree")
        count = sweep.count()
        if cancel_at is not None and not ENTRY <= cancel_at < count:
            raise ArgumentValueError(
                f"cancel_at={cancel_at} is no point of {sweep.name}, which has points {ENTRY} to {count - 1}, -1 being "
                "its entry. Give one of them, or leave it out for all."
            )
        points: list[SweepPoint] = []
        for number in range(ENTRY, count) if cancel_at is None else [cancel_at]:
            point, state = sweep.cancelled_at(number)
            points.append(judge(point, allowed=allowed, state=state, check=check))
    report = SweepReport(sweep.name, row.id, tuple(points))
    report.raise_problems(replay="cancel_at")
    return report


@final
class Sweep:
    """The runs of one sweep.

    Args:
        make: gives a scenario.
        harness: runs it.
        watchdog: bounds each run.
        tree: whether child tasks have points.
    """

    def __init__(self, make: Callable[[], Any], harness: Harness, watchdog: Watchdog, *, tree: bool) -> None:
        self.make: Callable[[], Any] = make
        self.harness: Harness = harness
        self.watchdog: Watchdog = watchdog
        self.tree: bool = tree
        self.name: str = getattr(make, "__qualname__", repr(make))

    def count(self) -> int:
        """How many suspensions the scenario has when nobody cancels it."""
        scenario, _ = made_scenario(self.make, user="sweep_cancellation")
        self.name = scenario_name(scenario)
        watch, _, error = self.run(scenario, None)
        if error is not None:
            raise SweepError(
                f"{self.name} raises {error!r} when nobody cancels it, so there is nothing to sweep. Give a scenario "
                "that runs to its end by itself."
            ) from error
        return watch.suspensions

    def cancelled_at(self, number: int) -> tuple[SweepPoint, Any]:
        """Run the scenario, cancelled at a point; give the point and the state."""
        scenario, state = made_scenario(self.make, user="sweep_cancellation")
        try:
            watch, ending, error = self.run(scenario, number)
        except HangError:
            raise
        except Exception as exc:  # the event loop itself has come down
            return SweepPoint(number, "cancel", None, Ending.RAISED, exc), state
        return SweepPoint(number, "cancel", None if number == ENTRY else watch.place, ending, error), state

    def run(self, scenario: Scenario, number: int | None) -> tuple[Watch, Ending, BaseException | None]:
        """One run, in a fresh event loop, cancelled at a point or (None) never."""
        harness = self.harness

        async def main() -> tuple[Watch, Ending, BaseException | None]:
            cancellable = harness.scope()
            shortcut = None if self.tree else harness.shortcut()
            watch = Watch(
                harness.cancelled,
                act_at=number,
                action=cancellable.cancel,
                sent=cancellable.sent,
                shortcut=shortcut,
            )
            if self.tree:
                harness.watch_tree(watch)
            self.watchdog.watch(watch, harness.canceller())
            try:
                with cancellable:
                    await watched(run_scenario(scenario), watch)
            except BaseException as exc:
                if self.watchdog.fired or isinstance(exc, KeyboardInterrupt):
                    raise
                return watch, Ending.RAISED, exc
            return watch, ending_of(watch, cancellable, level=harness.level), None

        what = f"{self.name} " + ("uncancelled" if number is None else f"cancelled at point {number}")
        return run_bounded(harness, self.watchdog, main, what=what)


def ending_of(watch: Watch, scope: Scope, *, level: bool) -> Ending:
    """How a scenario ended that raised nothing out of its scope."""
    if scope.caught:
        return Ending.CANCELLED
    if not scope.requested:
        return Ending.NOT_REACHED
    return Ending.SWALLOWED if watch.due(level=level) else Ending.COMPLETED_LATE
