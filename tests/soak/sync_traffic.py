"""Traffic of synchronous code, in any thread: drive, Runner, Portal, and what another thread does to them."""

from __future__ import annotations

import faulthandler
import gc
import threading
import time
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final

from asyncgen_tools.errors import ClosedError, StepTimeoutError
from tests.soak.consumers import closing, consume, take
from tests.soak.sources import Source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from asyncgen_tools import Portal, Runner, SyncGenerator
    from asyncgen_tools.testing import Backend
    from tests.soak.world import Action, World

__all__ = ("ANYWHERE", "in_threads", "one", "several")

#: No thread has to wait longer, or it hangs.
PATIENCE: Final = 60


def one(world: World, rng: Random, backend: Backend, *, threads: bool = True) -> None:
    """One generator, driven and used up."""
    source = Source(rng, backend, threads=threads)
    consume(rng, source, world.drive(rng, source))


def expiring(world: World, rng: Random, backend: Backend) -> None:
    """A step takes too long, and is cancelled by its timeout."""
    if backend.name == "bare":
        return
    source = Source(rng, backend, length=5, hangs_at=3)
    generator = world.drive(rng, source, timeout=0.02)
    try:
        taken = take(generator, source, 0, 5)
    except StepTimeoutError:
        assert next(generator, None) is None
    else:
        raise AssertionError(f"{source} gave {taken} items and no timeout")


def several(world: World, rng: Random, backend: Backend, *, threads: bool = True) -> None:
    """A runner or portal of its own: generators stepped in turn, context managers, calls; its end closes the rest."""
    # A cancelled child of anyio's task groups is part of a cycle, and with it each frame that waited for it, down to
    # `use`: what that holds is found by the collector, maybe in a step of this thread, where nothing can be closed.
    world.complaints.allowed += 8
    maker = backend.runner if backend.name == "bare" or rng.random() < 0.5 else lambda: world.portal(backend)
    with maker() as driver:
        use(driver, rng, backend, threads=threads)


def use(driver: Runner | Portal, rng: Random, backend: Backend, *, threads: bool) -> None:
    """Use a driver in many ways, and leave much open."""
    held: list[tuple[Source, SyncGenerator[int, Any, Any], int]] = []
    with ExitStack() as stack:
        for _ in range(rng.randrange(2, 8)):
            source = Source(rng, backend, length=6, threads=threads)
            match rng.randrange(5):
                case 0:
                    stack.enter_context(driver.wrap_async_context_manager(resource(source)))
                case 1:
                    assert driver.run(total, source) == 15
                case _:
                    held.append((source, driver.drive(source()), 0))
        rng.shuffle(held)
        for _ in range(rng.randrange(12)):
            if held:
                source, generator, taken = held.pop(rng.randrange(len(held)))
                if take(generator, source, taken, 1) > taken:
                    held.append((source, generator, taken + 1))
        for _, generator, _ in held[: rng.randrange(3)]:
            generator.close()


@asynccontextmanager
async def resource(source: Source) -> AsyncGenerator[None]:
    """Something that is opened and closed, with a source in use meanwhile."""
    async with closing(source()) as rows:
        assert await anext(rows) == 0
        yield


async def total(source: Source) -> int:
    """The sum of the source."""
    found = 0
    async for number in source():
        found += number
    return found


def dropped_in_a_step(world: World, rng: Random, backend: Backend) -> None:
    """Generators are dropped inside of steps of another one, where they cannot be closed; the runner does it later."""
    if backend.name == "bare":  # where they can
        return
    count = rng.randrange(1, 4)
    world.complaints.allowed += count
    held: list[SyncGenerator[int, Any, Any]] = []

    async def dropping(source: Source) -> AsyncGenerator[int]:
        try:
            async with closing(source()) as numbers:
                async for number in numbers:
                    if held and rng.random() < 0.5:
                        held.pop()
                    yield number
        finally:
            held.clear()
            await source.pause()

    with backend.runner() as runner:
        for _ in range(count):
            source = Source(rng, backend, length=6)
            held.append(runner.drive(source()))
            take(held[-1], source, 0, rng.randrange(1, 4))
        source = Source(rng, backend, kind="plain", length=6)
        source.depth, source.value = 0, None
        take(runner.drive(dropping(source)), source, 0, rng.randrange(7))


def closed_elsewhere(world: World, rng: Random, backend: Backend) -> None:
    """Another thread closes the generator, or its portal, while this one waits for a step."""
    if backend.name == "bare":
        return
    source = Source(rng, backend, length=5, hangs_at=rng.randrange(5))
    own = world.portal(backend) if rng.random() < 0.3 else None
    portal = own or world.portals[backend.id]
    generator = portal.drive(source(), prefetch=rng.choice((0, 0, 2)))

    def close() -> None:
        time.sleep(rng.random() * 0.01)
        if own is None:
            generator.close()
        else:
            own.close()

    numbers: list[int] = []
    with running(close):
        # ValueError where both threads are about to begin; and if it is closed between two steps, it has just ended.
        with suppress(ClosedError, ValueError):
            numbers.extend(generator)
    assert numbers == [*range(len(numbers))], f"{source} gave {numbers}"
    assert len(numbers) <= source.hangs_at


def contended(world: World, rng: Random, backend: Backend) -> None:
    """Several threads take the items of one generator of a portal, one at a time; each item comes once."""
    if backend.name == "bare":
        return
    source = Source(rng, backend, length=20)
    found: list[int] = []
    lock = threading.Lock()
    with world.portals[backend.id].drive(source(), prefetch=rng.choice((0, 4))) as generator:

        def work() -> None:
            for _ in range(20):
                with lock:
                    found.extend(number for number in [next(generator, None)] if number is not None)

        with running(work), running(work):
            work()
    assert found == [*range(20)]


class Helper(threading.Thread):
    """A thread that hands on what its function raises."""

    def __init__(self, function: Callable[[], object]) -> None:
        super().__init__(name=f"soak {getattr(function, '__name__', '')}", daemon=True)
        self.function = function
        self.error: BaseException | None = None

    def run(self) -> None:
        """Call the function."""
        try:
            self.function()
        except BaseException as exc:
            self.error = exc

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self.join(PATIENCE)
        if self.is_alive():
            faulthandler.dump_traceback()
            raise AssertionError(f"{self.name} hangs")
        if self.error is not None:
            raise self.error


running = Helper


async def nothing() -> None:
    """What it takes to have a step."""


def in_threads(world: World, rng: Random, actions: tuple[Action, ...], meanwhile: Callable[[], None]) -> None:
    """Actions in several threads at a time, and something else meanwhile in this one."""

    def work(rng: Random) -> None:
        for _ in range(rng.randrange(1, 6)):
            rng.choice(actions)(world, rng, rng.choice(world.backends))
        # What a cycle holds (see `several`) must be found before this thread ends, which alone can close it; if another
        # one finds it, the next step here closes it.
        gc.collect()
        world.backends[-1].run(nothing)

    world.complaints.allowed += 8

    with ExitStack() as stack:
        for _ in range(rng.randrange(2, 5)):
            stack.enter_context(running(partial(work, Random(rng.random()))))
        meanwhile()


ANYWHERE: Final[tuple[Action, ...]] = (one, expiring, several, dropped_in_a_step, closed_elsewhere, contended)
