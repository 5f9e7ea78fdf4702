"""One step of a delegating generator: from what the caller asked for to the item, return value or exception it gets.

The rules are PEP 828's (SEMANTICS.md, part B). Three generators do it, each the one frame between the caller and the
innermost generator: `step_directly` while nothing is delegated, `step_innermost` while there is, and `step` for
everything. The first two are `step` with all left out that does not happen when an item is just passed on; they hand
over to it when something else does. `Advance` then says after each event what to await next, and `run` awaits it.

Exceptions are thrown on only after the `except` block that caught them has been left, so that none gets a context from
here (B6, B8, B11). Nor does a local or an attribute keep one: its traceback holds these frames, and that were a cycle.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any, Final

from asyncgen_tools import delegation_chain
from asyncgen_tools.arguments import exception_of
from asyncgen_tools.delegation_advance import Advance, return_from
from asyncgen_tools.delegation_chain import ASKED, DELEGATED, steps_generators

if TYPE_CHECKING:
    from collections.abc import Generator

    from asyncgen_tools.delegation_chain import Chain, Level

__all__ = (
    "STRICT_AWAITABLES",
    "forget",
    "step",
    "step_directly",
    "step_innermost",
)

#: Whether CPython warns of its awaitables that are not awaited, and throws GeneratorExit by `close()` of an unused one.
STRICT_AWAITABLES: Final = sys.version_info >= (3, 13)


def forget(awaitables: list[Any]) -> None:
    """Drop native awaitables, or what holds them, that are not going to be awaited after all; empties the list."""
    if STRICT_AWAITABLES:  # pragma: no branch  # before 3.13 they are just dropped
        # their close() would throw GeneratorExit into the generator
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            awaitables.clear()
    awaitables.clear()


def _left_waiting(level: Level, error: BaseException) -> bool:
    """Whether the step was given up by `close()` while it waited; CPython leaves the generator running for good."""
    waiting = level.native if level.sub is None else level.sub
    given_up = isinstance(error, GeneratorExit) or error.args == ("coroutine ignored GeneratorExit",)
    return given_up and getattr(waiting, "ag_running", False)


@steps_generators
def run(stepping: Advance) -> Generator[Any, Any, Any]:
    """Await what `Advance` names until the step has ended; gives the item, or None at the end of an `aclose()`."""
    awaitable: Generator[Any, Any, Any] = stepping.first
    stepping.first = None
    left_waiting = False
    try:
        while True:
            try:
                item: Any = yield from awaitable
            except StopAsyncIteration as stop:
                following = stepping.stopped(stop)
                if following is None:
                    if stepping.closes:
                        return None
                    raise
            except BaseException as error:
                if _left_waiting(stepping.stepped, error):
                    left_waiting = True
                    raise
                following = stepping.failed(error)
                if following is None:
                    if stepping.closes and isinstance(error, GeneratorExit):
                        return None
                    raise
            else:
                following = stepping.handed_out(item)
                if following is None:
                    return item
            awaitable, following = following, None
    finally:
        if not left_waiting:
            stepping.stepped.stepper = None
        stepping.error = None
        del awaitable  # it holds what was thrown, whose traceback holds this frame


# --- the three generators


def step(
    root: Level, method: str, value: object, thrown: tuple[Any, ...] | None, *, by_throw: bool = False
) -> Generator[Any, Any, Any]:
    """Any step at all: `asend(value)`, or `athrow` or `aclose` of an exception that is given as for `throw()`.

    Args:
        root: the generator that is stepped.
        method: asend, athrow or aclose.
        value: what to send.
        thrown: what to throw.
        by_throw: an awaitable's own `throw()` begins this, which CPython does not refuse.
    """
    error = None if thrown is None else exception_of(*thrown)
    del thrown
    closes = method == "aclose"
    if by_throw and error is not None and root.finished:
        raise error
    if method != "asend" and not by_throw:
        if root.finished:
            return None
        if root.closed and not root.innermost.busy:
            raise StopAsyncIteration
    advance = Advance(root, closes=closes)
    advance.first = advance.start("anext" if method == "asend" else method, value, error)
    if closes and not by_throw:
        root.closed = True
    del error, value
    return (yield from run(advance))


@steps_generators
def step_directly(stepping: Level, awaitable: Generator[Any, Any, Any], value: object) -> Generator[Any, Any, Any]:
    """`asend(value)` of a generator that does not delegate; `awaitable` is its native generator's."""
    if stepping.direct is None:
        unused = [awaitable]
        del awaitable
        forget(unused)
        return (yield from step(stepping, "asend", value, None))
    try:
        item: Any = yield from awaitable
    except StopAsyncIteration as stop:
        return_from(stepping, stop)
        raise
    except BaseException:
        stepping.fail()
        raise
    if item is DELEGATED:
        stepping.delegate()
    elif item is not ASKED:
        return item
    advance = Advance(stepping)
    advance.first = advance.delegated(stepping)
    del awaitable
    return (yield from run(advance))


@steps_generators
def step_innermost(
    root: Level, chain: Chain, awaitable: Generator[Any, Any, Any], made_after: object, value: object = None
) -> Generator[Any, Any, Any]:
    """`asend(value)` of a generator that delegates; `awaitable` is the native generator's at the end of the chain.

    It was made after the change `made_after` of a link, and is right as long as none has changed since then; the chain
    may have been brought up to date meanwhile, by other steps.
    """
    stepping = chain.innermost
    if stepping is None:
        stepping = root
    if made_after is not delegation_chain.link_changes or stepping.stepper is not None:
        unused = [awaitable]
        del awaitable
        forget(unused)
        return (yield from step(root, "asend", value, None))
    stepping.stepper = root
    try:
        item: Any = yield from awaitable
    except StopAsyncIteration as stop:
        advance = Advance(root)
        advance.first = advance.stopped(stop)
    except BaseException as error:
        if _left_waiting(stepping, error):
            raise  # pragma: no cover  # before 3.13
        advance = Advance(root)
        advance.first = advance.failed(error)
    else:
        stepping.stepper = None
        if item is DELEGATED:
            stepping.delegate()
        elif item is not ASKED:
            return item
        advance = Advance(root)
        advance.first = advance.delegated(stepping)
    del awaitable
    return (yield from run(advance))
