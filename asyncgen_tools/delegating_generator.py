"""The object that a `@delegating` function gives: an async generator to every observer, and what its methods give.

It emulates CPython's own objects closely enough that CPython's `test_asyncgen.py` passes with one in front of every
generator: the awaitables, their refusals and warnings, the attributes and the hooks. How a step finds its way to the
innermost generator is in `delegation_chain`; `delegation_step` takes the step.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import AsyncGenerator, Coroutine
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, cast, final

from asyncgen_tools import delegation_chain
from asyncgen_tools.arguments import exception_of
from asyncgen_tools.delegation_chain import IGNORED_EXIT, Level
from asyncgen_tools.delegation_step import (
    STRICT_AWAITABLES,
    forget,
    step,
    step_directly,
    step_innermost,
)
from asyncgen_tools.errors import NotReturnedError
from asyncgen_tools.protocols import ReturnT, SendT, YieldT

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import AsyncGeneratorType, CodeType, FrameType
    from typing import Self

__all__ = ("DelegatingGenerator",)

_THREE_ARGUMENTS_WARN: Final = sys.version_info >= (3, 12)


def _refusing(message: str) -> Generator[None, None, None]:
    """The iterator of an awaitable that has been used up."""
    if message:  # pragma: no branch  # always; type checkers call a `yield` after a `raise` unreachable
        raise RuntimeError(message)
    yield  # pragma: no cover  # makes it a generator


class _Step(Coroutine[Any, Any, Any]):
    """`anext()` or `asend()` of a delegating generator: awaited once, or driven by hand as a coroutine is.

    It runs a generator that holds an awaitable of CPython's, which gives the warning if nothing is ever awaited.
    """

    __slots__ = ("awaited", "generator", "iterator")

    METHOD = "asend"
    REFUSAL = "cannot reuse already awaited __anext__()/asend()"

    # Its attributes are set by who makes it: a Python `__init__` would take a tenth of the time of a step.
    awaited: bool
    generator: DelegatingGenerator[Any, Any, Any]
    iterator: Any  # a generator; typing's has no gi_frame

    @classmethod
    def of(cls, generator: DelegatingGenerator[Any, Any, Any], iterator: Generator[Any, Any, Any]) -> _Step:
        """One that is not made for each item."""
        made = cls()
        made.generator = generator
        made.iterator = iterator
        made.awaited = False
        return made

    def __await__(self) -> Generator[Any, Any, Any]:
        # CPython's anext(…, default) asks for the iterator again for each of its own steps
        if self.awaited and self.iterator.gi_frame is None:
            return _refusing(self.REFUSAL)
        self.awaited = True
        iterator: Generator[Any, Any, Any] = self.iterator
        return iterator

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any, /) -> Any:
        if self.awaited:
            return self._under_way().send(value)
        if value is not None:
            self._begin_anew(value, None)
        self.awaited = True
        return self.iterator.send(None)

    def throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Any:
        error = exception_of(typ, val, tb)
        if self.awaited:
            return self._under_way().throw(error)
        self._begin_anew(None, (error,))
        self.awaited = True
        return self.iterator.send(None)

    def _under_way(self) -> Any:
        if self.iterator.gi_frame is None:
            raise RuntimeError(self.REFUSAL)
        return self.iterator

    def close(self) -> None:
        if self.awaited:
            self.iterator.close()
        elif not STRICT_AWAITABLES:  # pragma: no cover  # before 3.13, where the tests run it
            self._begin_anew(None, None)
            self.awaited = True
            self.iterator.close()
        else:
            try:
                self.throw(GeneratorExit())
            except (StopIteration, StopAsyncIteration, GeneratorExit):
                return
            raise RuntimeError("coroutine ignored GeneratorExit")

    def _begin_anew(self, value: object, thrown: tuple[Any, ...] | None) -> None:
        """Begin in another way than was asked for when this was made."""
        unused = [self.iterator]
        self.iterator = step(self.generator, self.METHOD, value, thrown, by_throw=thrown is not None)
        forget(unused)


class _WatchedStep(_Step):
    """A step that holds no awaitable of CPython's before it is awaited, and so has to give the warning itself."""

    __slots__ = ()

    def __del__(self) -> None:
        if STRICT_AWAITABLES and not self.awaited:
            warnings.warn(
                f"coroutine method {self.METHOD!r} of {self.generator.__qualname__!r} was never awaited",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )


class _Throw(_WatchedStep):
    """`athrow()` of a delegating generator."""

    __slots__ = ()

    METHOD = "athrow"
    REFUSAL = "cannot reuse already awaited aclose()/athrow()"

    def send(self, value: Any, /) -> Any:
        if value is not None and not self.awaited:
            generator = self.generator
            if not (generator.finished or generator.closed or generator.ag_running):
                raise RuntimeError("can't send non-None value to a just-started coroutine")
            value = None
        return super().send(value)


class _Close(_Throw):
    """`aclose()` of a delegating generator."""

    __slots__ = ()

    METHOD = "aclose"


@final
class DelegatingGenerator(Level, AsyncGenerator[YieldT, SendT], Generic[YieldT, SendT, ReturnT]):
    """An async generator that may delegate and return a value; a `@delegating` function gives it.

    To every observer it is an async generator. Beyond that it has `return_value`.
    """

    # a slot, since a class cannot have a property of this name
    __slots__ = ("__qualname__", "__weakref__")

    def __init__(self, native: AsyncGeneratorType[YieldT, SendT]) -> None:
        super().__init__(native)
        self.__qualname__: str = native.__qualname__

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Coroutine[Any, Any, YieldT]:
        direct = self.direct
        if direct is not None:
            made = _Step()
            made.generator = self
            made.iterator = step_directly(self, direct.__anext__(), None)
            made.awaited = False
            return made
        # `_asend`, as far as it goes when an item is just passed on
        chain = self.chain
        made_after = delegation_chain.link_changes
        if chain is not None and chain.settled_after is made_after:
            asend = chain.asend
            if asend is not None:
                made = _Step()
                made.generator = self
                made.iterator = step_innermost(self, chain, asend(None), made_after)
                made.awaited = False
                return made
        return self._asend(None)

    def asend(self, value: SendT, /) -> Coroutine[Any, Any, YieldT]:
        """Send a value into the generator, or into what it delegates to; the next item is the result."""
        direct = self.direct
        if direct is None:
            return self._asend(value)
        return _Step.of(self, step_directly(self, direct.asend(value), value))

    def _asend(self, value: Any) -> Coroutine[Any, Any, YieldT]:
        """`asend()` of a generator that delegates, or that has not met the hooks."""
        if not self.registered:
            self.register()
        if self.sub is None:
            awaitable = self.first_call("asend", value)
            self.go_direct()
            return _Step.of(self, step_directly(self, awaitable, value))
        chain = self.settled_chain()
        if chain.asend is None:
            return _WatchedStep.of(self, step(self, "asend", value, None))
        return _Step.of(self, step_innermost(self, chain, chain.asend(value), chain.settled_after, value))

    def athrow(self, typ: Any, val: Any = None, tb: Any = None, /) -> Coroutine[Any, Any, YieldT]:
        """Throw an exception into the generator, or into what it delegates to; the next item is the result."""
        if _THREE_ARGUMENTS_WARN and not (val is None and tb is None):
            warnings.warn(
                "the (type, exc, tb) signature of athrow() is deprecated, use the single-arg signature instead.",
                DeprecationWarning,
                stacklevel=2,
            )
        if not self.registered:
            self.register()
        return _Throw.of(self, step(self, "athrow", None, (typ, val, tb)))

    def aclose(self) -> Coroutine[Any, Any, None]:
        """Close what the generator delegates to, then the generator."""
        if not self.registered:
            self.register()
        return _Close.of(self, step(self, "aclose", None, (GeneratorExit(),)))

    @property
    def return_value(self) -> ReturnT:
        """What the generator returned, which is the value of its `set_return_value`, or None.

        Raises:
            NotReturnedError: it has not ended, or it ended with an exception or by being closed.
        """
        if not self.returned:
            raise NotReturnedError(
                f"{self!r} has not returned, so it has no return value. Read return_value after its items are "
                "exhausted, or take the value where it arrives: `await yield_from(...)`, `stop_value(stop)`."
            )
        return cast("ReturnT", self.recorded)

    @property
    def ag_frame(self) -> FrameType | None:
        """The frame of the body, as long as it has not ended."""
        frame: FrameType | None = self.native.ag_frame
        return frame

    @property
    def ag_code(self) -> CodeType:
        """The code of the body."""
        code: CodeType = self.native.ag_code
        return code

    @property
    def ag_running(self) -> bool:
        """Whether a step is under way, here or in a subgenerator."""
        return self.innermost.busy

    @property
    def ag_await(self) -> object:
        """What the body waits for; while it delegates, the subgenerator."""
        return self.native.ag_await if self.sub is None else self.sub

    if sys.version_info >= (3, 12):  # pragma: no branch  # as CPython has it

        @property
        def ag_suspended(self) -> bool:
            """Whether the body is suspended at a yield or in a delegation."""
            suspended: bool = self.native.ag_suspended
            return suspended

    @property
    def __name__(self) -> str:
        name: str = self.native.__name__
        return name

    @__name__.setter  # noqa: A003  # the name that native generators have
    def __name__(self, name: str) -> None:
        self.native.__name__ = name

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled, as native generators do; a copy would share the body."""
        raise TypeError(f"cannot pickle {type(self).__name__!r} object")

    def __repr__(self) -> str:
        return f"<delegating async_generator object {self.__qualname__} at {id(self):#x}>"

    def __del__(self) -> None:
        """Have an unfinished generator closed, as CPython does: by the event loop, or at once without one."""
        if self.held or not self.touched or self.finished:
            return
        if self.finalizer is not None and not self.closed:
            self.finalizer(self)
        elif not self.innermost.busy:
            # CPython would do this to each frame by itself; here the subgenerator comes first (B7), and may delegate
            try:
                step(self, "aclose", None, (GeneratorExit(),), by_throw=True).send(None)
            except StopIteration:
                return
            raise RuntimeError(IGNORED_EXIT)
