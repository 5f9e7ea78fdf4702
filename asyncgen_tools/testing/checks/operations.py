"""Checks of the operations themselves: `protocol`, `reentrancy`, `wrong-task`.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import asyncio
from functools import partial
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any, Final

from asyncgen_tools.steps import Outcome, Raised, Returned, Yielded
from asyncgen_tools.testing.checks.trial import NotApplicable, Taken, request
from asyncgen_tools.testing.harness.base import ThrownError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncgen_tools.testing.checks.trial import Trial

__all__ = ("check_protocol", "check_reentrancy", "check_wrong_task")

AGAIN: Final = 3  # how often the same is done undisturbed before a difference counts
COPIED: Final = "raised another object than the one thrown in"


def check_protocol(trial: Trial) -> None:
    """The operations mean what they mean for a native async generator, as far as there are any."""
    methods = trial.subject.methods
    trial.run(partial(iterates_itself, trial))
    if "asend" in methods:
        trial.run(partial(send_before_start, trial))
    if "athrow" in methods:
        trial.run(partial(throw_before_start, trial))
        trial.run(partial(throw_class_and_instance, trial))
    if "aclose" in methods:
        trial.run(partial(close_before_start, trial))
    for operation in ("anext", *sorted(methods & {"asend", "aclose"})):
        trial.run(partial(reuse_awaitable, trial, operation))


def must_be_alike(trial: Trial, runs: Sequence[Sequence[object]]) -> None:
    """Refuse a factory whose generators differ, where one seems to have been disturbed.

    Raises:
        UncheckableError: the same steps came out otherwise when nothing disturbed them.
    """
    first = runs[0]
    for run in runs[1:]:
        differing = [number for number, (one, other) in enumerate(zip(first, run, strict=True), 1) if one != other]
        if differing:
            trial.label = f"step {differing[0]}"
            raise trial.unlike("came out otherwise than")


async def iterates_itself(trial: Trial) -> None:
    """`aiter` of an async iterator is that iterator."""
    source = trial.new()
    trial.label = "aiter()"
    if aiter(source) is not source:
        trial.fail("gave another object, though it has an __anext__ of its own")
    await trial.finish(source)


async def send_before_start(trial: Trial) -> None:
    """A value cannot be sent to a generator that has not begun, since no `yield` waits for it."""
    source = trial.new()
    taken = await trial.step(source, "asend", 1)
    refused = isinstance(taken.outcome, Raised) and isinstance(taken.outcome.error, TypeError)
    await trial.finish(source)
    if not refused:
        trial.fail(f"before the first step {came_of(taken)}, instead of raising TypeError")


async def throw_before_start(trial: Trial) -> None:
    """An error thrown into a generator that has not begun comes straight back, and the generator has ended."""
    source, error = trial.new(), ThrownError()
    taken = await trial.step(source, "athrow", error)
    if not isinstance(taken.outcome, Raised) or taken.outcome.error is not error:
        await trial.finish(source)
        came = COPIED if is_copy(taken.outcome, error) else f"{came_of(taken)}, instead of raising that error"
        trial.fail(f"before the first step {came}")
    await must_have_ended(trial, source, "athrow() before the first step")


async def close_before_start(trial: Trial) -> None:
    """A generator that is closed before it has begun runs none of its body, and has ended."""
    source = trial.new()
    taken = await trial.step(source, "aclose")
    if isinstance(taken.outcome, Raised):
        trial.fail(f"before the first step {came_of(taken)}", trial.raised_at(taken.outcome.error))
    if trial.subject.is_generator:
        await must_have_ended(trial, source, "aclose() before the first step")


async def must_have_ended(trial: Trial, source: Any, after: str) -> None:
    """Fail if a generator goes on."""
    taken = await trial.step(source)
    if not isinstance(taken.outcome, Returned):
        place = trial.place_of(source)
        await trial.finish(source)
        trial.fail(f"after {after} {came_of(taken)}, instead of raising StopAsyncIteration", place)


async def throw_class_and_instance(trial: Trial) -> None:
    """It makes no difference whether an exception or its class is thrown, and an exception stays the same object."""
    source, error = trial.new(), ThrownError()
    await trial.reach(source, 1)
    by_instance = await trial.step(source, "athrow", error)
    if isinstance(by_instance.outcome, Raised) and is_copy(by_instance.outcome, error):
        trial.fail(COPIED, trial.raised_at(by_instance.outcome.error))
    await trial.finish(source)
    source = trial.new()
    await trial.reach(source, 1)
    by_class = await trial.step(source, "athrow", ThrownError)
    await trial.finish(source)
    if kind_of(by_class.outcome) is not kind_of(by_instance.outcome):
        trial.fail(f"{came_of(by_class)}; with an instance it {came_of(by_instance)}")


async def reuse_awaitable(trial: Trial, operation: str) -> None:
    """What an operation gives can be awaited once."""
    source = trial.new()
    if isinstance(source, AsyncGeneratorType):
        await trial.finish(source)
        return  # Python's own, which before 3.13 may be awaited again after an error was thrown in
    if operation != "anext":
        await trial.advance(source, 1)
    awaitable = request(source, operation)
    if isinstance(awaitable, asyncio.Future):
        await trial.finish(source)
        return  # may be awaited as often as one likes, and takes no step
    trial.label = f"the awaitable of {operation}"
    first = await trial.awaited(awaitable)
    again = await trial.awaited(awaitable)
    place = trial.place_of(source)
    await trial.finish(source)
    if not isinstance(again, Raised) and not isinstance(first, Raised):
        trial.fail("could be awaited twice", place)


def is_copy(outcome: Outcome, error: BaseException) -> bool:
    """Whether an error that was thrown in came out as another object."""
    return isinstance(outcome, Raised) and type(outcome.error) is type(error) and outcome.error is not error


def kind_of(outcome: Outcome) -> object:
    """What makes two outcomes equal enough: their kind, or the class of the error."""
    return type(outcome.error) if isinstance(outcome, Raised) else type(outcome)


def came_of(taken: Taken) -> str:
    """What came of a step, for a report."""
    match taken.outcome:
        case Yielded(value):
            return f"yielded {value!r}"
        case Returned():
            return "returned"
        case Raised(error):  # pragma: no branch  # there are no more
            return f"raised {error!r}"


def check_reentrancy(trial: Trial) -> None:
    """A second operation while one is running raises, and does not disturb the first."""
    if not trial.subject.is_generator:
        raise NotApplicable("it is no async generator, so that operations may overlap")
    names = ["anext"] * (trial.subject.yields + trial.subject.ended) + ["aclose"]
    undisturbed = trial.run(partial(steps, trial, names))
    intruded: set[str] = set()  # operations during which there was an intruder; one step of each is enough
    for number, name in enumerate(names):
        if name not in intruded:
            for operation in ("anext", "asend", "athrow", "aclose"):
                intruder = Intruder(operation)
                disturbed = trial.run(partial(steps, trial, names, number, intruder))
                if intruder.outcome is None:
                    break  # the step does not suspend
                intruded.add(name)
                if disturbed != undisturbed:
                    again = [trial.run(partial(steps, trial, names)) for _ in range(AGAIN)]
                    must_be_alike(trial, [undisturbed, *again])
                    trial.label = f"{operation} during step {number + 1} ({name})"
                    trial.fail("disturbed that step", intruder.place)
    if not intruded:
        raise NotApplicable("none of its steps suspends")


async def steps(
    trial: Trial, names: list[str], number: int | None = None, intruder: Intruder | None = None
) -> list[object]:
    """Take some steps, with an intruder in one of them; what came of each."""
    source = trial.new()
    results: list[object] = []
    for index, name in enumerate(names):
        if index == number and intruder is not None:
            taken = await trial.step(source, name, at=0, action=partial(intruder.intrude, trial, source))
            if intruder.outcome is not None and not intruder.refused:
                await trial.finish(source)
                trial.label = f"{intruder.operation} during step {index + 1} ({name})"
                trial.fail(f"{intruder.outcome}, instead of raising RuntimeError", intruder.place)
        else:
            taken = await trial.step(source, name)
        results.append(kind_of(taken.outcome))
    await trial.finish(source)
    return results


class Intruder:
    """An operation that is begun while another runs.

    Args:
        operation: "anext", "asend", "athrow" or "aclose".
    """

    def __init__(self, operation: str) -> None:
        self.operation: str = operation
        self.outcome: str | None = None  # what came of it, once it was begun
        self.refused: bool = False
        self.place: Any = None

    def intrude(self, trial: Trial, source: Any) -> None:
        """Begin the operation, and see it refused; else leave it at once."""
        self.place = trial.standing()
        try:
            iterator = request(source, self.operation).__await__()
            next(iterator)
        except StopIteration as stop:
            self.outcome = f"gave {stop.value!r}"
        except StopAsyncIteration:
            self.outcome = "ended the generator"
        except Exception as exc:
            self.outcome = f"raised {exc!r}"
            self.refused = True
        else:
            self.outcome = "was let in"
            iterator.close()


def check_wrong_task(trial: Trial) -> None:
    """Each step, and the close, may come from another task."""
    if trial.subject.backend.name == "bare":
        raise NotApplicable("bare has no tasks")
    for operation in ("anext", *sorted(trial.subject.methods & {"aclose"})):
        trial.run(partial(from_other_tasks, trial, operation))


async def from_other_tasks(trial: Trial, operation: str) -> None:
    """Take steps of one kind in other tasks, and fail if one raises that does not else."""
    expected = await trial.kinds(trial.new())
    source = trial.new()
    for index, kind in enumerate(expected):
        closing = index == len(expected) - 1 and "aclose" in trial.subject.methods
        name = "aclose" if closing else "anext"
        taken = await trial.step(source, name, elsewhere=name == operation)
        if type(taken.outcome) is not kind:
            label = trial.label
            must_be_alike(trial, [expected, *[await trial.kinds(trial.new()) for _ in range(AGAIN)]])
            trial.label = label
            error = taken.outcome.error if isinstance(taken.outcome, Raised) else None
            await trial.finish(source)
            trial.fail(f"in another task {came_of(taken)}", None if error is None else trial.raised_at(error))
