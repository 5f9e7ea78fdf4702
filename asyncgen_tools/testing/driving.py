"""What a test drives its generators with: one loop for all of them, everything closed, every leak found.

`TrackedDriver` is what the pytest fixture `asyncgen_driver` gives, `Finalization` what `finalization` gives; neither
knows pytest.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from functools import partial
from itertools import islice, permutations
from typing import TYPE_CHECKING, Any, final, overload

from asyncgen_tools.loops.ends import loop_inside
from asyncgen_tools.loops.observers import observers, without
from asyncgen_tools.loops.outcomes import collect, raise_all
from asyncgen_tools.testing.leaks import LeakTracker, track_async_generators
from asyncgen_tools.testing.places import is_ours

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Collection, Iterator, Sequence
    from contextvars import Context
    from types import TracebackType
    from typing import Self

    from asyncgen_tools.loops.sliced_life import SlicedLife
    from asyncgen_tools.protocols import ReturningAsyncGenerator, ReturnT, SendT, YieldT
    from asyncgen_tools.runner import Runner
    from asyncgen_tools.sync_generator import SyncGenerator
    from asyncgen_tools.testing.backends import Backend

__all__ = ("Finalization", "TrackedDriver")


@final
class TrackedDriver:
    """Drives generators on one loop of a backend, closes them at the end of the block, and finds what they leak.

    One that is dropped in the block is closed then. Nobody can catch what its cleanup raises, so the tracker has it.

    Args:
        backend: where to drive.

    Attributes:
        backend: the same.
        tracker: what was found, complete after the block.

    >>> from asyncgen_tools.testing import get_backend
    >>> async def numbers():
    ...     yield 1
    ...     yield 2
    >>> with TrackedDriver(get_backend("asyncio")) as drive:
    ...     next(drive(numbers()))
    1
    >>> drive.tracker.check()
    """

    def __init__(self, backend: Backend) -> None:
        self.backend: Backend = backend
        self.tracker: LeakTracker = track_async_generators()
        self._runners: dict[SlicedLife | None, Runner] = {}
        self._by_time: dict[bool, Runner] = {}

    def __repr__(self) -> str:
        return f"<TrackedDriver on {self.backend.id}>"

    def __enter__(self) -> Self:
        self.tracker.__enter__()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    @overload
    def __call__(
        self,
        source: ReturningAsyncGenerator[YieldT, SendT, ReturnT],
        /,
        *,
        context: Context | None = None,
        timeout: float | None = None,
        virtual_time: bool = False,
    ) -> SyncGenerator[YieldT, SendT, ReturnT]: ...
    @overload
    def __call__(
        self,
        source: AsyncGenerator[YieldT, SendT],
        /,
        *,
        context: Context | None = None,
        timeout: float | None = None,
        virtual_time: bool = False,
    ) -> SyncGenerator[YieldT, SendT, None]: ...
    @overload
    def __call__(
        self,
        source: AsyncIterable[YieldT],
        /,
        *,
        context: Context | None = None,
        timeout: float | None = None,
        virtual_time: bool = False,
    ) -> SyncGenerator[YieldT, None, None]: ...
    def __call__(
        self,
        source: Any,
        /,
        *,
        context: Context | None = None,
        timeout: float | None = None,
        virtual_time: bool = False,
    ) -> SyncGenerator[Any, Any, Any]:
        """Give a sync generator over an async one, as `drive` does; the end of the block closes it.

        Args:
            source: an async generator, async iterator or async iterable.
            context: as for `drive`.
            timeout: as for `drive`, in seconds.
            virtual_time: whether its loop has virtual time. Those with it share one loop, those without another one.
        """
        return self.runner(virtual_time=virtual_time).drive(source, context=context, timeout=timeout)

    def runner(self, *, virtual_time: bool = False) -> Runner:
        """The runner on which its generators live, which the end of the block closes.

        Args:
            virtual_time: which of the two.
        """
        if virtual_time not in self._by_time:
            backend = self.backend.with_virtual_time() if virtual_time else self.backend
            runner = self._by_time[virtual_time] = backend.runner()
            self._runners[runner.run(current_loop)] = runner
        return self._by_time[virtual_time]

    def runner_of(self, loop: SlicedLife | None) -> Runner:
        """The runner that has this loop; the usual one for a loop that is none of ours."""
        return self._runners.get(loop) or self.runner()

    def close(self) -> None:
        """Close the generators that are still held, last opened first, and the loops; what they leak is found then.

        Raises:
            BaseException: what their cleanup raises. What that of dropped ones raised, `tracker.check()` raises.
        """
        runners = list(self._by_time.values())
        self._by_time.clear()
        errors: list[BaseException] = []
        for runner in runners:
            collect(errors, runner.close)
        self.tracker.stop()
        raise_all(errors, "errors while closing a driver")


async def current_loop() -> SlicedLife | None:
    """The sliced loop that runs this."""
    return loop_inside()


@final
class Finalization:
    """Holds every async generator that is first iterated in the block, and closes them in the order that a test wants.

    An event loop that shuts down, and the garbage collector, close generators in any order, each in a task of its own.
    So does this.

    Args:
        driver: on whose loops the generators are begun.

    >>> from asyncgen_tools.testing import get_backend
    >>> async def numbers(name, log):
    ...     try:
    ...         yield 1
    ...     finally:
    ...         log.append(name)
    >>> logs = []
    >>> with TrackedDriver(get_backend("bare")) as drive, Finalization(drive) as finalization:
    ...     for order in finalization.orders():
    ...         log = []
    ...         begun = [drive(numbers(name, log)) for name in "ab"]
    ...         assert [next(generator) for generator in begun] == [1, 1]
    ...         finalization.close(order)
    ...         logs.append("".join(log))
    >>> logs
    ['ab', 'ba']
    """

    #: How many orders `orders` tries at most: those of five generators.
    LIMIT: int = 120

    def __init__(self, driver: TrackedDriver) -> None:
        self._driver = driver
        self._held: list[tuple[AsyncGenerator[Any, Any], SlicedLife | None]] = []
        self._closed: int = 0

    def __enter__(self) -> Self:
        observers.watchers = (*observers.watchers, self)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        observers.watchers = without(observers.watchers, self)
        self._held.clear()

    @property
    def generators(self) -> list[AsyncGenerator[Any, Any]]:
        """Those that it holds, in the order of their first steps."""
        return [agen for agen, _ in self._held]

    def close(self, order: Sequence[int] | None = None) -> None:
        """Close all that it holds, each in a task of its own, and let go of them.

        Args:
            order: indices into `generators`; by default, the order of their first steps. Those that it leaves out
                come last.

        Raises:
            BaseException: what their cleanup raises; several come as a group. All are closed before.
        """
        held, self._held = self._held, []
        self._closed = len(held)
        indices = list(order or ())
        indices += [index for index in range(len(held)) if index not in indices]
        errors: list[BaseException] = []
        for index in indices:
            agen, loop = held[index]
            collect(errors, partial(self._driver.runner_of(loop).run, agen.aclose))
        raise_all(errors, "errors while closing async generators")

    def orders(self) -> Iterator[Sequence[int]]:
        """Give each order in which to close: begin the generators anew for each, and hand it to `close`.

        How many generators there are is known from the first time on. At most 120 orders are tried.
        """
        yield ()
        yield from islice(permutations(range(self._closed)), 1, self.LIMIT)

    # What the loops call -------------------------------------------------------------------------------------------

    def first_iterated(self, agen: AsyncGenerator[Any, Any], /) -> None:
        """An async generator is about to take its first step: hold it."""
        if not is_ours(agen) and not any(held is agen for held, _ in self._held):
            self._held.append((agen, loop_inside()))

    def finalized(self, agen: AsyncGenerator[Any, Any], /) -> None:
        """Nothing that is held is collected."""

    def shutting_down(self, begun: Collection[int], /) -> None:
        """The loop closes what is left."""

    def lost(self, error: BaseException, /) -> None:
        """The driver's tracker has it."""
