"""The tasks of a concurrent_map over many random programs: whatever ends a block, the same things hold after it."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, final

import anyio
import pytest

from asyncgen_tools import concurrent_map
from asyncgen_tools.loops.outcomes import consists_of
from tests.concurrency_helpers import ProbeError, run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.conftest import Backend


class LeaveError(Exception):
    """The block's body leaves by this."""


@final
class Program:
    """A random program: how many items, which call or step fails, how and when the block is left.

    Calls, source and body each wait for a random number of turns; half of the numbers that say where something happens
    are past the last item, so that it does not.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311  # not for secrets
        choose = self.random.randrange
        self.items, self.limit, self.ordered = choose(30), choose(1, 8), choose(2) == 0
        self.bad_call, self.bad_step, self.last = choose(60), choose(90), choose(60)
        self.leaving = self.random.choice(["break", "raise", "cancel in the body", "cancel in a call"])
        self.scope = anyio.CancelScope()
        self.running = self.taken = 0
        self.opened = self.closed = self.complete = False
        self.given: list[int] = []

    async def pause(self) -> None:
        """Let others go first, a few times or not at all."""
        for _ in range(self.random.choice([0, 0, 1, 2, 5])):
            await anyio.sleep(0)

    async def source(self) -> AsyncGenerator[int, None]:
        """The items, with a task group held over the yields."""
        self.opened = True
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep, 0)
                for number in range(self.items):
                    await self.pause()
                    if number == self.bad_step:
                        raise ProbeError
                    self.taken += 1
                    assert self.taken - len(self.given) <= self.limit
                    yield number
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0)
            self.closed = True

    async def call(self, number: int) -> int:
        """The number itself."""
        self.running += 1
        assert self.running <= self.limit
        try:
            await self.pause()
            if number == self.bad_call:
                raise ProbeError
            if number == self.last and self.leaving == "cancel in a call":
                self.scope.cancel()
            return number
        finally:
            with anyio.CancelScope(shield=True):
                await self.pause()
            self.running -= 1

    async def run(self) -> None:
        """Run it."""
        with self.scope:
            async with concurrent_map(self.call, self.source(), limit=self.limit, ordered=self.ordered) as results:
                async for number in results:
                    self.given.append(number)
                    await self.pause()
                    if number == self.last:
                        if self.leaving == "break":
                            return
                        if self.leaving == "raise":
                            raise LeaveError
                        if self.leaving == "cancel in the body":
                            self.scope.cancel()
                self.complete = not self.scope.cancel_called

    def check(self) -> None:
        """What holds after every end: nothing runs, the source is closed, and no result is doubled or out of order."""
        assert self.running == 0
        assert self.closed == self.opened
        assert len(set(self.given)) == len(self.given)
        if self.ordered:
            assert self.given == list(range(len(self.given)))
        if self.complete:
            assert sorted(self.given) == list(range(self.items))


def is_expected(error: BaseException) -> bool:
    """Whether an error is one of the program's own; its source's task group puts them into a group."""
    return consists_of(error, (ProbeError, LeaveError))


@pytest.mark.parametrize("seed", range(0, 200, 50))
def test_random_programs(backend: Backend, seed: int) -> None:
    """However a block ends, nothing of it runs on, its source is closed, and the results that it gave are right."""

    async def main() -> None:
        for number in range(seed, seed + 50):
            program = Program(number)
            try:
                await program.run()
            except Exception as exc:
                assert is_expected(exc), f"program {number}"  # noqa: PT017  # the error is none of the test's
            program.check()

    run(backend, main)


@pytest.mark.parametrize("seed", range(0, 200, 50))
def test_random_cancellation(seed: int) -> None:
    """The same, when asyncio's `task.cancel()` strikes the block at any time; no task is left."""

    async def main() -> None:
        before = asyncio.all_tasks()
        for number in range(seed, seed + 50):
            program = Program(number)
            task = asyncio.create_task(program.run())
            for _ in range(program.random.randrange(120)):
                await asyncio.sleep(0)
            task.cancel()
            (error,) = await asyncio.gather(task, return_exceptions=True)
            assert error is None or isinstance(error, asyncio.CancelledError) or is_expected(error), f"program {number}"
            assert asyncio.all_tasks() == before
            program.check()

    asyncio.run(asyncio.wait_for(main(), 40))
