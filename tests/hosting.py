"""What the tests of `hosted` share: a source that tells what happens to it, and other tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from tests.scopes import current_task

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from tests.conftest import Backend


__all__ = ("Tracer", "in_task")


async def in_task(function: Callable[[], Any]) -> Any:
    """The result of an async function, run in a task of its own."""
    results: list[Any] = []

    async def run() -> None:
        try:
            results.append(await function())
        except Exception as exc:
            results.append(exc)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
    return results[0]


class Tracer:
    """A source that waits in each step, and tells what happens to it and where."""

    def __init__(self, backend: Backend, *, cleanup: Callable[[], Any] | None = None) -> None:
        self.backend = backend
        self.cleanup = cleanup
        self.log: list[str] = []
        self.tasks: list[Any] = []
        self.waiting = anyio.Event()
        self.proceed = anyio.Event()

    def note(self, *words: str) -> None:
        """Write down what happens, and in which task."""
        self.log.extend(words)
        self.tasks.append(current_task(self.backend))

    async def items(self) -> AsyncGenerator[int, Any]:
        """1 at once; 2 when the event has come; and so on."""
        try:
            self.note("begin")
            yield 1
            self.waiting.set()
            await self.proceed.wait()
            self.note("proceeds")
            yield 2
        except GeneratorExit:
            self.note("closed")
            raise
        except BaseException as exc:
            self.note(type(exc).__name__)
            raise
        finally:
            if self.cleanup is not None:
                await self.cleanup()
            self.note("end")
