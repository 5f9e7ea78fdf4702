"""Random use of a generator and its awaitables gives the same trace directly and through a pure delegator."""

from __future__ import annotations

import sys
import types
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings, strategies as st

from tests.cpython_suite import delegate_to
from tests.delegation_helpers import ignoring_unraisable, seen
from tests.test_strategies import QUIET

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator

THOROUGH = settings(QUIET, max_examples=200)


@pytest.fixture(autouse=True, scope="module")
def _ignored_exits() -> Iterator[None]:
    """Programs may ignore GeneratorExit when they are dropped, too."""
    with ignoring_unraisable():
        yield


@types.coroutine
def tick(message: object) -> Generator[object, object, object]:
    """Suspend as an event loop's futures do."""
    return (yield message)


def make(log: list[Any], shape: int) -> AsyncGenerator[Any, Any]:
    """A native generator of one of several shapes, which logs what reaches it."""

    async def plain() -> AsyncGenerator[Any, Any]:
        log.append((yield 1))
        log.append(await tick("a"))
        log.append((yield 2))

    async def careful() -> AsyncGenerator[Any, Any]:
        try:
            log.append((yield 1))
            log.append(await tick("a"))
        except ValueError as error:
            log.append(seen(error))
            yield "caught"
        finally:
            log.append(await tick("b"))
            log.append("cleaned up")
        yield 3

    async def stubborn() -> AsyncGenerator[Any, Any]:
        for i in range(4):
            try:
                log.append((yield i))
            except Exception as error:  # GeneratorExit would go to aclose() when delegated (B7), and be an error there
                log.append(seen(error))

    async def empty() -> AsyncGenerator[Any, Any]:
        log.append(await tick("c"))
        if not log:
            yield

    return (plain, careful, stubborn, empty)[shape]()


def usage(generator: AsyncGenerator[Any, Any], uses: list[tuple[str, Any]]) -> list[Any]:
    """What comes of a list of uses: each begins an awaitable, or goes on with the one before."""
    found: list[Any] = []
    errors = {"KeyError": KeyError, "ValueError": ValueError, "GeneratorExit": GeneratorExit}
    awaitable: Any = None
    begun: list[Any] = []
    kind = ""
    for use, argument in uses:
        fresh = awaitable is not None and awaitable not in begun
        if use == "throw" and sys.version_info < (3, 13) and (fresh or kind in {"athrow", "aclose"}):
            continue  # until then CPython threw into running generators too, and left them running
        if use not in {"send", "throw", "close"}:
            kind = use
        else:
            begun.append(awaitable)  # CPython leaves a generator running whose awaitable is dropped; we close it
        try:
            match use:
                case "anext":
                    awaitable = generator.__anext__()
                case "asend":
                    awaitable = generator.asend(argument)
                case "athrow":
                    awaitable = generator.athrow(errors[argument]("thrown"))
                case "aclose":
                    awaitable = generator.aclose()
                case "send" if awaitable is not None:
                    found.append(("suspended", awaitable.send(argument)))
                case "throw" if awaitable is not None:
                    found.append(("suspended", awaitable.throw(errors[argument]("thrown"))))
                case "close" if awaitable is not None:
                    awaitable.close()
                    found.append("closed")
                case _:
                    pass
        except StopIteration as stop:
            found.append(("gave", stop.value))
        except StopAsyncIteration as stop:
            found.append(("returned", stop.args))
        except BaseException as error:
            found.append(("raised", seen(error)))
        if begun and begun[-1] is awaitable and found[-1][0] != "suspended":
            # what comes of using it again depends on CPython's version; test_delegating_generator.py has the sure cases
            awaitable = None
        found.append(("ended",) if generator.ag_frame is None else ("running", generator.ag_running))  # type: ignore[attr-defined]
    return found


AWAITABLES = st.one_of(
    st.tuples(st.just("anext"), st.none()),
    st.tuples(st.just("asend"), st.integers(0, 3)),
    st.tuples(st.just("athrow"), st.sampled_from(("KeyError", "ValueError", "GeneratorExit"))),
    st.tuples(st.just("aclose"), st.none()),
)
DRIVES = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.none()),
        st.tuples(st.just("send"), st.none()),
        st.tuples(st.just("send"), st.integers(0, 3)),
        st.tuples(st.just("throw"), st.sampled_from(("KeyError", "ValueError"))),
        st.tuples(st.just("close"), st.none()),
    ),
    max_size=4,
)
USES = st.lists(st.tuples(AWAITABLES, DRIVES), min_size=1, max_size=5).map(
    lambda groups: [use for first, rest in groups for use in (first, *rest)]
)


@given(shape=st.integers(0, 3), uses=USES)
@THOROUGH
def test_transparent(shape: int, uses: list[tuple[str, Any]]) -> None:
    """B21: whatever is done with a native generator and its awaitables, a pure delegator in front changes nothing."""
    direct_log: list[Any] = []
    through_log: list[Any] = []
    direct = make(direct_log, shape)
    through = delegate_to(make(through_log, shape))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is begun and never awaited
        assert usage(through, uses) == usage(direct, uses)
        assert through_log == direct_log
