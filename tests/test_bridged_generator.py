from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from asyncgen_tools.bridged_generator import BridgedGenerator
from asyncgen_tools.errors import NotReturnedError
from asyncgen_tools.steps import CLOSE, NEXT, Operation, Outcome, Raised, Returned, Step, Yielded
from tests.ways import ProbeError, caught, without_collector

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Script:
    """An engine that notes the steps and gives the outcomes it was told to."""

    name = "module.script"
    source: object = None

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.taken: list[Step] = []

    async def take(self, steps: list[Step], /) -> Outcome:
        """The next outcome."""
        self.taken.append(steps.pop())
        return self.outcomes.pop(0)


def run(step: Callable[[], Awaitable[Any]]) -> Any:
    """The result of an async function that waits for nothing."""
    coroutine: Any = step()
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits for something")


def test_methods_are_steps() -> None:
    """Each method is one step of the engine, and gives what came of it."""
    error = ProbeError()
    engine = Script(*[Yielded(n) for n in range(4)], Returned())
    generator: BridgedGenerator[int, Any, Any] = BridgedGenerator(engine)
    assert isinstance(generator, AsyncGenerator)
    assert run(generator.__anext__) == 0
    assert run(lambda: generator.asend(0)) == 1
    assert run(lambda: generator.asend(None)) == 2
    assert run(lambda: generator.athrow(error)) == 3
    assert run(generator.aclose) is None
    assert engine.taken == [NEXT, Step(Operation.SEND, 0), NEXT, Step(Operation.THROW, error), CLOSE]


def test_return_values() -> None:
    """A return value is the value of StopAsyncIteration; None gives an empty one; the first is kept."""
    value = ("a", "tuple")
    generator: BridgedGenerator[int, Any, Any] = BridgedGenerator(Script(Returned(value), Returned(), Returned()))
    with pytest.raises(NotReturnedError, match="has not returned"):
        _ = generator.return_value
    assert caught(run, generator.__anext__).args == (value,)
    assert caught(run, generator.__anext__).args == ()
    assert run(generator.aclose) is None
    assert generator.return_value is value


def test_closing_is_no_return() -> None:
    """A generator that was closed has not returned."""
    generator: BridgedGenerator[int, Any, Any] = BridgedGenerator(Script(Returned()))
    run(generator.aclose)
    with pytest.raises(NotReturnedError):
        _ = generator.return_value


def test_errors_are_not_kept_alive() -> None:
    """An error that was raised, or thrown in, is not kept alive by frames of ours."""
    generator: BridgedGenerator[int, Any, Any] = BridgedGenerator(Script(Raised(ProbeError()), Yielded(1)))
    with without_collector():
        reference = weakref.ref(caught(run, generator.__anext__))
        assert reference() is None


@pytest.mark.parametrize("arguments", [(5,), (ProbeError, ProbeError(), 5), (ProbeError(), 1)])
def test_bad_arguments_of_throw(arguments: tuple[Any, ...]) -> None:
    """What is no exception is a TypeError, and no step."""
    engine = Script()
    generator: BridgedGenerator[int, Any, Any] = BridgedGenerator(engine)
    with (
        pytest.warns(DeprecationWarning, match="signature") if len(arguments) > 1 else nullcontext(),
        pytest.raises(TypeError),
    ):
        run(lambda: generator.athrow(*arguments))
    assert engine.taken == []


def test_names() -> None:
    """It has the source's names, and says in its repr what it is."""
    generator: BridgedGenerator[int, Any, Any] = BridgedGenerator(Script())
    assert (generator.__name__, generator.__qualname__) == ("script", "module.script")
    assert repr(generator).startswith("<BridgedGenerator of module.script at 0x")
    assert (generator.ag_running, generator.ag_frame, generator.ag_code, generator.ag_await) == (
        False,
        None,
        None,
        None,
    )
