"""The backends of a test: one value for each row of a parametrisation, with what a test does on it.

The three rows `asyncio`, `trio` and `bare` are what tests run on by default. Two more are asyncio again, in ways that
find other mistakes: `uvloop`, and `level`, where cancellation is a state that every await meets, as an anyio cancel
scope has it, and not a single event. A row whose library is not installed is there as well, and says so.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, final, overload

from asyncgen_tools.errors import UnknownBackendError
from asyncgen_tools.runner import Runner, drive
from asyncgen_tools.testing.clocks import virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping
    from contextvars import Context
    from typing import TypeVarTuple, Unpack

    from asyncgen_tools.protocols import ReturningAsyncGenerator, ReturnT, SendT, YieldT
    from asyncgen_tools.sync_generator import SyncGenerator

    ArgumentsT = TypeVarTuple("ArgumentsT")

__all__ = ("BACKENDS", "Backend", "get_backend", "installed_backends")

T = TypeVar("T")
Cancellation: TypeAlias = Literal["edge", "level", "none"]


@final
@dataclass(frozen=True, slots=True)
class Backend:
    """One backend of a test.

    Attributes:
        id: the name of the row: "asyncio", "trio", "bare", "uvloop" or "level".
        name: what `backend=` takes: "asyncio", "trio" or "bare".
        cancellation: how cancellation is delivered: once ("edge"), at each await ("level"), or never ("none").
        needs: the library beside Python's own that it needs, or None.
        virtual: whether its time is virtual, see `virtual_time`.

    >>> async def numbers():
    ...     yield 1
    ...     await backend.checkpoint()
    ...     yield 2
    >>> for backend in installed_backends():
    ...     assert list(backend.drive(numbers())) == [1, 2]
    """

    id: str
    name: Literal["asyncio", "trio", "bare"]
    cancellation: Cancellation
    needs: str | None = None
    virtual: bool = False
    given: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)

    @property
    def options(self) -> dict[str, Any]:
        """The `backend_options` for one loop, new each time: a virtual clock serves one loop."""
        return virtual_time(self.name) if self.virtual else dict(self.given)

    @property
    def missing(self) -> str | None:
        """Why it cannot be used here, as a sentence; None if it can."""
        if self.needs is None or importlib.util.find_spec(self.needs) is not None:
            return None
        return f"backend {self.id!r} needs {self.needs}, which is not installed"

    def with_virtual_time(self) -> Backend:
        """The same with virtual time.

        Raises:
            UnknownBackendError: uvloop's clock cannot be replaced (LookupError).
        """
        if self.id == "uvloop":
            raise UnknownBackendError(
                "The backend 'uvloop' has no virtual time, because uvloop keeps its own clock. Use 'asyncio' there."
            )
        return replace(self, virtual=True)

    def run(self, async_function: Callable[[Unpack[ArgumentsT]], Awaitable[T]], /, *args: *ArgumentsT) -> T:
        """Call an async function on a loop of its own, as `Runner.run` does, and give its result.

        Args:
            async_function: a coroutine function, or anything that gives an awaitable.
            args: its arguments.
        """
        with self.runner() as runner:
            return runner.run(async_function, *args)

    @overload
    def drive(
        self,
        source: ReturningAsyncGenerator[YieldT, SendT, ReturnT],
        /,
        *,
        context: Context | None = None,
        timeout: float | None = None,
    ) -> SyncGenerator[YieldT, SendT, ReturnT]: ...
    @overload
    def drive(
        self,
        source: AsyncGenerator[YieldT, SendT],
        /,
        *,
        context: Context | None = None,
        timeout: float | None = None,
    ) -> SyncGenerator[YieldT, SendT, None]: ...
    @overload
    def drive(
        self,
        source: AsyncIterable[YieldT],
        /,
        *,
        context: Context | None = None,
        timeout: float | None = None,
    ) -> SyncGenerator[YieldT, None, None]: ...
    def drive(
        self, source: Any, /, *, context: Context | None = None, timeout: float | None = None
    ) -> SyncGenerator[Any, Any, Any]:
        """`asyncgen_tools.drive` on this backend.

        Args:
            source: an async generator, async iterator or async iterable.
            context: as for `drive`.
            timeout: as for `drive`, in seconds.
        """
        return drive(source, backend=self.name, backend_options=self.options, context=context, timeout=timeout)

    def runner(self, *, context: Context | None = None) -> Runner:
        """A new `asyncgen_tools.Runner` on this backend, which the caller closes.

        Args:
            context: as for `Runner`.
        """
        return Runner(backend=self.name, backend_options=self.options, context=context)

    async def checkpoint(self) -> None:
        """Suspend once, so that the loop gets a turn; cancellation is delivered here. On `bare`, only suspend."""
        match self.name:
            case "asyncio":
                import asyncio

                await asyncio.sleep(0)
            case "trio":
                import trio

                await trio.lowlevel.checkpoint()
            case "bare":  # pragma: no branch  # there are no more
                from asyncgen_tools.loops.bare_loop import checkpoint

                await checkpoint()


#: Every row, the three usual ones first.
BACKENDS: Final = (
    Backend("asyncio", "asyncio", "edge"),
    Backend("trio", "trio", "level", needs="trio"),
    Backend("bare", "bare", "none"),
    Backend("uvloop", "asyncio", "edge", needs="uvloop", given={"use_uvloop": True}),
    Backend("level", "asyncio", "level"),
)
USUAL: Final = ("asyncio", "trio", "bare")


def get_backend(name: str, /) -> Backend:
    """The row of this name, whether or not its library is installed.

    Raises:
        UnknownBackendError: there is none (LookupError).

    >>> get_backend("level").name, get_backend("level").cancellation
    ('asyncio', 'level')
    """
    for backend in BACKENDS:
        if backend.id == name:
            return backend
    raise UnknownBackendError(
        f"There is no backend {name!r} for tests. There are: {', '.join(backend.id for backend in BACKENDS)}."
    )


def installed_backends(*names: str) -> tuple[Backend, ...]:
    """The rows whose library is installed.

    Args:
        names: the rows to choose from, in this order; by default "asyncio", "trio" and "bare".

    Raises:
        UnknownBackendError: there is no such row (LookupError).

    >>> [backend.id for backend in installed_backends("bare", "asyncio")]
    ['bare', 'asyncio']
    """
    return tuple(backend for backend in map(get_backend, names or USUAL) if backend.missing is None)
