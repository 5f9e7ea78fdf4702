"""What is refused at the call: sources, numbers, contexts, options, copies; nothing is lost (SEMANTICS A3, A14)."""

from __future__ import annotations

import copy
import functools
import gc
import math
import pickle
import warnings
from contextlib import asynccontextmanager
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asyncgen_tools import (
    Portal,
    Runner,
    SyncGenerator,
    concurrent_map,
    delegating,
    drive,
    driven,
    hosted,
    in_thread,
    yield_from,
)
from asyncgen_tools.arguments import check_source, describe
from asyncgen_tools.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    AsyncgenToolsError,
    CopyError,
    DelegationError,
    FunctionTypeError,
    SourceTypeError,
)
from asyncgen_tools.testing import check_async_generator, sweep_cancellation, sweep_close, virtual_time
from tests.ways import numbers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from tests.conftest import Backend


@pytest.fixture(name="portal", scope="module")
def portal_fixture() -> Generator[Portal]:
    """A portal on asyncio."""
    with Portal() as portal:
        yield portal


async def identity(number: int) -> int:
    """An async function."""
    return number


@asynccontextmanager
async def managed() -> AsyncGenerator[int]:
    """An async context manager."""
    yield 1


# What is taken as a source (A3) -------------------------------------------------------------------------------------


async def coroutine_function() -> None:
    """Not a generator: nothing is yielded."""


def sync_numbers() -> Generator[int, None, None]:
    """A sync generator."""
    yield 1


class Owner:
    """Has an async generator method."""

    async def rows(self) -> AsyncGenerator[int, None]:
        """One row."""
        yield 1


@pytest.mark.parametrize(
    "source, hints",
    [
        (numbers, ["numbers", "drive(numbers(...))", "not called"]),
        (Owner().rows, ["drive(rows(...))", "not called"]),
        ([1, 2], ["[1, 2] of type list", "sync iterable", "plain `for` loop"]),
        ("text", ["'text' of type str", "sync iterable"]),
        ((text for text in "text"), ["generator", "sync iterable"]),
        (42, ["42 of type int", "Its class has no __aiter__ method."]),
        (sync_numbers, ["Its class has no __aiter__ method."]),
        (None, ["None of type NoneType", "__aiter__"]),
        (object, ["type"]),
        (list(range(1000)), ["..."]),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("user", ["drive", "Runner.drive"])
def test_what_is_no_source(source: Any, hints: list[str], user: str) -> None:
    """What is not async-iterable is a TypeError at the call, which says what was given, what is taken, and what to
    write instead (A3).
    """
    with pytest.raises(SourceTypeError) as refused, Runner(backend="bare") as runner:
        runner.drive(source) if user == "Runner.drive" else drive(source)
    message = str(refused.value)
    assert isinstance(refused.value, TypeError)
    assert message.startswith("drive() takes an async generator, async iterator or async iterable, not ")
    assert [hint for hint in hints if hint not in message] == []
    assert len(message) < 400


@pytest.mark.parametrize(
    "source, hint",
    [
        (42, "Its class has no __aiter__ or __iter__ method."),
        (numbers, "It was not called: write in_thread(numbers(...))."),
        (sync_numbers, "It was not called: write in_thread(sync_numbers(...))."),
    ],
    ids=["number", "async function", "sync function"],
)
def test_check_source_where_sync_ones_are_taken(source: Any, hint: str) -> None:
    """Who takes sync iterables, too, says so in the refusal, and knows a generator function of either kind (A3)."""
    with pytest.raises(SourceTypeError, match=r"or a sync iterable, not ") as refused:
        check_source(source, user="in_thread", sync=True)
    assert str(refused.value).endswith(f". {hint}")
    check_source([1], user="in_thread", sync=True)


def test_describe_cuts_what_is_long() -> None:
    """A message shows the first 60 characters of a value at most, the last three of them dots if there were more."""
    assert describe("a" * 58) == f"'{'a' * 58}' of type str"
    assert describe("a" * 59) == f"'{'a' * 56}... of type str"


@pytest.mark.parametrize("user", ["drive", "Runner.drive"])
def test_a_coroutine_is_closed(user: str) -> None:
    """A coroutine given as a source is closed, so that nothing warns that it was never awaited, and the message names
    its function (A3).
    """
    coroutine: Any = coroutine_function()
    with pytest.raises(SourceTypeError, match="coroutine_function") as refused, Runner(backend="bare") as runner:
        runner.drive(coroutine) if user == "Runner.drive" else drive(coroutine)
    assert "await" in str(refused.value)
    assert coroutine.cr_frame is None
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        del coroutine
        gc.collect()
    assert warned == []


def test_an_instance_attribute_makes_no_source() -> None:
    """Special methods count where the interpreter looks for them, on the type (A3)."""

    class Odd:
        """Has `__aiter__` on the instance only."""

    odd = Odd()
    odd.__aiter__ = numbers  # type: ignore[attr-defined]
    with pytest.raises(SourceTypeError, match="__aiter__"):
        drive(odd)  # type: ignore[call-overload]


def test_check_source_takes_what_is_async_iterable() -> None:
    """Generators, iterators and iterables pass the check, and it touches nothing of them (A3)."""

    class Rows:
        def __aiter__(self) -> AsyncGenerator[int, None]:
            raise AssertionError

    source = numbers()
    check_source(source, user="drive")
    check_source(Rows(), user="drive")
    check_source(drive_nothing(), user="drive")
    assert list(drive(source, backend="bare")) == [1, 2]


def drive_nothing() -> AsyncGenerator[int, None]:
    """An async generator, made by a plain function."""
    return numbers()


COROUTINES: dict[str, Callable[[Any], object]] = {
    "in_thread": in_thread,
    "hosted": hosted,
    "concurrent_map, as a function": lambda coroutine: concurrent_map(coroutine, [], limit=1),
    "concurrent_map, as a source": lambda coroutine: concurrent_map(identity, coroutine, limit=1),
    "driven": driven,
    "delegating": delegating,
    "run": lambda coroutine: Runner(backend="bare").run(coroutine),
    "wrap_async_context_manager": lambda coroutine: Runner(backend="bare").wrap_async_context_manager(coroutine),
    "check_async_generator": check_async_generator,
    "sweep_cancellation": sweep_cancellation,
    "sweep_close": sweep_close,
    "sweep_close, made": lambda coroutine: sweep_close(lambda: coroutine, backend="bare"),
    "drive with another mistake": lambda coroutine: drive(coroutine, backend="none", timeout=-1),
}


@pytest.mark.parametrize("user", COROUTINES)
def test_whatever_refuses_a_coroutine_closes_it(user: str) -> None:
    """A coroutine in the place of something else is closed by who refuses it, and is named in the message."""
    coroutine: Any = identity(1)
    with pytest.raises(AsyncgenToolsError, match="identity") as refused:
        COROUTINES[user](coroutine)
    assert isinstance(refused.value, TypeError)
    assert coroutine.cr_frame is None


@pytest.mark.parametrize(
    "function, why",
    [
        (numbers, r"run\(\) called <function numbers .* and got <async_generator .* cannot be awaited.* drive\(\)"),
        (len, r"run\(\) called <built-in function len> .* and got 0 of type int, which cannot be awaited"),
        ((), r"run\(\) takes a coroutine function and its arguments, not \(\) of type tuple, which cannot be called"),
    ],
    ids=["async generator function", "sync function", "no function"],
)
def test_function_that_cannot_be_run(portal: Portal, function: Any, why: str) -> None:
    """What is no async function is refused by `run`, which says what came of the call (A16)."""
    arguments = [()] if function is len else []
    with Runner(backend="bare") as runner:
        for driver in (runner, portal):
            with pytest.raises(FunctionTypeError, match=why):
                driver.run(function, *arguments)


def test_coroutine_is_closed_where_nothing_can_be_delegated() -> None:
    """A coroutine given to `yield_from` outside of a delegating generator is closed as well (B25)."""
    coroutine: Any = identity(1)
    with pytest.raises(DelegationError), Runner(backend="bare") as runner:
        runner.run(delegate_outside, coroutine)
    assert coroutine.cr_frame is None


async def delegate_outside(source: Any) -> None:
    """Delegate where that cannot be."""
    await yield_from(source)


# Numbers of seconds ---------------------------------------------------------------------------------------------------

WRONG_SECONDS: dict[str, tuple[Any, type[Exception]]] = {
    "text": ("1", ArgumentTypeError),
    "flag": (True, ArgumentTypeError),
    "complex": (1j, ArgumentTypeError),
    "negative": (-1, ArgumentValueError),
    "negative float": (-0.5, ArgumentValueError),
    "not a number": (math.nan, ArgumentValueError),
}


@pytest.mark.parametrize("wrong", WRONG_SECONDS)
@pytest.mark.parametrize("user", ["drive", "Runner.drive", "Portal.drive"])
def test_timeout_that_is_no_time(portal: Portal, user: str, wrong: str) -> None:
    """A timeout that could time nothing is refused at the call, and the source stays usable (A14)."""
    timeout, error = WRONG_SECONDS[wrong]
    source = numbers()
    with Runner() as runner:
        make: Any = {"drive": drive, "Runner.drive": runner.drive, "Portal.drive": portal.drive}[user]
        with pytest.raises(error, match=r"timeout=.* Give (a number|an int or float)"):
            make(source, timeout=timeout)
        assert list(make(source)) == [1, 2]


@pytest.mark.parametrize("timeout", [30, 30.5, math.inf, Fraction(61, 2), Decimal(30)], ids=repr)
def test_timeout_may_be_any_real_number(backend: Backend, timeout: Any) -> None:
    """Whatever is a number of seconds serves as a timeout, infinity included, for steps that wait as well (A11)."""

    async def body() -> AsyncGenerator[int]:
        await backend.checkpoint()
        yield 1

    assert list(backend.drive(body(), timeout=timeout)) == [1]
    with backend.portal() as portal:
        assert list(portal.drive(body(), timeout=timeout)) == [1]


def test_timeout_of_nothing(backend: Backend) -> None:
    """A timeout of 0 lets a step end that waits for nothing, and no other (A11)."""

    async def body() -> AsyncGenerator[int]:
        yield 1
        await backend.sleep(30)

    with backend.drive(body(), timeout=0) as generator:
        assert next(generator) == 1
        with pytest.raises(TimeoutError, match="timeout of 0 s"):
            next(generator)


KIT: dict[str, Callable[[Any], object]] = {
    "check_async_generator": lambda seconds: check_async_generator(numbers, timeout=seconds),
    "sweep_cancellation": lambda seconds: sweep_cancellation(numbers, timeout=seconds),
    "sweep_close": lambda seconds: sweep_close(numbers, timeout=seconds),
    "virtual_time": lambda seconds: virtual_time(patience=seconds),
}


@pytest.mark.parametrize("wrong", WRONG_SECONDS)
@pytest.mark.parametrize("user", KIT)
def test_seconds_of_the_testing_kit(user: str, wrong: str) -> None:
    """The testing kit refuses the same numbers of seconds, before it runs anything."""
    seconds, error = WRONG_SECONDS[wrong]
    with pytest.raises(error, match=r"(timeout|patience)="):
        KIT[user](seconds)


def test_endless_patience_of_the_testing_kit() -> None:
    """A check may be given all the time in the world."""
    assert all(verdict.result != "failed" for verdict in check_async_generator(numbers, timeout=math.inf))


# Numbers of items -----------------------------------------------------------------------------------------------------

COUNTS: dict[str, Callable[[Portal, Any], object]] = {
    "prefetch of a portal": lambda portal, count: portal.drive(numbers(), prefetch=count),
    "prefetch of a thread": lambda _, count: in_thread([1, 2], prefetch=count),
    "limit": lambda _, count: concurrent_map(identity, [1, 2], limit=count),
    "max_yields of a check": lambda _, count: check_async_generator(numbers, max_yields=count),
    "max_yields of a sweep": lambda _, count: sweep_close(numbers, max_yields=count),
}


@pytest.mark.parametrize("user", COUNTS)
@pytest.mark.parametrize("wrong", ["1", 1.0, True, None, -1], ids=repr)
def test_number_of_items_that_is_none(portal: Portal, user: str, wrong: Any) -> None:
    """A number of items must be a whole number that leaves room for something; the message says which (A14)."""
    name = user.partition(" ")[0]
    error = ArgumentValueError if wrong == -1 else ArgumentTypeError
    with pytest.raises(error, match=rf"^{name}={wrong!r} .* Give an int from [01] on"):
        COUNTS[user](portal, wrong)


@pytest.mark.parametrize("user", COUNTS)
def test_no_item_at_all(portal: Portal, user: str) -> None:
    """0 items are lock step where something runs ahead; elsewhere they leave nothing to do, and are refused (A14)."""
    if user.startswith("prefetch"):
        COUNTS[user](portal, 0)
    else:
        with pytest.raises(ArgumentValueError, match=r"=0 lets no .* Give an int from 1 on"):
            COUNTS[user](portal, 0)


def test_scope_of_a_sweep() -> None:
    """A sweep that is told of a scope that there is not does not take it for another one."""
    with pytest.raises(ArgumentValueError, match=r"scope='all' .* Write scope='task', or 'tree'"):
        sweep_cancellation(numbers, scope="all")  # type: ignore[arg-type]


def test_limiter_without_tokens() -> None:
    """A limiter that has no tokens is refused at the call, and not in the first step (A14)."""
    with pytest.raises(ArgumentTypeError, match=r"limiter=4 of type int is no capacity limiter.* anyio"):
        in_thread([1, 2], limiter=4)  # type: ignore[call-overload]


# Contexts and options -------------------------------------------------------------------------------------------------


CONTEXTS: dict[str, Callable[[Portal, Any], object]] = {
    "drive": lambda _, context: drive(numbers(), context=context),
    "Runner": lambda _, context: Runner(context=context),
    "Runner.drive": lambda _, context: Runner().drive(numbers(), context=context),
    "Portal.drive": lambda portal, context: portal.drive(numbers(), context=context),
}


@pytest.mark.parametrize("user", CONTEXTS)
def test_context_that_is_none(portal: Portal, user: str) -> None:
    """What is no context is refused at the call, also if it is empty (A14)."""
    with pytest.raises(ArgumentTypeError, match=r"^context={} of type dict is no context.*copy_context"):
        CONTEXTS[user](portal, {})


@pytest.mark.parametrize("make", [functools.partial(drive, numbers()), Runner, Portal, Portal.shared])
def test_options_that_have_no_names(make: Callable[..., object]) -> None:
    """Options that are no mapping are refused where they are given (A14)."""
    with pytest.raises(ArgumentTypeError, match=r"^backend_options='debug' of type str is no mapping.* Write"):
        make(backend_options="debug")


@pytest.mark.parametrize("make", [functools.partial(drive, numbers()), Runner, Portal, Portal.shared])
def test_option_that_there_is_not(make: Callable[..., object]) -> None:
    """An option that the backend does not have is refused, in a message that says which it has (A14)."""
    with pytest.raises(ArgumentTypeError, match=r"backend='asyncio' has no option 'uvloop'.* use_uvloop"):
        make(backend_options={"uvloop": True})


def test_shared_portal_needs_options_that_can_be_hashed() -> None:
    """A shared portal is found by its options, and says so of one that cannot be looked for (A17)."""
    with pytest.raises(ArgumentTypeError, match=r"backend_options={'instruments': \[\]} cannot be hashed.* Portal"):
        Portal.shared("trio", backend_options={"instruments": []})


# Copies ---------------------------------------------------------------------------------------------------------------

DUPLICATES: list[Callable[[Any], object]] = [copy.copy, copy.deepcopy, pickle.dumps]


def refuse_duplicates(thing: object) -> None:
    """Whatever copies the thing is refused, in a message that says what to write instead."""
    for duplicate in DUPLICATES:
        with pytest.raises(CopyError, match=rf"^cannot copy or pickle '{type(thing).__name__}' object: .*\."):
            duplicate(thing)


@pytest.mark.parametrize("kind", [Runner, Portal])
def test_drivers_cannot_be_copied(kind: type[Runner | Portal]) -> None:
    """A runner or portal cannot be copied or pickled, since a copy would share its loop; and it works on."""
    driver = kind()
    refuse_duplicates(driver)
    with driver:
        block = driver.wrap_async_context_manager(managed())
        refuse_duplicates(driver)
        refuse_duplicates(block)
        with block as value:
            refuse_duplicates(block)
            assert value == 1
        generator: SyncGenerator[int, None, None] = driver.drive(numbers())
        refuse_duplicates(generator)
        assert list(generator) == [1, 2]
    refuse_duplicates(driver)


def test_nothing_of_running_loops_can_be_copied() -> None:
    """Bridged generators, hosted blocks and concurrent maps cannot be copied or pickled either, and work on."""

    async def main() -> None:
        block = hosted(numbers())
        refuse_duplicates(block)
        async with block as generator, in_thread([1, 2]) as items:
            refuse_duplicates(generator)
            refuse_duplicates(items)
            assert [item async for item in generator] == [item async for item in items] == [1, 2]
        calls = concurrent_map(identity, [1, 2], limit=2)
        refuse_duplicates(calls)
        async with calls as results:
            refuse_duplicates(results)
            assert [result async for result in results] == [1, 2]

    anyio.run(main)
