"""What the tests of concurrent_map share: a source and a function that tell what happens to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable

    from tests.conftest import Backend

__all__ = ("Calls", "ProbeError", "Source", "double", "run", "settle")


class ProbeError(Exception):
    """An error that no part of the library raises."""


def run(backend: Backend, function: Callable[[], Awaitable[Any]]) -> Any:
    """What an async function returns, run in a loop of its own, with nothing left behind but what it was given."""

    async def limited() -> Any:
        with anyio.fail_after(20):
            return await function()

    return anyio.run(limited, backend=backend.name, backend_options=dict(backend.options))


async def settle() -> None:
    """Let everything else run until it waits: nothing here needs more turns of the loop than this."""
    for _ in range(50):
        await anyio.lowlevel.checkpoint()


async def double(number: int) -> int:
    """Twice the number, after letting others go first."""
    await anyio.sleep(0)
    return 2 * number


@final
class Source:
    """An async generator of numbers that tells what happens to it."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self.numbers = numbers
        self.taken = 0
        self.closed = False
        self.cancelled = False

    async def __aiter__(self) -> AsyncGenerator[int, None]:
        try:
            for number in self.numbers:
                await anyio.sleep(0)
                self.taken += 1
                yield number
        except anyio.get_cancelled_exc_class():
            self.cancelled = True
            raise
        finally:
            if not self.cancelled:
                await anyio.sleep(0)
            self.closed = True


@final
class Calls:
    """A function for concurrent_map whose calls last until they are released, and that counts them."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.cancelled: list[int] = []
        self.most = 0
        self.gate = anyio.Event()

    @property
    def running(self) -> int:
        """How many calls run."""
        return len(self.begun) - len(self.ended)

    async def __call__(self, number: int) -> int:
        """Wait for the gate."""
        self.begun.append(number)
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(number)
            raise
        finally:
            self.ended.append(number)
        return number
