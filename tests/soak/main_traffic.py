"""Traffic of the main thread alone: garbage, forks, Ctrl-C, and several threads at a time beside them."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any, Final

from asyncgen_tools import drive
from asyncgen_tools.errors import ForkError
from asyncgen_tools.loops.outcomes import consists_of
from tests.soak.async_traffic import in_a_loop
from tests.soak.consumers import take
from tests.soak.sources import OPEN, Source
from tests.soak.sync_traffic import (
    PATIENCE,
    closed_elsewhere,
    contended,
    dropped_in_a_step,
    expiring,
    in_threads,
    one,
    running,
    several,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from asyncgen_tools import SyncGenerator
    from asyncgen_tools.testing import Backend
    from tests.soak.world import Action, World

    Held = list[tuple[Source, SyncGenerator[int, Any, Any], int]]

__all__ = ("ACTIONS",)

#: What any thread may do.
ANYWHERE: Final[tuple[Action, ...]] = (
    one,
    several,
    expiring,
    dropped_in_a_step,
    closed_elsewhere,
    contended,
    in_a_loop,
)


def in_the_middle(world: World, rng: Random, backend: Backend) -> Held:
    """Some generators of every kind of driver, in the middle."""
    held: Held = []
    for _ in range(rng.randrange(1, 4)):
        source = Source(rng, backend, length=8)
        generator = world.drive(rng, source) if rng.random() < 0.6 else world.runners[backend.id].drive(source())
        held.append((source, generator, take(generator, source, 0, rng.randrange(1, 4))))
    return held


# Garbage --------------------------------------------------------------------------------------------------------------


def garbage(world: World, rng: Random, backend: Backend) -> None:
    """Unfinished generators are left to the cyclic collector, which runs here, elsewhere, in a step, or some time."""
    cycle: list[object] = [in_the_middle(world, rng, backend)]
    cycle.append(cycle)
    world.complaints.allowed += 3
    del cycle
    match rng.randrange(5):
        case 0:
            gc.collect()
        case 1:
            with running(gc.collect):
                pass
        case 2:
            assert len([*drive(collecting(), backend=backend.name)]) == 1
        case 3:
            asyncio.run(collecting().__anext__())
        case _:
            pass


async def collecting() -> AsyncGenerator[None]:
    """Collect garbage in a step."""
    gc.collect()
    yield


# Forks ----------------------------------------------------------------------------------------------------------------


def fork(world: World, rng: Random, backend: Backend) -> None:
    """A child is forked while generators are in the middle; it refuses those, drives its own, and ends."""
    held = in_the_middle(world, rng, backend)
    faulthandler.cancel_dump_traceback_later()  # its thread is not there in the child, which would wait for it
    pid = os.fork()
    if pid == 0:
        end_child(world, rng, held)
    see_through(pid)
    for source, generator, taken in held:
        take(generator, source, taken, 2)
        generator.close()


def fork_in_a_step(world: World, rng: Random, backend: Backend) -> None:
    """A child is forked by the body of a generator, and ends there."""

    async def forking() -> AsyncGenerator[int]:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        see_through(pid)
        yield 0

    held = in_the_middle(world, rng, backend)
    assert [*backend.drive(forking())] == [0]
    for source, generator, taken in held:
        take(generator, source, taken, 2)
        generator.close()


def end_child(world: World, rng: Random, held: Held) -> None:
    """What a child does, to its end; it tells of what went wrong by its exit status, and on stderr."""
    faulthandler.dump_traceback_later(PATIENCE / 2, exit=True)
    status = 1
    try:
        OPEN.clear()  # the parent's
        before = len(world.complaints.heard)
        for _, generator, _ in held:
            with suppress(ForkError):
                raise AssertionError(f"{next(generator)} was not refused")
            with suppress(ForkError):
                generator.close()  # which is none of a source that has ended already, ahead of its consumer
        if rng.random() < 0.5:
            held.clear()
            gc.collect()
        backend = rng.choice(world.loops)
        source = Source(rng, backend, length=5)
        makers = (backend.drive, world.shared(backend).drive)
        assert [*rng.choice(makers)(source())] == [*range(5)]
        with world.portal(backend) as portal:
            source = Source(rng, backend, length=5)
            take(portal.drive(source()), source, 0, 3)
        assert not OPEN, OPEN
        assert world.complaints.heard[before:] == []
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def see_through(pid: int) -> None:
    """Wait for the end of a child, which shows its own stacks if it hangs."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert status == 0, f"the child ended with {os.waitstatus_to_exitcode(status)}"
            return
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError("the child hangs")


# Ctrl-C ---------------------------------------------------------------------------------------------------------------


def interrupted(world: World, rng: Random, backend: Backend) -> None:
    """Ctrl-C strikes this thread anywhere in an action: in a step, which it cancels, or between two."""
    if backend.name == "bare":  # nothing cancels a step there, so it strikes inside of the source
        return
    world.complaints.allowed += 3
    world.complaints.struck += 1
    fired = threading.Event()

    def strike() -> None:
        time.sleep(rng.random() * 0.02)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        fired.set()

    own, before = Random(rng.random()), set(OPEN)
    helper = running(strike)
    try:
        helper.start()
        while not fired.is_set():
            own.choice((one, several))(world, own, backend, threads=False)
        fired.wait(PATIENCE)
        time.sleep(0.01)  # the signal was sent, and strikes no later
    except (KeyboardInterrupt, BaseExceptionGroup) as error:
        assert consists_of(error, (KeyboardInterrupt,))  # a group if it struck in a task group's body
    helper.join(PATIENCE)
    world.tasks()
    for source in OPEN - before:
        if not isinstance(source, Source) or source.ended():
            OPEN.discard(source)


# Threads --------------------------------------------------------------------------------------------------------------


def threads(world: World, rng: Random, backend: Backend) -> None:
    """Several threads at it."""
    in_threads(world, rng, ANYWHERE, lambda: one(world, rng, backend))


def threads_and_a_fork(world: World, rng: Random, backend: Backend) -> None:
    """A child is forked while other threads are at it."""
    in_threads(world, rng, ANYWHERE, lambda: fork(world, rng, backend))


ACTIONS: Final[dict[Action, int]] = {
    one: 30,
    several: 10,
    expiring: 2,
    dropped_in_a_step: 3,
    closed_elsewhere: 5,
    contended: 3,
    in_a_loop: 25,
    garbage: 6,
    fork: 2,
    fork_in_a_step: 1,
    interrupted: 3,
    threads: 6,
    threads_and_a_fork: 2,
}
