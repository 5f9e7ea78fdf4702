"""How `concurrent_map` makes one call: awaited in a context of its own, or handed to an executor.

Either way a call sees the context variables of the task that entered the block, and what it sets is seen by no other
call. A call is cancelled by cancelling the task that awaits it; nothing here starts a task or decides when to stop.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import inspect
import types
from concurrent import futures
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from anyio import CancelScope, Event

from asyncgen_tools.arguments import close_refused, describe
from asyncgen_tools.errors import FunctionTypeError
from asyncgen_tools.loops.admission import callers_context, loaded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator
    from contextvars import Context

__all__ = ("awaited_calls", "in_context", "submitted_calls")


def awaited_calls(function: Callable[[Any], Awaitable[Any]]) -> Callable[[Any], Awaitable[Any]]:
    """What calls an async function, each time in a fresh copy of the context that is the current one now."""
    context = copy_context()

    def call(item: Any) -> Awaitable[Any]:
        return in_context(context.copy(), awaited(function, item))

    return call


async def awaited(function: Callable[[Any], Awaitable[Any]], item: Any) -> Any:
    """Call and await, with an error of our own for a function that is not async."""
    awaitable: Any = function(item)
    if not is_awaitable(awaitable):
        raise FunctionTypeError(
            f"{describe(function)} is not async: it returned {describe(awaitable)}, which cannot be awaited. Make it "
            "an async function, or give executor=ThreadPoolExecutor() or another executor to call it on."
        )
    return await awaitable


def is_awaitable(value: object) -> bool:
    """Whether a value can be awaited; a coroutine, which most are, is recognised without the slow question."""
    return type(value) is types.CoroutineType or inspect.isawaitable(value)


@types.coroutine
def in_context(context: Context, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Await a coroutine whose every step runs in the context.

    A task per call would do the same, and costs ten times as much.
    """
    step: Callable[[Any], Any] = coroutine.send
    argument: Any = None
    try:
        while True:
            try:
                message = context.run(step, argument)
            except StopIteration as stop:
                return stop.value
            try:
                argument = yield message
                step = coroutine.send
            except BaseException as exc:
                step, argument = coroutine.throw, exc
    finally:
        argument = None  # or an exception that was thrown in and this frame would keep each other alive


def submitted_calls(function: Callable[[Any], Any], executor: futures.Executor) -> Callable[[Any], Awaitable[Any]]:
    """What calls a function on an executor, and waits for the end of the call.

    Cancelled, it cancels the executor's future; where that is too late, it waits for the call, and its result or error
    is taken as if nothing had been cancelled, which is how `anyio.to_thread` does it.
    """
    context = callers_context()
    soon = waker()
    in_this_memory = shares_memory(executor)

    async def call(item: Any) -> Any:
        # A context cannot be pickled. Where it need not be, each call has its own: one context cannot be entered twice.
        future = (
            executor.submit(context.copy().run, function, item) if in_this_memory else executor.submit(function, item)
        )
        ended = Event()
        future.add_done_callback(lambda _: soon(ended.set))
        try:
            await ended.wait()
        except BaseException:
            if future.cancel():
                raise
            with CancelScope(shield=True):
                await ended.wait()
        result = future.result()
        if inspect.iscoroutine(result):
            close_refused(result)
            raise FunctionTypeError(
                f"{describe(function)} returned a coroutine, and where the executor calls it no event loop runs. Leave "
                "executor= out, or give a function that is not async."
            )
        return result

    return call


def shares_memory(executor: futures.Executor) -> bool:
    """Whether the executor's threads are threads of this interpreter, where a call needs no pickling."""
    interpreters: Any = getattr(futures, "InterpreterPoolExecutor", ())  # a ThreadPoolExecutor by inheritance
    return isinstance(executor, futures.ThreadPoolExecutor) and not isinstance(executor, interpreters)


def waker() -> Callable[[Callable[[], object]], object]:
    """What schedules a function in the event loop that runs here, and may be called in any thread."""
    lowlevel = loaded("trio", "lowlevel")
    if lowlevel is not None and lowlevel.in_trio_task():
        soon: Callable[[Callable[[], object]], object] = lowlevel.current_trio_token().run_sync_soon
        return soon
    import asyncio

    return asyncio.get_running_loop().call_soon_threadsafe
