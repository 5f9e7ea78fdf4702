"""What both sweeps have in common: scenarios, points, and the report of them.

A sweep runs a scenario afresh for each point at which it does something to it, so `make` must give an equal scenario
each time. A point that is not reached again is reported as such and is no problem.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import enum
import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, final

from asyncgen_tools.arguments import close_refused, describe
from asyncgen_tools.errors import SourceTypeError, SweepError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Collection

    from asyncgen_tools.testing.places import Place

__all__ = (
    "Check",
    "Ending",
    "Scenario",
    "SweepPoint",
    "SweepReport",
    "is_async_iterable",
    "judge",
    "made_pair",
    "made_scenario",
    "run_scenario",
    "scenario_name",
)

Scenario: TypeAlias = "Awaitable[Any] | AsyncIterable[Any] | Callable[[], Awaitable[Any]]"


class Ending(enum.Enum):
    """How a scenario ended after something was done to it at a point."""

    CANCELLED = "cancelled"
    COMPLETED_LATE = "completed-late"
    SWALLOWED = "swallowed"
    RAISED = "raised"
    CLOSED = "closed"
    UNFINISHED = "unfinished"
    NOT_REACHED = "not-reached"


@final
@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One run of the scenario.

    Attributes:
        number: of the suspension, from 0 (-1 is the entry), or of the yield, from 1, at which `action` was taken.
        action: "cancel", or what `sweep_close` did.
        place: the innermost line of the user's code at that point, or None if it is not known.
        ending: how the scenario ended.
        error: what it raised, if that is how it ended.
        problem: what is wrong with it, or None.
        objection: what `check` raised, or None.
    """

    number: int
    action: str
    place: Place | None
    ending: Ending
    error: BaseException | None = None
    problem: str | None = None
    objection: BaseException | None = None

    def __str__(self) -> str:
        error = "" if self.error is None else f" {self.error!r}"
        problem = "" if self.problem is None else f": {self.problem}"
        place = "" if self.place is None else f" at {self.place}"
        point = "entry" if self.number < 0 else f"point {self.number}"
        return f"{point} ({self.action}){place}: {self.ending.value}{error}{problem}"


@final
@dataclass(frozen=True, slots=True)
class SweepReport:
    """All runs of a sweep.

    Attributes:
        name: of the scenario.
        backend: the row that it ran on.
        points: one for each run, in order.
    """

    name: str
    backend: str
    points: tuple[SweepPoint, ...]

    @property
    def problems(self) -> tuple[SweepPoint, ...]:
        """The points at which something is wrong."""
        return tuple(point for point in self.points if point.problem is not None)

    def __str__(self) -> str:
        return "\n".join(
            [f"{self.name} on {self.backend}, {len(self.points)} points", *(f"  {p}" for p in self.points)]
        )

    def raise_problems(self, *, replay: str) -> None:
        """Raise if there is a problem.

        Args:
            replay: the keyword argument that runs one point again.

        Raises:
            SweepError: it lists the problems (AssertionError); the first error among them is its cause.
        """
        if not self.problems:
            return
        lines = [f"{len(self.problems)} of {len(self.points)} points of {self.name} on {self.backend} went wrong:"]
        lines += [f"  {point}" for point in self.problems]
        lines.append(f"Run one of them again with {replay}={self.problems[0].number}.")
        error = SweepError("\n".join(lines))
        error.report = self
        causes = [cause for point in self.problems for cause in (point.objection, point.error) if cause is not None]
        raise error from (causes[0] if causes else None)


Check: TypeAlias = "Callable[[Any, SweepPoint], object]"


def made_scenario(make: Callable[[], Any], *, user: str) -> tuple[Scenario, Any]:
    """The scenario that `make` gives, and its state.

    Raises:
        SourceTypeError: `make` is no factory, or gives something that cannot be run.
    """
    scenario, state = made_pair(make, user=user)
    if not (inspect.isawaitable(scenario) or is_async_iterable(scenario) or callable(scenario)):
        raise SourceTypeError(
            f"{user}(): make() gave {describe(scenario)}, which cannot be run. Return a coroutine, an async function "
            "without arguments or an async iterable, or a pair of such a scenario and the state that `check` is to see."
        )
    return scenario, state  # pyright: ignore[reportReturnType]  # what it gives when called shows then


def made_pair(make: Callable[[], Any], *, user: str) -> tuple[Any, Any]:
    """What `make` gives, and the state beside it, if any.

    Raises:
        SourceTypeError: `make` is no function.
    """
    if not callable(make):
        given: object = make  # type: ignore[unreachable]  # callers need not be typed
        close_refused(given)
        raise SourceTypeError(
            f"{user}() takes a function, not {describe(given)}, because each run needs a new object. Write "
            f"{user}(lambda: ...) with the call that makes one."
        )
    return as_pair(make())


def as_pair(made: Any) -> tuple[Any, Any]:
    """What was made, and None in place of a state unless it came with one."""
    return made if isinstance(made, tuple) and len(made) == 2 else (made, None)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]  # of anything


def is_async_iterable(value: object) -> bool:
    """Whether `async for` takes it."""
    return hasattr(type(value), "__aiter__")


def run_scenario(scenario: Any) -> Awaitable[Any]:
    """What runs a scenario when it is awaited: an awaitable as it is, with nothing in between."""
    if not inspect.isawaitable(scenario) and not is_async_iterable(scenario):
        scenario = scenario()
    return scenario if inspect.isawaitable(scenario) else consume(scenario)


async def consume(iterable: AsyncIterable[Any]) -> None:
    """Iterate to the end, and close."""
    source: Any = aiter(iterable)
    try:
        async for _ in source:
            pass
    finally:
        if hasattr(source, "aclose"):
            await source.aclose()


def scenario_name(scenario: Any) -> str:
    """What a report calls the scenario."""
    name: str = getattr(scenario, "__qualname__", None) or type(scenario).__qualname__
    return name


def judge(point: SweepPoint, *, allowed: Collection[str], state: object, check: Check | None) -> SweepPoint:
    """The point with its problem: an ending that is not allowed, or what `check` objects to."""
    problems: list[str] = []
    objection: BaseException | None = None
    if point.ending.value not in {*allowed, Ending.NOT_REACHED.value}:
        advice = "raise the cancellation again after the cleanup; " if point.ending is Ending.SWALLOWED else ""
        problems.append(f"{advice}allowed are {', '.join(allowed)}")
    if check is not None and point.ending is not Ending.NOT_REACHED:
        try:
            check(state, point)
        except Exception as exc:
            objection = exc
            problems.append(f"check raised {exc!r}")
    return replace(point, problem="; ".join(problems), objection=objection) if problems else point
