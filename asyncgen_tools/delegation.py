"""PEP 828 today: async generators that delegate with `await yield_from(...)` and return a value.

`yield_from` is PEP 828's `yield from` in every respect that its text names: what is sent, thrown or closed reaches the
subgenerator, its return value is the result, and only it takes part in a step, at the same cost for any depth. It works
in the body of a `@delegating` generator and in coroutines that the body awaits.

A subgenerator is closed together with the generator that delegates to it, as PEP 828 says; nothing else here closes
anything. The mechanism is in `delegation_chain`; no event loop is known or needed.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import functools
import inspect
import types
import warnings
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, cast, final, overload

from asyncgen_tools.arguments import close_refused
from asyncgen_tools.delegating_generator import DelegatingGenerator
from asyncgen_tools.delegation_chain import (
    ASKED,
    DELEGATED,
    Level,
    RaiseAtDelegation,
    already_running,
    delegating_codes,
    enclosing_level,
    wrapped,
)
from asyncgen_tools.errors import DelegationError, SourceTypeError
from asyncgen_tools.protocols import ReturnT, SendT, YieldT
from asyncgen_tools.steps import stop_value

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        AsyncIterator,
        Awaitable,
        Callable,
        Generator,
        Iterable,
    )
    from typing import ParamSpec, Self

    from asyncgen_tools.protocols import ReturningAsyncGenerator

    Parameters = ParamSpec("Parameters")

__all__ = (
    "AsAsyncGenerator",
    "AsAsyncIterator",
    "DelegatingGenerator",
    "delegating",
    "set_return_value",
    "stop_value",
    "yield_from",
)

_ASKED_ITEM: Final = wrapped(ASKED)
_DELEGATED_ITEM: Final = wrapped(DELEGATED)
_LINKED: Final = object()
"""In the place of a subgenerator that has been handed over to the level."""


class _Decorator(Protocol[ReturnT]):
    """What `delegating(returns=ReturnT)` gives."""

    def __call__(
        self, function: Callable[Parameters, AsyncGenerator[YieldT, SendT]], /
    ) -> Callable[Parameters, DelegatingGenerator[YieldT, SendT, ReturnT]]: ...


@overload
def delegating(
    function: Callable[Parameters, AsyncGenerator[YieldT, SendT]], /
) -> Callable[Parameters, DelegatingGenerator[YieldT, SendT, Any]]: ...
@overload
def delegating(*, returns: type[ReturnT]) -> _Decorator[ReturnT]: ...
@overload
def delegating(*, returns: None = None) -> _Decorator[None]: ...
def delegating(function: Any = None, /, *, returns: object = None) -> Any:  # noqa: ARG001  # for type checkers
    """Let an async generator function delegate by `yield_from` and return a value by `set_return_value`.

    Args:
        function: an async generator function or method; also a classmethod or staticmethod of one.
        returns: the type of the return value. It is for type checkers only: they then know the result of
            `yield_from`, and of `return_value`.

    Returns:
        A function whose async generators are full ones to every observer, and have `return_value`. Like any async
        generator they are closed by whoever holds them, or by the event loop.

    Raises:
        SourceTypeError: `function` is not an async generator function.

    >>> @delegating(returns=int)
    ... async def numbers():
    ...     yield 1
    ...     await set_return_value(2)
    >>> @delegating
    ... async def more():
    ...     yield await yield_from(numbers())
    >>> async def main():
    ...     print([item async for item in more()])
    >>> import asyncio; asyncio.run(main())
    [1, 2]
    """
    if function is None:
        return delegating
    if isinstance(function, (classmethod, staticmethod)):
        kind: Any = type(cast("object", function))
        return kind(delegating(cast("Any", function).__func__))
    if not inspect.isasyncgenfunction(function):
        close_refused(function)
        raise SourceTypeError(_why_not_delegating(function))
    innermost = function
    while isinstance(innermost, functools.partial):
        innermost = innermost.func
    delegating_codes[id(innermost.__code__)] = innermost.__code__

    @functools.wraps(function)
    def make(*args: Any, **kwargs: Any) -> DelegatingGenerator[Any, Any, Any]:
        return DelegatingGenerator(function(*args, **kwargs))

    return make


@overload
def yield_from(subgenerator: ReturningAsyncGenerator[Any, Any, ReturnT], /) -> Awaitable[ReturnT]: ...
@overload
def yield_from(subgenerator: AsyncIterable[Any], /) -> Awaitable[Any]: ...
def yield_from(subgenerator: Any, /) -> Awaitable[Any]:
    """Delegate to another generator until it ends, as PEP 828's `yield from subgenerator` does.

    Awaited in a `@delegating` generator, or in a coroutine that it awaits. Until the subgenerator ends, its items are
    the generator's, and whatever is sent into the generator or thrown into it reaches the subgenerator. Closing the
    generator closes the subgenerator first. Cancellation arrives where the subgenerator waits.

    Args:
        subgenerator: an async generator, native, delegating or of a class; any other async iterable is iterated.

    Returns:
        The return value of the subgenerator; None if it has none.

    Raises:
        DelegationError: it is not awaited in a `@delegating` generator.
        SourceTypeError: `subgenerator` is not async-iterable.
        RuntimeError: the subgenerator is running, which includes delegating to oneself.

    >>> @delegating
    ... async def walk(tree):
    ...     for node in tree:
    ...         if isinstance(node, list):
    ...             await yield_from(walk(node))
    ...         else:
    ...             yield node
    >>> from asyncgen_tools import drive
    >>> list(drive(walk([1, [2, [3]]])))
    [1, 2, 3]
    """
    return _Delegation(subgenerator)


async def set_return_value(value: object, /) -> None:
    """Set the return value of a `@delegating` generator; follow it by a bare `return`.

    It only takes note. The value is the generator's when its body ends normally, so `finally` blocks and `async with`
    see a normal exit, and no `except` can catch it. Of several values the last one counts.

    Raises:
        DelegationError: it is not awaited in a `@delegating` generator.

    >>> @delegating(returns=int)
    ... async def numbers():
    ...     yield 1
    ...     await set_return_value(2)
    >>> async def main():
    ...     generator = numbers()
    ...     print([item async for item in generator], generator.return_value)
    >>> import asyncio; asyncio.run(main())
    [1] 2
    """
    level = enclosing_level()
    if level is None:
        level = _answer(await _ask())
    if isinstance(level, str):
        raise DelegationError(_why_not_here("set_return_value", level))
    level.recorded = value


@types.coroutine
def _ask() -> Generator[Any, Any, Any]:
    """Let the step that reaches this body say which level it is."""
    return (yield _ASKED_ITEM)


def _answer(value: object) -> Level | str:
    """What was sent in answer: the level; anything else comes from who steps a bare body, and knows of no levels."""
    return value if isinstance(value, Level) else "the bare body of a delegating generator"


@final
class _Delegation:
    """What `yield_from` gives to `await`: it tells the generator of its subgenerator, then suspends it like `yield`."""

    __slots__ = ("begun", "subgenerator")

    def __init__(self, subgenerator: Any) -> None:
        self.begun = False
        self.subgenerator = subgenerator

    def __await__(self) -> Generator[Any, Any, Any]:
        if self.begun:
            raise RuntimeError("cannot reuse already awaited yield_from()")
        return cast("Generator[Any, Any, Any]", self)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self.begun:
            return self.send(None)
        self.begun = True
        level = enclosing_level()
        return _ASKED_ITEM if level is None else self._hand_over(level)

    def _hand_over(self, level: Level | str) -> Any:
        """Tell the generator of its subgenerator, and hand out the sign of it."""
        subgenerator, self.subgenerator = self.subgenerator, _LINKED
        if isinstance(level, str):
            close_refused(subgenerator)
            raise DelegationError(_why_not_here("yield_from", level))
        iterator = _iterator_of(subgenerator)
        innermost: object = iterator
        while isinstance(innermost, Level) and isinstance(innermost.sub, Level):
            innermost = innermost.sub
        if isinstance(innermost, Level) and innermost.busy:
            raise already_running("anext")
        level.pending = iterator
        return _DELEGATED_ITEM

    def send(self, value: object, /) -> Any:
        """Begin; the second time, end with the result or with an exception; in between, if asked, take the level."""
        if not self.begun:
            return next(self)
        if self.subgenerator is not _LINKED:
            return self._hand_over(_answer(value))
        if type(value) is not RaiseAtDelegation:
            raise StopIteration(value)
        error = value.taken()
        if isinstance(error, StopIteration):
            # raised here, it would be taken for the result (PEP 479)
            raise RuntimeError("generator raised StopIteration") from error  # noqa: TRY004  # as PEP 479 says
        context = error.__context__
        try:
            raise error
        finally:
            error.__context__ = context  # which `raise` extends by whatever is being handled further out (B11)
            del error, context

    def close(self) -> None:
        """Nothing is held that must be closed: the generator that delegates closes the subgenerator."""
        self.begun = True

    def __del__(self) -> None:
        if not self.begun:
            warnings.warn("coroutine 'yield_from' was never awaited", RuntimeWarning, stacklevel=2, source=self)


def _iterator_of(subgenerator: object) -> AsyncIterator[Any]:
    """`aiter(subgenerator)`, with a better word for what is handed over by mistake."""
    if hasattr(type(subgenerator), "__aiter__"):
        return aiter(cast("AsyncIterable[Any]", subgenerator))
    what = f"yield_from() was given {subgenerator!r}, which is not async-iterable, so there is nothing to delegate to."
    if inspect.iscoroutine(subgenerator):
        close_refused(subgenerator)
        what += " It is a coroutine: await it if it gives an async iterable; an async generator function has a `yield`."
    elif inspect.isfunction(subgenerator) or inspect.ismethod(subgenerator):
        what += " Call the function, and hand over the async generator that it gives."
    elif hasattr(type(subgenerator), "__iter__"):
        wrapper = "AsAsyncGenerator" if inspect.isgenerator(subgenerator) else "AsAsyncIterator"
        what += (
            f" It is a sync iterable: write yield_from({wrapper}(...)). AsAsyncIterator takes any sync iterable; "
            "AsAsyncGenerator a sync generator, to which it also hands on what is sent, thrown and closed."
        )
    raise SourceTypeError(what)


def _why_not_here(name: str, place: str) -> str:
    return (
        f"{name}() was awaited in {place}, so no delegating generator can take notice of it. Await it in the body of "
        "an async generator function decorated with @delegating, or in a coroutine which that body awaits."
    )


def _why_not_delegating(function: object) -> str:
    what = (
        f"@delegating was put on {function!r}, which is not an async generator function: there is nothing to delegate."
    )
    if inspect.iscoroutinefunction(function):
        what += " It is a coroutine function: a body without a `yield` needs one, if only after a final `return`."
    elif inspect.isgeneratorfunction(function):
        what += " It is a sync generator function: write `async def`, or use `yield from`."
    elif hasattr(function, "__anext__"):
        what += " It is an async generator: decorate the function that makes it."
    else:
        what += " Put it next to an `async def` that contains `yield`, below other decorators."
    return what


class AsAsyncIterator(Generic[YieldT]):
    """PEP 828's recipe for delegating to a sync iterable: an async iterator over its items, which never waits.

    Args:
        wrapped: any sync iterable; its iterator is made at once. The return value of a generator is handed on.

    >>> @delegating
    ... async def numbers():
    ...     await yield_from(AsAsyncIterator([1, 2, 3]))
    ...     return
    ...     yield
    >>> from asyncgen_tools import drive
    >>> list(drive(numbers()))
    [1, 2, 3]
    """

    def __init__(self, wrapped: Iterable[YieldT], /) -> None:
        self._wrapped: Any = iter(wrapped)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> YieldT:
        try:
            item: YieldT = self._wrapped.__next__()
        except StopIteration as stop:
            raise _ended(stop) from stop
        return item


class AsAsyncGenerator(AsAsyncIterator[YieldT], Generic[YieldT, SendT, ReturnT]):
    """PEP 828's recipe for delegating to a sync generator: values, exceptions and closing reach it too.

    Args:
        wrapped: a sync generator. `aclose()` closes it.

    StopAsyncIteration that comes out of it, raised or thrown in, ends the delegation; its argument is the result.

    >>> def echo():
    ...     received = yield "ready"
    ...     yield received
    >>> @delegating
    ... async def echoing():
    ...     await yield_from(AsAsyncGenerator(echo()))
    ...     return
    ...     yield
    >>> from asyncgen_tools import drive
    >>> with drive(echoing()) as generator:
    ...     print(next(generator), generator.send("sent"))
    ready sent
    """

    def __init__(self, wrapped: Generator[YieldT, SendT, ReturnT], /) -> None:
        super().__init__(wrapped)

    async def asend(self, value: SendT, /) -> YieldT:
        """Send a value into the generator."""
        try:
            item: YieldT = self._wrapped.send(value)
        except StopIteration as stop:
            raise _ended(stop) from stop
        return item

    async def athrow(self, exc: BaseException | type[BaseException], /) -> YieldT:
        """Throw an exception into the generator."""
        try:
            item: YieldT = self._wrapped.throw(exc)
        except StopIteration as stop:
            raise _ended(stop) from stop
        return item

    async def aclose(self) -> None:
        """Close the generator."""
        self._wrapped.close()


def _ended(stop: StopIteration) -> StopAsyncIteration:
    end = StopAsyncIteration(stop.value)
    end.value = stop.value  # type: ignore[attr-defined, unused-ignore]  # typeshed has it with PEP 828 (3.16)
    return end
