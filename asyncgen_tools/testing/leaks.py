"""track_async_generators: which async generators were left unfinished, and where.

Theory of operation. CPython calls the asyncgen hooks of the thread when an async generator takes its first step, and
when one is collected unfinished. An event loop has its own hooks in place while it runs, so the tracker is entered
inside of it and chains them; loops of this library tell it by themselves (`asyncgen_tools.loops.observers`), so around
`drive` and `Runner` it is entered outside. Records are kept by `id()`: weak references are cleared before the
finalizer hook runs. The id of a generator that has ended may be another's later, which then replaces the record.

What a finalizer raises, a loop only logs: trio to a logger, asyncio to its exception handler. The tracker reads both.
What closing a dropped generator of `drive` raises, its loop tells.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import enum
import logging
import sys
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from asyncgen_tools.errors import LeakError
from asyncgen_tools.loops.admission import running_library
from asyncgen_tools.loops.ends import loop_inside
from asyncgen_tools.loops.hooks import close_without_hooks
from asyncgen_tools.loops.observers import observers, without
from asyncgen_tools.testing.places import Place, is_ours, line_at, name_of, suspended_at, user_frame

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection
    from types import CodeType, TracebackType
    from typing import Self, TypeAlias

    Record: TypeAlias = "tuple[weakref.ref[AsyncGenerator[Any, Any]], CodeType, int]"

__all__ = ("Leak", "LeakKind", "LeakTracker", "is_close", "track_async_generators")

TRIO_LOGGER: Final = "trio.async_generator_errors"
#: What an event loop's finalizer makes a task of: the `aclose()` of native async generators, and of delegating ones.
CLOSES: Final = {("builtins", "async_generator_athrow"), ("asyncgen_tools.delegating_generator", "_Close")}
get_hooks: Final = sys.get_asyncgen_hooks


def is_close(awaited: object) -> bool:
    """Whether this is what a task awaits that an event loop's finalizer has made."""
    kind = type(awaited)
    return (kind.__module__, kind.__name__) in CLOSES


class LeakKind(enum.Enum):
    """What became of a generator that did not run to its end."""

    COLLECTED = "collected"
    SUSPENDED = "suspended"
    CLOSED_AT_SHUTDOWN = "closed at shutdown"


@final
@dataclass(frozen=True, slots=True)
class Leak:
    """One async generator that was left unfinished.

    Attributes:
        name: its qualified name, with the module.
        kind: whether it was dropped (`collected`), is still there (`suspended`), or was there when its loop ended.
        first_iterated: the line that took its first step.
        suspended_at: the line where it stands, or stood when it was dropped.
    """

    name: str
    kind: LeakKind
    first_iterated: Place
    suspended_at: Place | None

    def __str__(self) -> str:
        return f"{self.name} ({self.kind.value}): first iterated at {self.first_iterated}, suspended at " + (
            "an unknown place" if self.suspended_at is None else str(self.suspended_at)
        )


def track_async_generators(*, hooks: bool = True) -> LeakTracker:
    """Give a context manager that finds the async generators which are first iterated in it and left unfinished.

    Enter it inside an event loop, or around the use of `drive` and `Runner` in the same thread; it does not see into a
    loop that starts later in the block, such as that of `asyncio.run`. Nothing is closed by it.

    Args:
        hooks: whether to set the thread's asyncgen hooks. Without, it sees the steps of `drive` and `Runner` only.

    Returns:
        The tracker, which says after the block what it has found in `leaks` and `errors`, and by `check()`.

    >>> from asyncgen_tools import Runner
    >>> async def numbers():
    ...     yield 1
    ...     yield 2
    >>> async def careless():
    ...     async for number in numbers():
    ...         return number
    >>> with track_async_generators() as tracker, Runner() as runner:
    ...     first = runner.run(careless)
    >>> [leak.kind.value for leak in tracker.leaks]
    ['collected']
    """
    return LeakTracker(hooks=hooks)


@final
class LeakTracker:
    """The context manager that `track_async_generators` gives; it serves once, in one thread.

    Args:
        hooks: as for `track_async_generators`.

    Attributes:
        leaks: the generators that were left unfinished, complete after the block.
        errors: what the cleanup of dropped generators raised, of driven ones, too; nobody can catch it.
    """

    def __init__(self, *, hooks: bool = True) -> None:
        self.leaks: list[Leak] = []
        self.errors: list[BaseException] = []
        self._records: dict[int, Record] = {}
        self._active: bool = False
        self._postponed: bool = False
        self._hooks: bool = hooks
        self._previous: Any = (None, None)
        self._mine: Any = None
        self._loop: Any = None
        self._handler: Any = None

    def __enter__(self) -> Self:
        self._active = True
        self._previous = get_hooks()
        observers.watchers = (*observers.watchers, self)
        own = loop_inside()
        if own is not None:  # whose hooks tell us
            sys.set_asyncgen_hooks(*own.seal)
        elif self._hooks:
            self._mine = (self._first_iterated_hook, self._finalized_hook)
            sys.set_asyncgen_hooks(*self._mine)
        logging.getLogger(TRIO_LOGGER).addFilter(
            self._read_log
        )  # unlike a handler, it does not replace the default one
        events = sys.modules.get("asyncio.events")
        self._loop = None if events is None else events._get_running_loop()
        if self._loop is not None:
            self._handler = self._loop.get_exception_handler()
            self._loop.set_exception_handler(self._handle_exception)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        if not self._postponed:
            self.stop()

    def postpone(self) -> None:
        """Let `stop` look at what is left, instead of the end of the block: whoever called us may close it until then.

        It is to be called inside of an event loop. What that closes when it ends is a leak all the same.
        """
        self._postponed = True
        self._remove_hooks()
        tell_end(self)

    def stop(self) -> None:
        """End the tracking, as the end of the block does; nothing happens the second time.

        What strikes in the middle of it leaves the tracker among those of the thread, and it can be stopped again.
        """
        if not self._active:
            return
        self._remove_hooks()
        logging.getLogger(TRIO_LOGGER).removeFilter(self._read_log)
        if self._loop is not None and self._loop.get_exception_handler() == self._handle_exception:
            self._loop.set_exception_handler(self._handler)
        for agen in self.unfinished():
            self._note(agen, LeakKind.SUSPENDED)
        self._loop = None
        self._records.clear()
        observers.watchers = without(observers.watchers, self)
        self._active = False

    def unfinished(self) -> list[AsyncGenerator[Any, Any]]:
        """The generators that now stand at a yield, in the order of their first steps.

        One that is being stepped is not among them: whoever steps it will see to it.
        """
        alive = [agen for agen in (reference() for reference, _, _ in self._records.values()) if agen is not None]
        return [
            agen
            for agen in alive
            if getattr(agen, "ag_frame", None) is not None
            and not getattr(agen, "ag_running", False)
            and not is_ours(agen)
        ]

    def check(self) -> None:
        """Raise if anything was found.

        Raises:
            LeakError: it lists the leaks and the errors of finalizers (AssertionError); the first error is its cause.
        """
        __tracebackhide__ = True  # from pytest
        if self.leaks or self.errors:
            raise LeakError(self.report()) from (self.errors[0] if self.errors else None)

    def report(self) -> str:
        """What was found, as text; empty if nothing was."""
        lines: list[str] = []
        if self.leaks:
            lines.append(
                f"{len(self.leaks)} async generator(s) left unfinished, whose cleanup runs late, elsewhere, or never. "
                "Iterate them to the end, or close them: `async with contextlib.aclosing(generator):`."
            )
            lines += [f"  {leak}" for leak in self.leaks]
        if self.errors:
            lines += ["Errors in the cleanup of dropped generators, which nobody can catch:"]
            lines += [f"  {type(error).__qualname__}: {error}" for error in self.errors]
        return "\n".join(lines)

    # What the loops of this library call ---------------------------------------------------------------------------

    def first_iterated(self, agen: AsyncGenerator[Any, Any], /) -> None:
        """An async generator is about to take its first step."""
        frame = user_frame()
        self._records.pop(id(agen), None)  # so that this one is the last
        self._records[id(agen)] = (weakref.ref(agen), frame.f_code, frame.f_lasti)

    def finalized(self, agen: AsyncGenerator[Any, Any], /) -> None:
        """An unfinished async generator was collected."""
        if self._active:
            self._note(agen, LeakKind.COLLECTED)

    def shutting_down(self, begun: Collection[int] | None = None, /) -> None:
        """A loop is about to close these generators, or all that there are."""
        for agen in self.unfinished():
            if begun is None or id(agen) in begun:
                self._note(agen, LeakKind.CLOSED_AT_SHUTDOWN)

    def lost(self, error: BaseException, /) -> None:
        """Closing a driven generator that was dropped has raised."""
        self.errors.append(error)

    # Hooks ---------------------------------------------------------------------------------------------------------

    def _note(self, agen: AsyncGenerator[Any, Any], kind: LeakKind) -> None:
        record = self._records.pop(id(agen), None)
        if record is not None and not is_ours(agen):
            _, code, instruction = record
            place = Place(code.co_filename, line_at(code, instruction), code.co_qualname)
            self.leaks.append(Leak(name_of(agen), kind, place, suspended_at(agen)))

    def _remove_hooks(self) -> None:
        if self._mine is not None and tuple(get_hooks()) == self._mine:
            sys.set_asyncgen_hooks(*self._previous)

    def _first_iterated_hook(self, agen: AsyncGenerator[Any, Any]) -> None:
        if self._active:
            self.first_iterated(agen)
        firstiter = self._previous[0]
        if firstiter is not None:
            firstiter(agen)

    def _finalized_hook(self, agen: AsyncGenerator[Any, Any]) -> None:
        self.finalized(agen)
        finalizer = self._previous[1]
        if finalizer is None:
            close_without_hooks(agen)
        else:
            finalizer(agen)

    def _read_log(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            self.errors.append(record.exc_info[1])
        return True

    def _handle_exception(self, loop: Any, context: dict[str, Any]) -> None:
        """Asyncio's exception handler: note what concerns async generators, and pass everything on."""
        error = context.get("exception")
        task: Any = context.get("future") or context.get("task")
        awaited: object = task.get_coro() if hasattr(task, "get_coro") else None
        if error is not None and ("asyncgen" in context or is_close(awaited)):
            self.errors.append(error)
        if self._handler is None:
            loop.default_exception_handler(context)
        else:
            self._handler(loop, context)


def tell_end(tracker: LeakTracker) -> None:
    """Have the running event loop tell a tracker when it is about to end and to close async generators."""
    if running_library() == "trio":
        import trio

        async def wait() -> None:
            try:
                await trio.sleep_forever()
            finally:
                tracker.shutting_down()

        # Trio cancels its system tasks after all others have ended, and before it closes async generators.
        trio.lowlevel.spawn_system_task(wait)
        return
    import asyncio

    loop: Any = asyncio.get_running_loop()
    shut_down = loop.shutdown_asyncgens

    async def shutdown_asyncgens() -> None:
        del loop.shutdown_asyncgens
        tracker.shutting_down()
        await shut_down()

    loop.shutdown_asyncgens = shutdown_asyncgens
