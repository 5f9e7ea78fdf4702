"""What an item costs through a thread: `Portal.drive`, in lock step and ahead, and what is used without it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from anyio.from_thread import start_blocking_portal

from asyncgen_tools import Portal
from benchmarks.items import consumed
from benchmarks.libraries import at_once
from benchmarks.measure import Contender, Effort, Goal, Table, against, alternately, microseconds, progress

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

    from benchmarks.items import Figures, Make
    from benchmarks.libraries import Library

#: How many items may be made ahead.
PREFETCH = 64

KINDS = ("no suspension", "one suspension")
LOCK_STEP, AHEAD = "Portal.drive", f"prefetch={PREFETCH}"
CONTENDERS = (LOCK_STEP, AHEAD, "anyio's portal", "run_coroutine_threadsafe")
#: How many times faster than what it is, at least, for items that need no waiting.
LEAST = (("anyio's portal", LOCK_STEP, 3), ("run_coroutine_threadsafe", LOCK_STEP, 1.5), ("anyio's portal", AHEAD, 30))
PORTALS = 1_000


@contextmanager
def loop_in_thread(library: Library) -> Generator[asyncio.AbstractEventLoop]:
    """An asyncio loop that runs in a thread of its own."""
    assert library.new_loop is not None
    loop = library.new_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def calling(library: Library, make: Make, stack: ExitStack) -> Contender:
    """Anyio's portal: a call for each step."""
    portal = stack.enter_context(start_blocking_portal(library.backend, dict(library.options)))

    def consume(count: int) -> float:
        step = make(count + 1).__anext__
        portal.call(step)
        start = perf_counter()
        try:
            while True:
                portal.call(step)
        except StopAsyncIteration:
            return perf_counter() - start

    return consume


def submitting(library: Library, make: Make, stack: ExitStack) -> Contender:
    """`asyncio.run_coroutine_threadsafe` for each step."""
    loop = stack.enter_context(loop_in_thread(library))

    def consume(count: int) -> float:
        source = make(count + 1)
        submit = asyncio.run_coroutine_threadsafe

        async def step() -> int:
            return await anext(source)

        submit(step(), loop).result()
        start = perf_counter()
        try:
            while True:
                submit(step(), loop).result()
        except StopAsyncIteration:
            return perf_counter() - start

    return consume


def contenders(library: Library, kind: str, stack: ExitStack) -> dict[str, Contender]:
    """Everything that can consume this kind of source from another thread; what must be closed is left to `stack`."""
    source = library.sources[kind]

    def make(count: int) -> AsyncGenerator[int, None]:
        return source(count, 0)

    portal = stack.enter_context(Portal(backend=library.backend, backend_options=library.options))
    found: dict[str, Contender] = {
        LOCK_STEP: lambda count: consumed(portal.drive(make(count + 1))),
        AHEAD: lambda count: consumed(portal.drive(make(count + 1), prefetch=PREFETCH)),
        "anyio's portal": calling(library, make, stack),
    }
    if library.new_loop is not None:
        found["run_coroutine_threadsafe"] = submitting(library, make, stack)
    return found


def measure(libraries: Sequence[Library], effort: Effort) -> dict[str, Any]:
    """The seconds of an item, by library, kind of item and contender; and what closed portals leave behind."""
    figures: Figures = {}
    for library in libraries:
        for kind in KINDS:
            progress(f"portal: {library.name}, {kind}")
            with ExitStack() as stack:
                found = alternately(contenders(library, kind, stack), effort)
                figures.setdefault(library.name, {})[kind] = found
    count = effort.count(PORTALS)
    return {"items": figures, "portals": count, "left": {library.name: left(library, count) for library in libraries}}


def left(library: Library, count: int) -> dict[str, float]:
    """What so many portals leave behind that are opened, used and closed, and the seconds that each takes."""
    progress(f"portal: {library.name}, {count:,} portals")
    before = threads_and_files()
    start = perf_counter()
    for _ in range(count):
        with Portal(backend=library.backend, backend_options=library.options) as portal:
            list(portal.drive(at_once(1, 0)))
    each = (perf_counter() - start) / count
    threads, files = (now - then for now, then in zip(threads_and_files(), before, strict=True))
    return {"threads": threads, "file descriptors": files, "time for each": each}


def tables(figures: dict[str, Any]) -> list[Table]:
    """What `measure` found, with the ratios to `Portal.drive` in lock step."""
    rows: list[list[str]] = []
    items: Figures = figures["items"]
    for library, kinds in items.items():
        for kind, seconds in kinds.items():
            reference = seconds[LOCK_STEP]
            others = [against(seconds[name], reference) if name in seconds else "-" for name in CONTENDERS[1:]]
            rows.append([library, kind, microseconds(reference), *others])
    closed = [
        [library, f"{found['threads']}", f"{found['file descriptors']}", microseconds(found["time for each"])]
        for library, found in figures["left"].items()
    ]
    return [
        Table("An item through a thread, and its ratio to `Portal.drive`", ["loop", "item", *CONTENDERS], rows),
        Table(
            f"What {figures['portals']:,} portals leave behind that were opened, used and closed",
            ["loop", "threads", "file descriptors", "time for each"],
            closed,
        ),
    ]


def goals(figures: dict[str, Any]) -> list[Goal]:
    """What is promised of portals, for items that need no waiting."""
    items: Figures = figures["items"]
    return [
        Goal(f"{library}, no suspension: {other} to `{ours}`", seconds[other] / seconds[ours], least=least)
        for library, seconds in ((library, kinds[KINDS[0]]) for library, kinds in items.items())
        for other, ours, least in LEAST
        if other in seconds
    ]


def threads_and_files() -> tuple[int, int]:
    """How many threads this process has, and how many open files, where that can be seen."""
    table = Path("/proc/self/fd")
    return threading.active_count(), len(list(table.iterdir())) if table.is_dir() else 0
