"""Programs: generator bodies as data, which run as a sync generator, an async one, and one that delegates.

A program is a frozen value, and its `repr` is the source of its sync rendering. See `asyncgen_tools.testing.statements`
for what a body consists of, and `asyncgen_tools.testing.traces` for what is done with its generators.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, final, overload

from asyncgen_tools.testing.statements import Body, Rendering, source_of
from asyncgen_tools.testing.traces import Notes
from asyncgen_tools.testing.transcripts import describe_step

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from types import CodeType, TracebackType

    from asyncgen_tools.delegating_generator import DelegatingGenerator
    from asyncgen_tools.steps import Step

__all__ = ("Program", "Script")


@final
@dataclass(frozen=True, slots=True, repr=False)
class Program:
    """The body of a generator, and those of its subgenerators.

    >>> from asyncgen_tools.testing.statements import Return, Yield
    >>> program = Program((Yield(1), Return(2)))
    >>> program
    def program():
        note((yield 1))
        return 2
    >>> list(program.make("sync"))
    [1]
    >>> print(Program((Yield(1),)).source("async"))
    async def program(returned):
        note((yield 1))
    """

    body: Body = ()

    def __repr__(self) -> str:
        return self.source("sync")

    def _repr_pretty_(self, printer: Any, _cycle: bool, /) -> None:
        """What hypothesis and IPython show: the source, and not how the value was made."""
        show(repr(self), printer)

    def source(self, rendering: Rendering, /) -> str:
        """The source of a rendering; it needs the names that `make` gives it."""
        return source_of(self.body, rendering)

    @overload
    def make(
        self,
        rendering: Literal["sync"],
        notes: Notes | None = None,
        /,
        *,
        checkpoint: Callable[[], Awaitable[object]] | None = None,
        delegate: Callable[[Any], Awaitable[object]] | None = None,
    ) -> Generator[int, Any, Any]: ...
    @overload
    def make(
        self,
        rendering: Literal["async"],
        notes: Notes | None = None,
        /,
        *,
        checkpoint: Callable[[], Awaitable[object]] | None = None,
        delegate: Callable[[Any], Awaitable[object]] | None = None,
    ) -> AsyncGenerator[int, Any]: ...
    @overload
    def make(
        self,
        rendering: Literal["delegating"],
        notes: Notes | None = None,
        /,
        *,
        checkpoint: Callable[[], Awaitable[object]] | None = None,
        delegate: Callable[[Any], Awaitable[object]] | None = None,
    ) -> DelegatingGenerator[int, Any, Any]: ...
    def make(
        self,
        rendering: Rendering,
        notes: Notes | None = None,
        /,
        *,
        checkpoint: Callable[[], Awaitable[object]] | None = None,
        delegate: Callable[[Any], Awaitable[object]] | None = None,
    ) -> Any:
        """Give a new generator that runs this program.

        Args:
            rendering: "sync", "async" or "delegating".
            notes: what it writes down, for `record` or `arecord`, which then finish its subgenerators as well.
            checkpoint: what `Await` awaits, such as `Backend.checkpoint`; by default something that does not suspend.
            delegate: what stands for `yield_from` in "delegating", to test one of your own.

        Returns:
            The generator, not yet begun.
        """
        return Making(self, Notes() if notes is None else notes, checkpoint, delegate).generator(rendering)


@final
@dataclass(frozen=True, slots=True, repr=False)
class Script:
    """A program and what to do with its generator.

    >>> from asyncgen_tools.steps import NEXT, Operation, Step
    >>> from asyncgen_tools.testing.statements import Yield
    >>> Script(Program((Yield(1),)), (NEXT, Step(Operation.SEND, 3)))
    def program():
        note((yield 1))
    # next, send(3)
    """

    program: Program
    operations: tuple[Step, ...] = ()

    def __repr__(self) -> str:
        return f"{self.program}\n# {', '.join(map(describe_step, self.operations)) or 'no operation'}"

    def _repr_pretty_(self, printer: Any, _cycle: bool, /) -> None:
        """What hypothesis and IPython show: the source, and not how the value was made."""
        show(repr(self), printer)


def show(text: str, printer: Any) -> None:
    """Give lines to a pretty printer, each below the one before."""
    for number, line in enumerate(text.splitlines()):
        if number:
            printer.break_()
        printer.text(line)


@functools.lru_cache(maxsize=2048)
def compiled(source: str) -> CodeType:
    """The code of a module."""
    return compile(source, "<program>", "exec")


@final
@dataclass(slots=True)
class Making:
    """What the source of one generator refers to."""

    program: Program
    notes: Notes
    given_checkpoint: Callable[[], Awaitable[object]] | None
    delegate: Callable[[Any], Awaitable[object]] | None
    names: dict[str, Any] = field(default_factory=dict[str, Any])

    def generator(self, rendering: Rendering) -> Any:
        """A new generator, not yet begun."""
        from asyncgen_tools.delegation import delegating, set_return_value, yield_from

        sync = rendering == "sync"
        self.names |= {
            "note": self.notes.add,
            "checkpoint": nothing if sync else self.checkpoint,
            "scope": functools.partial(Scope, self),
            "delegating": delegating,
            "yield_from": self.delegate or yield_from,
            "set_return_value": set_return_value,
        }
        before = set(self.names)
        exec(compiled(self.program.source(rendering)), self.names)  # noqa: S102  # what we have just written
        for name in set(self.names) - before - {"__builtins__"}:
            self.names[name] = functools.partial(self.kept, self.names[name])
        return self.names["program"](*([[]] if rendering == "async" else ()))

    def kept(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function of the source; its generator is finished with the notes."""
        generator = function(*args)
        self.notes.generators.append(generator)
        return generator

    async def checkpoint(self) -> None:
        """What `Await` awaits; nothing when the generator is being finished, perhaps where no loop runs."""
        if self.given_checkpoint is not None and not self.notes.over:
            await self.given_checkpoint()


def nothing() -> None:
    """The checkpoint of sync renderings."""


@final
@dataclass(frozen=True, slots=True)
class Scope:
    """A context manager that notes its entry and exit; the exit of the async one awaits a checkpoint."""

    making: Making

    def __enter__(self) -> None:
        self.making.notes.add("enter")

    def __exit__(self, _: type[BaseException] | None, exc: BaseException | None, __: TracebackType | None, /) -> None:
        self.making.notes.add("exit")
        self.making.notes.add(exc)

    async def __aenter__(self) -> None:
        self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        await self.making.checkpoint()
        self.__exit__(kind, exc, traceback)
