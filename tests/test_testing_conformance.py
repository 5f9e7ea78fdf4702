"""check_async_generator: the shelves are judged rightly, reports name the line, bad input is one clear error."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import re
import sys
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import anyio
import pytest

from asyncgen_tools.errors import (
    ArgumentValueError,
    ConformanceError,
    HangError,
    MissingLibraryError,
    RunningLoopError,
    SourceTypeError,
    UncheckableError,
    UnknownBackendError,
)
from asyncgen_tools.testing import check_async_generator, conformance, get_backend
from asyncgen_tools.testing.checks import CHECKS
from asyncgen_tools.testing.conformance import CHECK_CODES, chosen_checks, examine
from asyncgen_tools.testing.harness.watchdog import Stuck, Watchdog
from tests.shelf.broken import BROKEN, Broken
from tests.shelf.good import GOOD, Good
from tests.shelf.tools import checkpoint

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from asyncgen_tools.testing import Verdict

ROWS = {
    "any": ("asyncio", "trio", "level", "uvloop", "bare"),
    "loop": ("asyncio", "trio", "level", "uvloop"),
    "asyncio": ("asyncio", "level", "uvloop"),
    "trio": ("trio",),
}
WITHOUT_BARE = {"cleanup-needs-shield", "cancel-swallowed", "wrong-task"}  # nothing is cancelled there, and no task is


def parameters(shelf: list[Broken] | list[Good]) -> Iterator[Any]:
    """Each generator of a shelf with each row that it is for."""
    for entry in shelf:
        for row in ROWS[entry.needs]:
            if isinstance(entry, Broken) and (row == "uvloop" or (row == "bare" and entry.code in WITHOUT_BARE)):
                continue  # uvloop is asyncio to these mistakes
            missing = get_backend(row).missing
            marks = () if missing is None else (pytest.mark.skip(reason=missing),)
            yield pytest.param(entry, row, id=f"{entry.id}-{row}", marks=marks)


def judged(make: Any, row: str, codes: tuple[str, ...] = CHECK_CODES) -> list[Verdict]:
    """The verdicts of all checks, the opt-in ones included."""
    return list(examine(make, backends=[get_backend(row)], codes=codes, max_yields=3, timeout=20))


@pytest.mark.parametrize("entry, row", [*parameters(BROKEN)])
def test_broken_ones_are_rejected(entry: Broken, row: str) -> None:
    """The check that is for a mistake rejects it, alone where the shelf says so, and names the user's line."""
    verdicts = judged(entry.make, row)
    errors = {verdict.code: verdict.error for verdict in verdicts if verdict.error is not None}
    assert entry.code in errors
    if entry.alone:
        assert set(errors) == {entry.code}, errors
    error = errors[entry.code]
    assert error.place is not None
    assert error.place.line in entry.lines
    assert f"{entry.code} on {row}" in str(error)
    assert f":{error.place.line} in " in str(error)
    assert error.step in str(error)


@pytest.mark.parametrize("entry, row", [*parameters(GOOD)])
def test_good_ones_pass(entry: Good, row: str) -> None:
    """No check, opt-in ones included, rejects a good generator on any backend: false alarms are bugs."""
    codes = tuple(code for code in CHECK_CODES if code not in entry.not_for)
    verdicts = judged(entry.make, row, codes)
    assert [str(verdict.error) for verdict in verdicts if verdict.error is not None] == []
    assert [verdict.code for verdict in verdicts] == list(codes)


def test_each_check_has_mistakes_of_its_own() -> None:
    """For each check there are two broken generators or more, and one that it alone rejects."""
    for code in CHECK_CODES:
        entries = [entry for entry in BROKEN if entry.code == code]
        assert len(entries) >= 2, code
        assert any(entry.alone for entry in entries), code


def test_codes_are_stable() -> None:
    """The codes are those of the contract, and the two that must be asked for do not run by default."""
    assert CHECK_CODES == (
        "leak",
        "ignored-exit",
        "scope-across-yield",
        "context-leak",
        "cleanup-needs-shield",
        "cancel-swallowed",
        "reentrancy",
        "exhausted",
        "protocol",
        "wrong-task",
        "no-checkpoint",
    )
    assert set(CHECK_CODES) - set(chosen_checks(None)) == {"wrong-task", "no-checkpoint"}
    assert all(check.catches and check.advice for check in CHECKS.values())


def test_opting_out_and_in() -> None:
    """`checks` replaces the choice, `also` adds to it, `skip` takes away from it; the order is that of the checks."""
    assert chosen_checks(["protocol", "leak"]) == ("leak", "protocol")
    assert chosen_checks(["leak"], also=["wrong-task"]) == ("leak", "wrong-task")
    assert "leak" not in chosen_checks(None, skip=["leak"])
    verdicts = check_async_generator(careless, skip=["leak"])
    assert "leak" not in {verdict.code for verdict in verdicts}


async def numbers() -> AsyncGenerator[int, Any]:
    """1 and 2."""
    yield 1
    yield 2


async def careless() -> AsyncGenerator[int, Any]:
    """Leaks."""
    async for number in numbers():
        yield number


async def careless_twice() -> AsyncGenerator[int, Any]:
    """Leaks, and cleans up where it is cut short."""
    try:
        async for number in numbers():
            yield number
    finally:
        await asyncio.sleep(0)


def test_one_mistake_is_one_error() -> None:
    """One failure is a plain AssertionError whose attributes say what its text says."""
    with pytest.raises(ConformanceError) as caught:
        check_async_generator(careless)
    error = caught.value
    assert isinstance(error, AssertionError)
    assert (error.code, error.backend, error.step) == ("leak", "asyncio", "step 2 (aclose)")
    assert error.place is not None
    assert error.place.filename == __file__
    assert "left tests.test_testing_conformance.numbers unfinished" in str(error)
    assert "contextlib.aclosing" in str(error)


def test_several_mistakes_are_a_group() -> None:
    """Several failures are an ExceptionGroup of such errors, in the order of the checks."""
    with pytest.raises(ExceptionGroup, match="2 checks reject") as caught:
        check_async_generator(careless_twice)
    codes = [error.code for error in caught.value.exceptions if isinstance(error, ConformanceError)]
    assert codes == ["leak", "cleanup-needs-shield"]


def test_several_backends() -> None:
    """Each backend has its verdicts; what does not apply there is skipped with a reason."""
    rows = [row for row in ("asyncio", "bare") if get_backend(row).missing is None]
    verdicts = check_async_generator(numbers, backends=[rows[0], get_backend(rows[1])])
    assert [verdict.backend for verdict in verdicts] == [row for row in rows for _ in chosen_checks(None)]
    skipped = {(verdict.backend, verdict.code): verdict.reason for verdict in verdicts if verdict.result == "skipped"}
    assert skipped["bare", "cancel-swallowed"] == "bare has no cancellation"
    assert skipped["asyncio", "reentrancy"] == "none of its steps suspends"


# Bad input -----------------------------------------------------------------------------------------------------------


def needs_argument(number: int) -> int:
    """Not a factory: it has a parameter."""
    return number


async def coroutine() -> int:
    """A coroutine function, without a yield."""
    return 1


@pytest.mark.parametrize(
    "make, message",
    [
        (numbers(), r"not <async_generator object numbers .*Write check_async_generator\(numbers\)"),
        (coroutine, r"not the coroutine function <function coroutine"),
        (lambda: coroutine(), r"not <coroutine object coroutine"),  # noqa: PLW0108  # not a coroutine function itself
        (lambda: [1, 2], r"not \[1, 2\] of type list. It is a sync iterable"),
        (lambda: numbers, r"It was not called"),
        (needs_argument, r"without arguments, which raised TypeError"),
        (3, r"not 3 of type int"),
    ],
    ids=[
        "generator",
        "coroutine function",
        "gives a coroutine",
        "gives a list",
        "gives a function",
        "needs arguments",
        "number",
    ],
)
def test_what_is_no_factory_is_refused(make: Any, message: str) -> None:
    """What is not a factory of async iterables is a TypeError that says what was given and what to write."""
    with pytest.raises(SourceTypeError, match=message) as caught:
        check_async_generator(make)
    assert isinstance(caught.value, TypeError)


def test_coroutine_object_is_closed() -> None:
    """A coroutine that is refused is closed, so that nothing warns of it."""
    given: Any = coroutine()
    with pytest.raises(SourceTypeError, match="coroutine object"):
        check_async_generator(given)
    assert given.cr_frame is None


def test_same_generator_twice_is_refused() -> None:
    """A factory that gives the same object each time cannot be checked, and is told so."""
    shared = numbers()
    with pytest.raises(SourceTypeError, match=r"gave the same .* twice"):
        check_async_generator(lambda: shared)


def test_never_yielding_is_an_error() -> None:
    """A generator that ends at once leaves nothing to check: an error, and not a pass."""

    async def nothing() -> AsyncGenerator[int, Any]:
        return
        yield

    with pytest.raises(UncheckableError, match="nothing ended without yielding anything on asyncio"):
        check_async_generator(nothing)


def test_first_step_that_raises() -> None:
    """A generator that fails at once is reported with its own error as the cause, and its line."""

    async def wrong_loop(servers: tuple[str, ...] = ()) -> AsyncGenerator[int, Any]:
        if not servers:
            raise OSError("no such server")
        yield 1

    with pytest.raises(
        UncheckableError, match=r"raised OSError\('no such server'\) on asyncio, at .*wrong_loop"
    ) as caught:
        check_async_generator(wrong_loop)
    assert isinstance(caught.value.__cause__, OSError)


def line_of(text: str) -> int:
    """The number of the line of this file that has a marker."""
    with open(__file__, encoding="utf-8") as file:  # noqa: PTH123  # as plain as can be
        return next(number for number, line in enumerate(file, 1) if line.rstrip().endswith(f"# {text}"))


async def hangs_waiting() -> AsyncGenerator[int, Any]:
    """Waits for what never comes."""
    yield 1
    await asyncio.Event().wait()  # hangs here


async def hangs_computing() -> AsyncGenerator[int, Any]:
    """Computes for ever."""
    yield 1
    while True:
        time.monotonic()  # computes here


async def hangs_stubbornly() -> AsyncGenerator[int, Any]:
    """Does not want to be cancelled."""
    yield 1
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()  # insists here


@pytest.mark.parametrize(
    "make, marker",
    [(hangs_waiting, "hangs here"), (hangs_computing, "computes here"), (hangs_stubbornly, "insists here")],
)
def test_hang_is_bounded_and_located(make: Any, marker: str) -> None:
    """A step that hangs ends after the timeout, whatever it does; the report says which step and where."""
    with pytest.raises(HangError, match=r"step 2 \(anext\)") as caught:
        check_async_generator(make, timeout=0.4)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.place is not None
    # A loop that computes may be found at its head.
    assert abs(caught.value.place.line - line_of(marker)) <= (1 if make is hangs_computing else 0)
    assert caught.value.place.function == make.__name__


def test_hang_is_bounded_where_threads_are_traced() -> None:
    """Under a debugger or a measurement of coverage, which trace new threads, a step that hangs ends all the same."""

    def trace(*_: object) -> Any:
        return trace

    before = threading.gettrace()
    threading.settrace(trace)
    try:
        with pytest.raises(HangError, match=r"step 2 \(anext\)"):
            check_async_generator(hangs_stubbornly, timeout=0.4)
    finally:
        threading.settrace(before)


def test_struck_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the watchdog raises when the run has just come to its end stays inside; the report is of the hang."""

    class Lock:
        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.strikes = [Stuck(), Stuck()]

        def __enter__(self) -> None:
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()
            if watchdogs[0].fired and threading.get_ident() == main and self.strikes:
                raise self.strikes.pop()

    def make(seconds: float) -> Watchdog:
        watchdog = Watchdog(seconds)
        monkeypatch.setattr(watchdog, "_lock", Lock())
        watchdogs.append(watchdog)
        return watchdog

    main, watchdogs = threading.get_ident(), list[Watchdog]()
    monkeypatch.setattr(conformance, "Watchdog", make)
    with pytest.raises(HangError, match=r"step 2 \(anext\)"):
        check_async_generator(hangs_waiting, timeout=0.4)
    assert len(watchdogs) == 1


def test_hang_in_shielded_code_on_trio() -> None:
    """A wait that is shielded from cancellation is ended, too, and trio's run is not left in pieces."""
    trio = pytest.importorskip("trio", reason="trio is not installed")

    async def shielded() -> AsyncGenerator[int, Any]:
        yield 1
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    with pytest.raises(HangError, match="shielded"):
        check_async_generator(shielded, backends=["trio"], timeout=0.4)


def test_unknown_names() -> None:
    """An unknown code is a ValueError and an unknown backend a LookupError, and both say what there is; so do none."""
    with pytest.raises(ValueError, match=r"There is no check 'leaks'\. The checks are: leak, ignored-exit"):
        check_async_generator(numbers, checks=["leaks"])
    with pytest.raises(UnknownBackendError, match="There is no backend 'curio' for tests"):
        check_async_generator(numbers, backends=["curio"])
    nothings: list[dict[str, Any]] = [{"backends": []}, {"checks": []}, {"checks": ["leak"], "skip": ["leak"]}]
    for nothing in nothings:
        with pytest.raises(ArgumentValueError, match=r"would (check|run) nothing"):
            check_async_generator(numbers, **nothing)


def test_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend whose library is not installed is an ImportError that names it."""
    monkeypatch.setattr(importlib.util, "find_spec", dict[str, None]().get)
    with pytest.raises(MissingLibraryError, match=re.escape("Install asyncgen_tools[trio]")):
        check_async_generator(numbers, backends=["trio"])


def test_inside_a_loop_it_is_refused() -> None:
    """Where a loop runs already, it says so at once instead of failing somewhere inside."""

    async def main() -> None:
        check_async_generator(numbers)

    with pytest.raises(RunningLoopError, match="called where an event loop is running"):
        asyncio.run(main())


def test_interrupt_passes() -> None:
    """Ctrl-C in the code under test is no verdict: it comes out."""

    async def interrupted() -> AsyncGenerator[int, Any]:
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_async_generator(interrupted)


def test_a_broken_loop_is_reported() -> None:
    """What brings down the event loop itself is a failure that says so."""
    trio = pytest.importorskip("trio", reason="trio is not installed")

    class Leaving:
        """Leaves a nursery open for ever."""

        def __init__(self) -> None:
            self._left = 2

        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> int:
            if not self._left:
                raise StopAsyncIteration
            self._left -= 1
            self._manager = trio.open_nursery()
            await self._manager.__aenter__()
            return 1

    with pytest.raises(ConformanceError, match="brought the event loop down"):
        check_async_generator(Leaving, backends=["trio"], checks=["leak"])


# What only generators written as classes get wrong -------------------------------------------------------------------


class Handmade:
    """An async generator written as a class, right in everything; those below are wrong in one thing each."""

    def __init__(self) -> None:
        self.native: Any = numbers()

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Any:
        return self.asend(None)

    async def asend(self, value: object) -> Any:
        """Go on."""
        return await self.native.asend(value)

    async def athrow(self, error: Any) -> Any:
        """Throw in."""
        return await self.native.athrow(error)

    async def aclose(self) -> None:
        """Close."""
        await self.native.aclose()


class IteratedElsewhere(Handmade):
    """`aiter` gives another one."""

    def __aiter__(self) -> Self:
        return type(self)()


class BegunByNothing(Handmade):
    """An error thrown in before the first step does not end it."""

    begun = False

    async def asend(self, value: object) -> Any:
        """Note that it has begun."""
        self.begun = True
        return await super().asend(value)

    async def athrow(self, error: Any) -> Any:
        """Let it pass, at first."""
        if not self.begun:
            raise error
        return await super().athrow(error)


class EndsQuietly(BegunByNothing):
    """An error thrown in before the first step is lost."""

    async def athrow(self, error: Any) -> Any:
        """End, at first."""
        if not self.begun:
            await self.aclose()
            raise StopAsyncIteration
        return await super().athrow(error)


class RaisesACopy(BegunByNothing):
    """What comes out is not what was thrown in."""

    async def athrow(self, error: Any) -> Any:
        """Make it again."""
        if self.begun and isinstance(error, BaseException):
            return await super().athrow(type(error)())
        await self.aclose()
        raise error


class RaisesACopyAtOnce(BegunByNothing):
    """What comes out before the first step is not what was thrown in."""

    async def athrow(self, error: Any) -> Any:
        """Make it again."""
        await self.aclose()
        raise type(error)() if isinstance(error, BaseException) else error


class FailsToClose(BegunByNothing):
    """It cannot be closed before the first step."""

    async def athrow(self, error: Any) -> Any:
        """End, if it has not begun."""
        if not self.begun:
            await self.native.aclose()
            raise error
        return await super().athrow(error)

    async def aclose(self) -> None:
        """Look for what is not there yet."""
        if not self.begun:
            raise LookupError("nothing to close")
        await super().aclose()


class TakesNoClass(BegunByNothing):
    """An error's class is not taken."""

    async def athrow(self, error: Any) -> Any:
        """Refuse it."""
        if isinstance(error, type):
            raise TypeError("not an exception")
        if not self.begun:
            await self.aclose()
            raise error
        return await super().athrow(error)


class FailsAfterTheEnd(Handmade):
    """The step after the end raises another error."""

    async def asend(self, value: object) -> Any:
        """Mind the end."""
        if self.native.ag_frame is None:
            raise ValueError("it is over")
        return await super().asend(value)


class LetsIn(Handmade):
    """A second operation at the same time gets an answer."""

    running = False
    waits = True

    async def asend(self, value: object) -> Any:
        """Answer at once, if one is running."""
        if self.running:
            return self.answer()
        self.running = True
        try:
            await checkpoint()
            return await super().asend(value)
        finally:
            self.running = False

    def answer(self) -> object:
        """The answer."""
        return "an item"


class EndsWhileRunning(LetsIn):
    """A second operation at the same time is told of an end."""

    def answer(self) -> object:
        """The end."""
        raise StopAsyncIteration


@pytest.mark.parametrize(
    "make, code, words",
    [
        (IteratedElsewhere, "protocol", "gave another object, though it has an __anext__ of its own"),
        (BegunByNothing, "protocol", r"after athrow\(\) before the first step yielded 1, instead of"),
        (EndsQuietly, "protocol", "before the first step returned, instead of raising that error"),
        (RaisesACopy, "protocol", "raised another object than the one thrown in"),
        (RaisesACopyAtOnce, "protocol", "before the first step raised another object than the one thrown in"),
        (FailsToClose, "protocol", r"before the first step raised LookupError\('nothing to close'\)"),
        (TakesNoClass, "protocol", "raised TypeError.*; with an instance it raised ThrownError"),
        (FailsAfterTheEnd, "exhausted", r"raised ValueError\('it is over'\) after the generator had ended"),
        (LetsIn, "reentrancy", "gave 'an item'"),
        (EndsWhileRunning, "reentrancy", "ended the generator"),
    ],
)
def test_handmade_generators(make: Any, code: str, words: str) -> None:
    """What a class gets wrong is said in the words of what it did; the same class is right in everything else."""
    with pytest.raises(ConformanceError, match=f"(?s){words}"):
        check_async_generator(make, checks=[code])
    check_async_generator(Handmade, checks=[code])


def test_futures_may_be_awaited_again() -> None:
    """Steps that are futures can be awaited as often as one likes, which is no mistake of the generator."""

    class Futures(Handmade):
        def __anext__(self) -> Any:
            return asyncio.ensure_future(self.asend(None))

    check_async_generator(Futures, checks=["protocol"])


def test_shorter_than_before() -> None:
    """A generator that yields less often in a later run is checked as far as it goes."""
    lengths = iter([3])

    async def shrinks() -> AsyncGenerator[int, None]:
        for number in range(next(lengths, 1)):
            yield number

    check_async_generator(shrinks, checks=["scope-across-yield"])


class Wide(asyncio.TaskGroup):
    """A task group of somebody's own, with its attributes in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        vars(self).update(name="wide")


async def in_asyncio_scopes() -> AsyncGenerator[int, Any]:
    """In two scopes of asyncio's."""
    async with asyncio.timeout(60), Wide():
        yield 1


async def in_scope() -> AsyncGenerator[int, Any]:
    """In a scope of anyio's."""
    with anyio.CancelScope():
        yield 1


async def in_group() -> AsyncGenerator[int, Any]:
    """In a task group of anyio's."""
    async with anyio.create_task_group():
        yield 1


async def in_nursery() -> AsyncGenerator[int, Any]:
    """In a nursery."""
    import trio

    with trio.CancelScope():
        async with trio.open_nursery():
            yield 1


@pytest.mark.parametrize(
    "make, row, name",
    [
        (in_asyncio_scopes, "asyncio", "Timeout and Wide"),
        (in_asyncio_scopes, "level", "Timeout and Wide"),
        (in_scope, "asyncio", "CancelScope"),
        (in_scope, "level", "CancelScope"),
        (in_scope, "trio", "CancelScope"),
        (in_group, "asyncio", "TaskGroup"),
        (in_group, "trio", "Nursery"),
        (in_nursery, "trio", "CancelScope and Nursery"),
    ],
)
def test_open_scopes_are_named(make: Any, row: str, name: str) -> None:
    """The report names the class of each scope that is open at a yield."""
    if get_backend(row).missing is not None:
        pytest.skip(f"no library for {row}")
    with pytest.raises(ConformanceError, match=f"yielded with {name} open"):
        check_async_generator(make, checks=["scope-across-yield"], backends=[row])


class OldTimeout:
    """A timeout as that of async_timeout before 5.0."""

    __slots__ = ("_task",)

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task = None


def test_timeouts_of_async_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout that is none of asyncio's classes is seen by its task, too."""

    async def timed() -> AsyncGenerator[int, None]:
        async with OldTimeout():
            yield 1

    monkeypatch.setitem(sys.modules, "async_timeout", SimpleNamespace(Timeout=OldTimeout))
    with pytest.raises(ConformanceError, match="yielded with OldTimeout open"):
        check_async_generator(timed, checks=["scope-across-yield"])


def lengths_of(numbers: list[int]) -> Any:
    """A factory whose generators yield so often, one after the other, and the last number of times from then on."""
    lengths = iter(numbers)

    async def unlike() -> AsyncGenerator[int, None]:
        for number in range(next(lengths, numbers[-1])):
            await asyncio.sleep(0)
            yield number

    return unlike


UNLIKE = {
    "ignored-exit": ([2, 1], "step 2 .anext. of .*unlike did not yield, as it did"),
    "exhausted": ([1, 2], "step 2 .anext. of .*unlike yielded, as it did not"),
    "protocol": ([1, 0], "step 1 .anext. of .*unlike did not yield, as it did"),
    "reentrancy": ([2, 1] * 10, "step 2 of .*unlike came out otherwise"),
    "wrong-task": ([2, 1] * 10, "step 2 of .*unlike came out otherwise"),
}


@pytest.mark.parametrize("code", UNLIKE)
def test_unlike_generators_are_no_mistake(code: str) -> None:
    """A factory whose generators differ gives nothing to compare: it is told so, and no generator is accused."""
    lengths, words = UNLIKE[code]
    with pytest.raises(UncheckableError, match=f"generators that the factory makes are not alike.*{words}"):
        check_async_generator(lengths_of(lengths), checks=[code])


def test_later_generator_that_fails() -> None:
    """Why a later generator does not yield is the cause of the report."""
    errors = iter([None, OSError("in use")])

    async def opens() -> AsyncGenerator[int, None]:
        if (error := next(errors)) is not None:
            raise error
        yield 1

    with pytest.raises(UncheckableError, match="not alike") as caught:
        check_async_generator(opens, checks=["ignored-exit"])
    assert isinstance(caught.value.__cause__, OSError)


def test_shared_items_are_told_of() -> None:
    """A list that the first generator has used up leaves nothing to look at, and that is said."""
    items = [1, 2]

    async def consumes() -> AsyncGenerator[int, None]:
        while items:
            yield items.pop()

    with pytest.raises(UncheckableError, match=r"not alike: .* Let the factory make anew what"):
        check_async_generator(consumes)


def test_two_mistakes_are_a_group() -> None:
    """If several checks reject a generator, all of their errors come, as a group."""

    async def wrong() -> AsyncGenerator[int, Any]:
        inner = numbers()
        await anext(inner)
        kept.append(inner)
        try:
            yield 1
        except GeneratorExit:
            yield 2

    with pytest.raises(ExceptionGroup, match="2 checks reject the async generator") as caught:
        check_async_generator(wrong, checks=["leak", "ignored-exit"])
    assert [type(error) for error in caught.value.exceptions] == [ConformanceError] * 2


def test_factory_that_fails() -> None:
    """A factory that raises is not to be checked, and its error is the cause."""
    with pytest.raises(UncheckableError, match="The factory raised ZeroDivisionError") as caught:
        check_async_generator(lambda: 1 // 0)  # type: ignore[arg-type, return-value]  # as wrong as can be
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_other_errors_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What goes wrong beside the generator, in a callback of its loop, is logged as asyncio does it."""

    def fails() -> None:
        raise ValueError("in a callback")

    async def calls() -> AsyncGenerator[int, None]:
        asyncio.get_running_loop().call_soon(fails)
        await asyncio.sleep(0)
        yield 1

    check_async_generator(calls, checks=["leak"])
    assert "in a callback" in caplog.text


def test_hang_in_another_task() -> None:
    """A step that hangs because it is taken in another task is bounded there, too."""
    trio = pytest.importorskip("trio", reason="trio is not installed")

    async def choosy() -> AsyncGenerator[int, None]:
        task = trio.lowlevel.current_task()
        yield 1
        if trio.lowlevel.current_task() is not task:
            await trio.sleep_forever()
        yield 2

    with pytest.raises(HangError):
        check_async_generator(choosy, checks=["wrong-task"], backends=["trio"], timeout=0.4)


def test_hang_that_goes_on() -> None:
    """A hang that ends by being cancelled, and goes on as if nothing were, is a hang all the same."""

    async def swallows() -> AsyncGenerator[int, None]:
        yield 1
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        yield 2

    with pytest.raises(HangError):
        check_async_generator(swallows, checks=["leak"], timeout=0.4)


kept: list[Any] = []
