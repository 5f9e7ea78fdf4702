"""Where a step may be taken: what each refusal is decided by.

A refusal is an error that is given and not raised: nothing has changed yet, and whoever asked decides. Which library
runs here is found without importing one.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextvars
import os
import sys
from typing import TYPE_CHECKING, Any

from asyncgen_tools.errors import ClosedError, ContextError, ForkError, RunningLoopError, WrongThreadError
from asyncgen_tools.loops.ends import this_thread
from asyncgen_tools.loops.primitives import State

if TYPE_CHECKING:
    from contextvars import Context

    from asyncgen_tools.loops.primitives import LoopPrimitives

__all__ = ("closed_error", "context_error", "is_entered", "loaded", "refusal_of", "running_library")


def refusal_of(loop: LoopPrimitives) -> Exception | None:
    """Why nothing can be done with this loop here and now, or None."""
    if loop.process != os.getpid():
        return ForkError(
            f"This generator or runner was made in process {loop.process} and is used in its forked child "
            f"{os.getpid()}: its event loop belongs to the parent. Make a new one after the fork."
        )
    if loop.state is State.CLOSED or loop.state is State.DISOWNED:  # a set would be built each time
        return closed_error()
    if loop.thread is not None and loop.thread() is not this_thread.own:
        return WrongThreadError(
            "This generator or runner belongs to another thread: its event loop runs only in the thread that used "
            "it first. Make one in each thread with drive() or Runner(), or share a Portal."
        )
    if loop.blocks and (library := running_library()) is not None:
        return RunningLoopError(
            f"An event loop of {library} is running in this thread: a step would have to wait for another loop "
            "inside of it, and block it. In async code write `async for` over the async generator itself; from "
            "synchronous code that is called there use a Portal, which runs its loop in another thread."
        )
    return None


def closed_error() -> ClosedError:
    """The error of using a loop after its end."""
    return ClosedError("The runner is closed, and its event loop with it. Make a new Runner.")


def context_error() -> ContextError:
    """The error of a step in a context that is in use."""
    return ContextError(
        "The context given as context= is in use by the caller, and a context cannot be entered twice. Take the step "
        "outside of context.run(), or give drive() a copy: context.copy()."
    )


def is_entered(context: Context) -> bool:
    """Whether the context is in use by the caller, so that no step can run in it."""
    try:
        context.run(int)
    except RuntimeError:
        return True
    return False


def callers_context() -> Context:
    """A copy of the caller's context, without anyio's note of the library whose loop runs there."""
    context = contextvars.copy_context()
    library = loaded("sniffio", "current_async_library_cvar")
    if library is not None and library in context:
        context.run(library.set, None)
    return context


def running_library() -> str | None:
    """The library whose event loop runs in this thread, found without importing any."""
    get_running_loop = loaded("asyncio.events", "_get_running_loop")
    if get_running_loop is not None and get_running_loop() is not None:
        return "asyncio"
    lowlevel = loaded("trio", "lowlevel")
    return "trio" if lowlevel is not None and lowlevel.in_trio_run() else None


def loaded(module: str, name: str) -> Any:
    """What a module has by a name; None if it is not imported, or just now by another thread, and so in use nowhere."""
    return getattr(sys.modules.get(module), name, None)
