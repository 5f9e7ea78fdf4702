"""The harness of asyncio, uvloop included: edge cancellation by `Task.cancel`, level cancellation by anyio's scope.

Names of asyncio and anyio that are not public make it faster or more exact where they are found, and are done without
where not.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import takewhile
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, final

from asyncgen_tools.loops.asyncio_hosts import loop_maker
from asyncgen_tools.loops.options import checked_options
from asyncgen_tools.testing.harness.asyncio_scopes import anyio_scopes, named, owned_scopes
from asyncgen_tools.testing.harness.base import Harness, LevelScope, Scope
from asyncgen_tools.testing.harness.watching import PASS_ON, Watch, WatchedChild
from asyncgen_tools.testing.leaks import is_close

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
    from types import TracebackType
    from typing import Self

__all__ = ("AsyncioHarness",)

T = TypeVar("T")
OURS: Final = "Cancelled by asyncgen_tools.testing"  # messages of cancellations
ANYIOS: Final = "Cancelled via cancel scope "  # by which anyio itself tells its own from others


def says(error: BaseException | None, start: str) -> bool:
    """Whether the message of a cancellation begins so, or that of one in whose handling it was raised."""
    while isinstance(error, asyncio.CancelledError):
        if error.args and str(error.args[0]).startswith(start):
            return True
        error = error.__context__
    return False


@final
class EdgeScope(Scope):
    """A task's own cancellation: one CancelledError, at the next await."""

    # Declared by the base as well; repeated because this class assigns them (pyright --verifytypes).
    caught: bool

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None

    def cancel(self) -> None:
        assert self._task is not None
        self.requested = True
        self._task.cancel(OURS)

    def sent(self, error: BaseException, *, at_once: bool) -> bool:
        # A request is answered when the task goes on next, unless what it waits for keeps the cancellation for itself.
        # The message alone would not do: it is lost where a child that is waited for was cancelled before.
        return self.requested and (at_once or says(error, OURS))

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> bool:
        if self.requested and self._task is not None:
            self._task.uncancel()
            self.caught = isinstance(exc, asyncio.CancelledError)
        self._task = None
        return self.caught


@final
class AnyioScope(LevelScope):
    """An anyio cancel scope, in a task of asyncio."""

    def __init__(self) -> None:
        import anyio

        super().__init__(anyio.CancelScope())

    def sent(self, error: BaseException, *, at_once: bool) -> bool:
        return says(error, ANYIOS) and super().sent(error, at_once=at_once)

    def scopes_within(self) -> Iterator[Any]:
        return takewhile(lambda scope: scope is not self._scope, anyio_scopes())


def report_unless_asyncgen(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Asyncio's exception handler: what leaves a generator behind reports that itself."""
    task: Any = context.get("future") or context.get("task")
    coroutine = task.get_coro() if hasattr(task, "get_coro") else None
    finalizer = is_close(coroutine)
    given_up = getattr(coroutine, "__qualname__", "").startswith("run_bounded.")  # a run that hung to the last
    if "asyncgen" not in context and not finalizer and not given_up:
        loop.default_exception_handler(context)


@final
class AsyncioHarness(Harness):
    """A fresh asyncio event loop for each run.

    Args:
        options: anyio's `debug`, `use_uvloop` and `loop_factory`.
        level: whether `scope` gives anyio's.
    """

    library = "asyncio"
    cancelled: ClassVar[type[BaseException]] = asyncio.CancelledError

    def __init__(self, options: Mapping[str, Any], *, level: bool = False) -> None:
        self._new_loop: Callable[[], asyncio.AbstractEventLoop] = checked_options(
            loop_maker, dict(options), backend="asyncio"
        )
        self.level = level

    def run(self, function: Callable[[], Coroutine[Any, Any, T]], /) -> T:
        with asyncio.Runner(loop_factory=self._new_loop) as runner:
            runner.get_loop().set_exception_handler(report_unless_asyncgen)
            return runner.run(function())

    def scope(self) -> Scope:
        return AnyioScope() if self.level else EdgeScope()

    def level_scope(self) -> Scope:
        return AnyioScope()

    def canceller(self) -> Callable[[], object]:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def cancel() -> None:
            if not loop.is_closed():  # pragma: no branch  # it may have been, since the watchdog looked
                loop.call_soon_threadsafe(task.cancel)

        return cancel

    async def in_new_task(self, awaitable: Awaitable[T], /) -> T:
        async def step() -> T:
            return await awaitable

        return await asyncio.create_task(step())

    async def absorb(self) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)

    def scopes(self) -> list[Any]:
        return [*anyio_scopes()]

    def entered_scopes(self) -> Callable[[], list[Any]]:
        task, listed = asyncio.current_task(), super().entered_scopes()
        return lambda: [*owned_scopes(task), *listed()]

    def named(self, scope: object) -> str:
        return named(scope)

    async def settle(self) -> None:
        for _ in range(2):  # a finalizer's task is made in the first turn
            await asyncio.sleep(0)
        finalizers = {task for task in asyncio.all_tasks() if is_close(task.get_coro())}
        if finalizers:
            await asyncio.wait(finalizers, timeout=1)

    def shortcut(self) -> Callable[[Any], Any] | None:
        ready: Any = getattr(asyncio.get_running_loop(), "_ready", None)
        if ready is None:  # uvloop, or an asyncio that has changed inside
            return None

        def answer(message: Any) -> Any:
            """A bare `yield` comes straight back from a loop that has nothing else to run."""
            return PASS_ON if message is not None or ready else None

        return answer

    def watch_tree(self, watch: Watch) -> None:
        def task_factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
            return asyncio.Task(WatchedChild(coroutine, watch), loop=loop, **options)

        asyncio.get_running_loop().set_task_factory(task_factory)
