"""The harness of trio, whose cancellation is by level; with the scheduler seeded where the order of tasks matters.

Names of trio that are not public are used in `private_names` and `scopes_of` only.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import logging
import threading
import warnings
from contextlib import contextmanager, suppress
from itertools import takewhile
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, cast, final

import trio

from asyncgen_tools.loops.options import checked_options
from asyncgen_tools.loops.trio_hosts import run_options
from asyncgen_tools.testing.harness.base import Harness, LevelScope, Scope
from asyncgen_tools.testing.harness.watching import PASS_ON, Watch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator, Mapping
__all__ = ("TrioHarness",)

T = TypeVar("T")
SEED: Final = 0


def private_names() -> tuple[Any, Any, Any]:
    """All that this module uses of trio's private names: its run, its runner's state, and a checkpoint's message.

    Returns:
        The module that schedules, whose `_r` is its random generator; its thread state; the message. None for each that
        this trio does not have: sweeps are then slower, and the order of tasks is random.
    """
    run = getattr(trio._core, "_run", None)  # pyright: ignore[reportPrivateUsage, reportUnknownArgumentType]
    context = getattr(run, "GLOBAL_RUN_CONTEXT", None)
    return (run if hasattr(run, "_r") else None), context, getattr(run, "CancelShieldedCheckpoint", None)


RUN, RUN_CONTEXT, CHECKPOINT = private_names()


class Quiet:
    """How many runs, in all threads, keep trio's logger of finalizers quiet; its filters from before the first.

    As the first filter it lets nothing pass, but that trackers within a run still read what is logged. Nothing of the
    logger is replaced, for trackers of other threads come and go meanwhile.
    """

    lock: ClassVar[threading.Lock] = threading.Lock()
    depth: ClassVar[int] = 0
    before: ClassVar[list[Any]] = []

    @classmethod
    def filter(cls, record: logging.LogRecord) -> bool:
        """Hand a record to the filters that are new, and have the logger drop it."""
        for one in list(LOGGER.filters):
            if one is not cls and one not in cls.before:
                read: Any = getattr(one, "filter", one)
                read(record)
        return False


LOGGER: Final = logging.getLogger("trio.async_generator_errors")


@contextmanager
def quiet_finalizers() -> Generator[None]:
    """Trio says nothing of generators that are left behind, nor does a tracker around: the run reports them."""
    with Quiet.lock:
        if not Quiet.depth:
            Quiet.before = list(LOGGER.filters)
            LOGGER.filters.insert(0, Quiet)
        Quiet.depth += 1
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Async generator .* was garbage collected", ResourceWarning)
        try:
            yield
        finally:
            with Quiet.lock:
                Quiet.depth -= 1
                if not Quiet.depth:
                    LOGGER.removeFilter(Quiet)
                    Quiet.before = []


class Nothing:
    """What trio sends to a task that it wakes with no value; unlike trio's own, it serves more than once."""

    def unwrap(self) -> None:
        """Give the value."""


NOTHING: Final = Nothing()


@contextmanager
def seeded_scheduler() -> Generator[None]:
    """Tasks that are ready together run in an order that is the same each time."""
    if RUN is None:  # pragma: no cover  # a trio that has changed inside
        yield
        return
    before = RUN._r.getstate(), RUN._ALLOW_DETERMINISTIC_SCHEDULING
    RUN._r.seed(SEED)
    RUN._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        yield
    finally:
        RUN._r.setstate(before[0])
        RUN._ALLOW_DETERMINISTIC_SCHEDULING = before[1]


def unshield(task: trio.lowlevel.Task) -> None:
    """Take the shields off all scopes in which a task and those below it are."""
    tasks = [task]
    while tasks:
        task = tasks.pop()
        tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
        for scope in scopes_of(task):
            scope.shield = False


def scopes_of(task: trio.lowlevel.Task) -> Iterator[trio.CancelScope]:
    """The scopes in which a task is, innermost first."""
    status: Any = getattr(task, "_cancel_status", None)
    while status is not None:
        yield status._scope
        status = status._parent


@final
class TrioScope(LevelScope):
    """A trio cancel scope."""

    def __init__(self) -> None:
        super().__init__(trio.CancelScope())

    def scopes_within(self) -> Iterator[trio.CancelScope]:
        return takewhile(lambda scope: scope is not self._scope, scopes_of(trio.lowlevel.current_task()))


@final
class TrioHarness(Harness):
    """A fresh trio run for each run.

    Args:
        options: the keyword arguments of `trio.run`, as anyio passes them on.
    """

    library = "trio"
    cancelled: ClassVar[type[BaseException]] = trio.Cancelled
    level = True

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options: dict[str, Any] = checked_options(run_options, dict(options), backend="trio")
        self._whole: trio.CancelScope = trio.CancelScope()

    def run(self, function: Callable[[], Coroutine[Any, Any, T]], /) -> T:
        async def main() -> T | None:
            with self._whole:
                return await function()
            return None  # cancelled by `canceller`, whose user knows of it

        self._whole = trio.CancelScope()
        with seeded_scheduler(), quiet_finalizers():
            return cast("T", trio.run(main, **self._options))

    def scope(self) -> Scope:
        return TrioScope()

    def canceller(self) -> Callable[[], object]:
        token, scope, task = trio.lowlevel.current_trio_token(), self._whole, trio.lowlevel.current_task()

        def cancel() -> None:
            if scope.cancel_called:
                unshield(task)
            scope.cancel()

        def cancel_soon() -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(cancel)

        return cancel_soon

    async def in_new_task(self, awaitable: Awaitable[T], /) -> T:
        results: list[T] = []
        errors: list[BaseException] = []

        async def step() -> None:
            try:
                results.append(await awaitable)
            except trio.Cancelled:
                raise
            except BaseException as exc:
                errors.append(exc)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(step)
        if errors:
            raise errors.pop()
        return results.pop()

    def scopes(self) -> list[Any]:
        task = trio.lowlevel.current_task()
        inner = {id(nursery.cancel_scope) for nursery in task.child_nurseries}
        return [*(scope for scope in scopes_of(task) if id(scope) not in inner), *task.child_nurseries]

    async def settle(self) -> None:
        for _ in range(10):
            await trio.lowlevel.cancel_shielded_checkpoint()

    def shortcut(self) -> Callable[[Any], Any] | None:
        ready: Any = getattr(getattr(RUN_CONTEXT, "runner", None), "runq", None)
        if ready is None:  # pragma: no cover  # a trio that has changed inside
            return None

        def answer(message: Any) -> Any:
            """A checkpoint comes straight back from a run that has nothing else to run."""
            return PASS_ON if message is not CHECKPOINT or ready else NOTHING

        return answer

    def watch_tree(self, watch: Watch) -> None:
        trio.lowlevel.add_instrument(TreeInstrument(trio.lowlevel.current_task(), watch))


@final
class TreeInstrument(trio.abc.Instrument):
    """Counts the suspensions of all tasks below one, whose own are counted already."""

    def __init__(self, root: trio.lowlevel.Task, watch: Watch) -> None:
        self.root: trio.lowlevel.Task = root
        self.watch: Watch = watch

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """A task has suspended, or ended."""
        coroutine: Any = task.coro
        if task is not self.root and coroutine.cr_frame is not None and self.is_below(task):
            self.watch.suspended(coroutine)

    def is_below(self, task: trio.lowlevel.Task) -> bool:
        """Whether the root started a task, perhaps by others."""
        ancestor: trio.lowlevel.Task | None = task
        while ancestor is not None and ancestor is not self.root:
            nursery = ancestor.parent_nursery
            ancestor = None if nursery is None else nursery.parent_task
        return ancestor is not None
