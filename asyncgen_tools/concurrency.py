"""concurrent_map: a function called for the items of a source, a few at a time, and the results as an async iterator.

Here is what users see: the checks, the block and its results. `crew.py` has the tasks of the block, `calls.py` how
one call is made. Both need anyio, and are loaded when a block is entered.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar, final, overload

from asyncgen_tools.arguments import check_source, checked_count, close_refused, copy_error, describe
from asyncgen_tools.errors import FunctionTypeError, NotEnteredError, ReusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable
    from concurrent.futures import Executor
    from types import TracebackType
    from typing import Never

    from asyncgen_tools.crew import Crew

__all__ = ("Results", "concurrent_map")

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@overload
def concurrent_map(
    function: Callable[[ItemT], Awaitable[ResultT]],
    source: AsyncIterable[ItemT] | Iterable[ItemT],
    /,
    *,
    limit: int,
    executor: None = None,
    ordered: bool = True,
) -> AbstractAsyncContextManager[Results[ResultT], None]: ...
@overload
def concurrent_map(
    function: Callable[[ItemT], ResultT],
    source: AsyncIterable[ItemT] | Iterable[ItemT],
    /,
    *,
    limit: int,
    executor: Executor,
    ordered: bool = True,
) -> AbstractAsyncContextManager[Results[ResultT], None]: ...
def concurrent_map(
    function: Callable[[Any], Any],
    source: AsyncIterable[Any] | Iterable[Any],
    /,
    *,
    limit: int,
    executor: Executor | None = None,
    ordered: bool = True,
) -> AbstractAsyncContextManager[Results[Any], None]:
    """Give a block in which a function is called for each item of a source, up to `limit` calls at a time.

    As in `async with concurrent_map(fetch, urls, limit=8) as results: async for page in results: ...`, on asyncio,
    uvloop and trio. Calls begin when the block is entered. When it is left, in whichever way, calls that still run are
    cancelled and awaited, the source is closed, and no task is left.

    The first error of the function or the source cancels the other calls and closes the source. The `async for` gives
    the results that were due before it, and then raises that error, as it is and in no group, once everything has
    ended. The body of the block is not cancelled. An error that the loop does not come to is raised at the end of the
    block, unless the body raises one itself; further errors, of calls and cleanups that were ending, are noted on the
    one that is raised.

    Args:
        function: called with one item. It is async, or anything that returns an awaitable; with `executor`, it is not.
        source: an async or sync iterable. It is stepped in one task, whose scopes may be held over its yields, and is
            closed there: an async one by its `aclose()`, if it has one; a sync one by `close()`, if it is a generator.
            Never more than `limit` items are taken from it that have not come out as results. A sync source that blocks
            blocks the event loop: wrap it with `in_thread`.
        limit: how many items may be on their way, at least 1: calls in flight and results waiting together.
        executor: any `concurrent.futures.Executor` to call a sync function on. It stays open. A call that cannot be
            cancelled any more is waited for when the block is left.
        ordered: whether results come in the order of their items, or as they are completed.

    Returns:
        An async context manager that gives the results, an async iterator with `aclose()`.

    Each call runs in its own copy of the context of the task that entered the block, except on executors that are no
    ThreadPoolExecutor: a context cannot be pickled.

    Calls, and a source in the middle of a step, are cancelled where they wait, be the block left early, cancelled from
    outside, or something failed: what their cleanup must await, they shield. A source that stands at a `yield` then is
    only closed, and its cleanup may await. A cancelled scope around the block cancels that, too.

    Calls and source belong to the block: a shield in its body does not reach them. A loop that is shielded there, or in
    a task elsewhere, gets the results that are due, and then StepCancelledError unless the source and all calls had
    ended; the end of the block lets the cancellation pass instead of it. To have all results, shield the block. A
    source that swallows its cancellation, and ends as if it were at its end, hides that there would have been more.

    Raises:
        FunctionTypeError: the function is async and there is an executor, or it cannot be called (TypeError). One that
            turns out not to be async when it is called raises it from the `async for`.
        SourceTypeError: the source is not iterable in either way (TypeError).
        ArgumentTypeError: the limit is no whole number (TypeError).
        ArgumentValueError: the limit is less than 1 (ValueError).

    >>> import asyncio
    >>> async def double(number):
    ...     return 2 * number
    >>> async def main():
    ...     async with concurrent_map(double, range(4), limit=2) as results:
    ...         print([number async for number in results])
    >>> asyncio.run(main())
    [0, 2, 4, 6]
    """
    check_function(function, executor)
    check_source(source, user="concurrent_map", sync=True)
    limit = checked_count("limit", limit, least=1, otherwise="lets no call be made")
    return Block(function, source, limit=limit, executor=executor, ordered=ordered)


@final
class Results(AsyncIterator[ResultT]):
    """The results of a `concurrent_map`: an async iterator with `aclose()`.

    Several tasks may take results at the same time, each result goes to one of them. Cancelling a task that waits for a
    result loses none. At least once in `limit` results the taking waits, and so gives way to other tasks.
    """

    __slots__ = ("_crew",)

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def __reduce_ex__(self, _protocol: object, /) -> Never:
        raise copy_error(self, "its calls are made once. Several tasks may take results from this one.")

    def __aiter__(self) -> Results[ResultT]:
        return self

    def __anext__(self) -> Coroutine[Any, Any, ResultT]:
        return self._crew.take()

    async def aclose(self) -> None:
        """Cancel the calls and close the source now, and wait for their end; may be repeated.

        Raises:
            BaseException: what a call or the source raised and was not given out yet.
        """
        await self._crew.close()


@final
class Block(AbstractAsyncContextManager[Results[Any], None]):
    """The block of a `concurrent_map`: its tasks live from its beginning to its end."""

    def __init__(
        self, function: Callable[[Any], Any], source: Any, *, limit: int, executor: Executor | None, ordered: bool
    ) -> None:
        self._arguments = (function, source, limit, executor, ordered)
        self._crew: Crew | None = None

    def __reduce_ex__(self, _protocol: object, /) -> Never:
        raise copy_error(self, "its source can be used up only once. Call concurrent_map() again for another block.")

    async def __aenter__(self) -> Results[Any]:
        if self._crew is not None:
            raise ReusedError(
                "This concurrent_map() was entered before, and its source can be used up only once. Call "
                "concurrent_map() again for another block."
            )
        from asyncgen_tools.calls import awaited_calls, submitted_calls
        from asyncgen_tools.crew import Crew

        function, source, limit, executor, ordered = self._arguments
        call = awaited_calls(function) if executor is None else submitted_calls(function, executor)
        self._crew = Crew(call, source, limit=limit, ordered=ordered)
        await self._crew.begin()
        return Results(self._crew)

    def __aiter__(self) -> Never:
        raise NotEnteredError(
            "concurrent_map() is an async context manager, not an iterator, because its calls end with a block. Write "
            "`async with concurrent_map(...) as results:`, and in it `async for result in results:`."
        )

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        assert self._crew is not None
        await self._crew.leave(exc)


def check_function(function: Any, executor: Any) -> None:
    """Refuse at once what can be seen to be no function for `concurrent_map`, and what is no executor.

    Raises:
        FunctionTypeError: says what was given and what to write instead.
    """
    if inspect.iscoroutine(function):
        close_refused(function)
        raise FunctionTypeError(
            f"concurrent_map() takes a function to call for each item, not {describe(function)}, which is one call of "
            f"it. Write concurrent_map({function.__name__}, source, limit=...)."
        )
    if not callable(function):
        raise FunctionTypeError(
            f"concurrent_map() takes a function to call for each item, not {describe(function)}, which cannot be "
            "called. The function comes first, then the source."
        )
    if executor is not None and not hasattr(executor, "submit"):
        raise FunctionTypeError(
            f"executor={describe(executor)} has no submit() method, by which an executor takes calls. Give a "
            "concurrent.futures.Executor, such as ThreadPoolExecutor(), or None for an async function."
        )
    plain = unwrapped(function)
    if inspect.isasyncgenfunction(plain) or inspect.isgeneratorfunction(plain):
        raise FunctionTypeError(
            f"{describe(function)} is a generator function: a call of it gives a generator, and no result. Write a "
            "function that returns one result for one item."
        )
    if executor is not None and inspect.iscoroutinefunction(plain):
        raise FunctionTypeError(
            f"{describe(function)} is an async function, and an executor calls in a thread or process where no event "
            "loop runs. Leave executor= out, or give a function that is not async."
        )


def unwrapped(function: Any) -> Any:
    """The function behind partials, and behind an object that is called through its class."""
    while isinstance(function, functools.partial):
        function = function.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # of any type
    if inspect.isroutine(function) or isinstance(function, type):
        return function
    return type(function).__call__  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
