"""What it costs to open and close: a `drive`, a `Runner`, and the library's own way to run an empty coroutine."""

from __future__ import annotations

from contextlib import ExitStack
from time import perf_counter
from typing import TYPE_CHECKING, Any

from asyncgen_tools import Runner, drive
from benchmarks.measure import Contender, Effort, Goal, Table, against, alternately, microseconds, progress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from benchmarks.libraries import Library

CONTENDERS = ("run", "drive", "Runner", "Runner.drive")


async def empty() -> None:
    """Do nothing."""


async def one() -> AsyncGenerator[int, None]:
    """One item."""
    yield 1


def repeated(action: Callable[[], Any]) -> Contender:
    """The seconds of so many actions."""

    def consume(count: int) -> float:
        start = perf_counter()
        for _ in range(count):
            action()
        return perf_counter() - start

    return consume


def measure(libraries: Iterable[Library], effort: Effort) -> dict[str, dict[str, float]]:
    """The seconds of opening and closing, by library and contender."""
    figures: dict[str, dict[str, float]] = {}
    for library in libraries:
        progress(f"opening: {library.name}")
        figures[library.name] = _measure(library, effort)
    return figures


def _measure(library: Library, effort: Effort) -> dict[str, float]:
    with ExitStack() as stack:
        open_runner = stack.enter_context(Runner(backend=library.backend, backend_options=library.options))

        def driven() -> None:
            with drive(one(), backend=library.backend, backend_options=library.options) as items:
                next(items)

        def run() -> None:
            with Runner(backend=library.backend, backend_options=library.options) as runner:
                runner.run(empty)

        def driven_on_runner() -> None:
            with open_runner.drive(one()) as items:
                next(items)

        actions: dict[str, Callable[[], Any]] = {
            "run": lambda: library.run(empty),
            "drive": driven,
            "Runner": run,
            "Runner.drive": driven_on_runner,
        }
        return alternately({name: repeated(action) for name, action in actions.items()}, effort)


def tables(figures: dict[str, dict[str, float]]) -> list[Table]:
    """What `measure` found, with the ratios to the library's own `run`."""
    rows = [
        [
            library,
            microseconds(seconds["run"]),
            *(against(seconds[name], seconds["run"]) for name in CONTENDERS[1:]),
        ]
        for library, seconds in figures.items()
    ]
    headings = [
        "loop",
        "`asyncio.run` / `trio.run`, empty coroutine",
        "`drive`: open, one item, close",
        "`Runner`: open, `run`, close",
        "`Runner.drive`: one item, close",
    ]
    return [Table("Opening and closing, and the ratio to the library's own `run`", headings, rows)]


def goals(figures: dict[str, dict[str, float]]) -> list[Goal]:
    """What is promised of opening and closing."""
    return [
        Goal(f"{library}: opening and closing a `drive`, to an empty `run`", seconds["drive"] / seconds["run"], 1.5)
        for library, seconds in figures.items()
    ]
