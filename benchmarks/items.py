"""What an item costs: native `async for`, this library, and what is used without it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack
from time import perf_counter
from typing import TYPE_CHECKING, TypeAlias

from anyio.from_thread import start_blocking_portal

from asyncgen_tools import Runner, drive
from benchmarks.libraries import echo_server
from benchmarks.measure import Contender, Effort, Goal, Table, against, alternately, microseconds, progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncgen_tools import SyncGenerator
    from benchmarks.libraries import Library

Make: TypeAlias = Callable[[int], AsyncGenerator[int, None]]
"""A source of so many items."""

Figures: TypeAlias = dict[str, dict[str, dict[str, float]]]
"""The seconds of an item, by library, then by kind of item, then by contender."""

CONTENDERS = ("async for", "drive", "Runner.drive", "run_until_complete", "anyio's portal")
#: What `drive` may cost, as a multiple of native `async for`; on Pythons before 3.13 the second number, if any.
MOST = {
    ("asyncio", "no suspension"): (4.0, 8.0),
    ("asyncio", "one suspension"): (3.0, None),
    ("trio", "no suspension"): (5.0, None),
    ("trio", "one suspension"): (3.5, None),
}
#: How many times faster than others it is, at least, for items that need no waiting.
LEAST = {"run_until_complete": 8, "anyio's portal": 50}


def native(library: Library, make: Make) -> Contender:
    """The yardstick: `async for` inside the loop."""

    async def loop(count: int) -> float:
        source = make(count + 1)
        await anext(source)
        start = perf_counter()
        async for _ in source:
            pass
        return perf_counter() - start

    return lambda count: float(library.run(lambda: loop(count)))


def consumed(items: SyncGenerator[int, None, None]) -> float:
    """The seconds of a `for` loop over a started generator, its closing included."""
    next(items)
    start = perf_counter()
    for _ in items:
        pass
    return perf_counter() - start


def driving(library: Library, make: Make) -> Contender:
    """`drive`: a loop of its own for the generator."""
    return lambda count: consumed(drive(make(count + 1), backend=library.backend, backend_options=library.options))


def running(runner: Runner, make: Make) -> Contender:
    """`Runner.drive`: a loop that was there before."""
    return lambda count: consumed(runner.drive(make(count + 1)))


def completing(library: Library, make: Make) -> Contender:
    """`loop.run_until_complete` for each step: another task and another context each time."""

    def consume(count: int) -> float:
        assert library.new_loop is not None
        loop = library.new_loop()
        try:
            source = make(count + 1)
            step = source.__anext__
            complete = loop.run_until_complete
            complete(step())
            start = perf_counter()
            try:
                while True:
                    complete(step())
            except StopAsyncIteration:
                return perf_counter() - start
        finally:
            loop.close()

    return consume


def calling(library: Library, make: Make) -> Contender:
    """The blocking portal of anyio for each step: another thread, and another task each time."""

    def consume(count: int) -> float:
        with start_blocking_portal(library.backend, dict(library.options)) as portal:
            step = make(count + 1).__anext__
            portal.call(step)
            start = perf_counter()
            try:
                while True:
                    portal.call(step)
            except StopAsyncIteration:
                return perf_counter() - start

    return consume


def contenders(library: Library, kind: str, port: int, stack: ExitStack) -> dict[str, Contender]:
    """Everything that can consume this kind of source on this library; what must be closed is left to `stack`."""
    source = library.sources[kind]

    def make(count: int) -> AsyncGenerator[int, None]:
        return source(count, port)

    runner = stack.enter_context(Runner(backend=library.backend, backend_options=library.options))
    found = {
        "async for": native(library, make),
        "drive": driving(library, make),
        "Runner.drive": running(runner, make),
        "anyio's portal": calling(library, make),
    }
    if library.new_loop is not None:
        found["run_until_complete"] = completing(library, make)
    return found


def measure(libraries: Iterable[Library], effort: Effort) -> Figures:
    """What each contender takes for an item."""
    figures: Figures = {}
    with echo_server() as port:
        for library in libraries:
            for kind in library.sources:
                progress(f"items: {library.name}, {kind}")
                with ExitStack() as stack:
                    found = alternately(contenders(library, kind, port, stack), effort)
                    figures.setdefault(library.name, {})[kind] = found
    return figures


def tables(figures: Figures) -> list[Table]:
    """What `measure` found, with the ratios to native `async for`."""
    rows: list[list[str]] = []
    for library, kinds in figures.items():
        for kind, seconds in kinds.items():
            reference = seconds["async for"]
            others = [against(seconds[name], reference) if name in seconds else "-" for name in CONTENDERS[1:]]
            rows.append([library, kind, microseconds(reference), *others])
    return [Table("An item, and its ratio to native `async for`", ["loop", "item", *CONTENDERS], rows)]


def goals(figures: Figures) -> list[Goal]:
    """What is promised of `drive`."""
    found: list[Goal] = []
    for (library, kind), (most, before_313) in MOST.items():
        if library in figures:
            seconds = figures[library][kind]
            ratio = seconds["drive"] / seconds["async for"]
            found.append(Goal(f"{library}, {kind}: `drive` to `async for`", ratio, most, most_before_313=before_313))
    for library, kinds in figures.items():
        seconds = kinds["no suspension"]
        found += [
            Goal(f"{library}, no suspension: {name} to `drive`", seconds[name] / seconds["drive"], least=least)
            for name, least in LEAST.items()
            if name in seconds
        ]
    return found
