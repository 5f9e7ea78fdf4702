"""One task and one context for a generator's whole life, in lock step (SEMANTICS A4 to A6).

Cancellation between two steps is in test_host_cancellation.py.
"""

from __future__ import annotations

import _thread
import asyncio
import functools
import threading
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from itertools import chain, starmap
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asyncgen_tools import drive
from asyncgen_tools.host import calling_line
from tests.scopes import cancelling, current_task, kinds_in, task_group
from tests.ways import (
    ProbeError,
    anywhere_fixture as anywhere_fixture,  # noqa: PLC0414  # pytest finds it here
    caught,
    numbers,
    way_fixture as way_fixture,  # noqa: PLC0414  # pytest finds it here
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from asyncgen_tools import SyncGenerator
    from tests.conftest import Backend
    from tests.ways import Way

VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="unset")

GROUPS = pytest.mark.parametrize("kind", ["native", "anyio"])


# A4: one task ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["end", "close", "throw", "error"])
def test_one_task_for_the_whole_life(backend: Backend, ending: str) -> None:
    """Every step, whether it suspends or not, and the cleanup run in one and the same task (A4)."""
    tasks: list[object] = []

    async def body() -> AsyncGenerator[int, Any]:
        try:
            for number in range(8):
                tasks.append(current_task(backend))
                if number % 2:
                    await backend.checkpoint()
                    tasks.append(current_task(backend))
                with suppress(KeyError):
                    yield number
                tasks.append(current_task(backend))
            if ending == "error":
                raise ProbeError
        finally:
            tasks.append(current_task(backend))
            await backend.checkpoint()
            tasks.append(current_task(backend))

    generator = backend.drive(body())
    assert [next(generator), generator.send(1), generator.throw(KeyError()), next(generator)] == [0, 1, 2, 3]
    if ending == "close":
        generator.close()
    elif ending == "throw":
        with pytest.raises(ProbeError):
            generator.throw(ProbeError())
    else:
        with suppress(ProbeError):
            assert list(generator) == [4, 5, 6, 7]
    assert len(tasks) > 8
    assert set(tasks) == {tasks[0]}
    assert tasks[0] is not None


def test_each_generator_has_its_own_task(backend: Backend) -> None:
    """Generators of one runner, stepped alternately, have a task each, and so have calls (A4)."""

    async def body() -> AsyncGenerator[object, None]:
        yield current_task(backend)
        await backend.checkpoint()
        yield current_task(backend)

    async def call() -> object:
        return current_task(backend)

    with backend.runner() as runner:
        pairs = list(zip(runner.drive(body()), runner.drive(body()), strict=True))
        assert pairs[0] == pairs[1]
        assert len({*pairs[0], runner.run(call)}) == 3


def test_library_is_recognised(backend: Backend) -> None:
    """Inside every step, suspended before or not, anyio knows the library and the task (A4)."""
    seen: list[tuple[str, str | None]] = []

    def look() -> None:
        seen.append((anyio.get_current_task().name or "", anyio.get_cancelled_exc_class().__module__))

    async def body() -> AsyncGenerator[int, None]:
        try:
            look()
            yield 0
            look()
            await backend.checkpoint()
            look()
            yield 1
        finally:
            look()

    generator = backend.drive(body())
    assert next(generator) == 0
    assert next(generator) == 1
    generator.close()
    assert len(seen) == 4
    assert len(set(seen)) == 1
    name, module = seen[0]
    assert "body" in name
    assert module is not None
    assert module.startswith(backend.library)


def test_variables_are_set_and_reset_across_steps(way: Way) -> None:
    """A token of `ContextVar.set` is good in a later step and in cleanup: all run in one context (A4)."""
    seen: list[str] = []

    async def body() -> AsyncGenerator[int, None]:
        outer = VARIABLE.set("outer")
        try:
            inner = VARIABLE.set("inner")
            yield 1
            await way.pause()
            seen.append(VARIABLE.get())
            yield 2
            VARIABLE.reset(inner)
            seen.append(VARIABLE.get())
            yield 3
        finally:
            await way.pause()
            VARIABLE.reset(outer)
            seen.append(VARIABLE.get())

    generator = way.drive(body())
    assert [next(generator), next(generator), next(generator)] == [1, 2, 3]
    generator.close()
    assert seen == ["inner", "outer", "unset"]
    assert VARIABLE.get() == "unset"


def test_timeout_held_over_a_yield_fires(backend: Backend) -> None:
    """A timeout entered in one step ends the wait of a later one, as a TimeoutError (A4)."""

    async def body() -> AsyncGenerator[str, None]:
        try:
            with anyio.fail_after(0.01):
                yield "inside"
                await anyio.sleep_forever()
        except TimeoutError:
            yield "timed out"
        await backend.checkpoint()
        yield "after"

    assert list(backend.drive(body())) == ["inside", "timed out", "after"]


def test_asyncio_timeout_held_over_a_yield_fires(backend: Backend) -> None:
    """`asyncio.timeout`, which insists on its task, is entered, expires and is left in different steps (A4)."""
    if backend.name == "trio":
        pytest.skip("asyncio's own")

    async def body() -> AsyncGenerator[object, None]:
        timeout = asyncio.timeout(0.01)
        try:
            async with timeout:
                yield "inside"
                await asyncio.Event().wait()
        except TimeoutError:
            yield timeout.expired()
        async with asyncio.timeout(60) as timeout:
            yield "again"
            await backend.checkpoint()
            yield "still"
        yield timeout.expired()
        yield cancelling(backend)

    assert list(backend.drive(body())) == ["inside", True, "again", "still", False, 0]


def test_scope_held_over_a_yield_is_left(backend: Backend) -> None:
    """A scope that moves on after its deadline is left in a later step, and the generator goes on (A4)."""

    async def body() -> AsyncGenerator[object, None]:
        with anyio.move_on_after(0.01) as scope:
            yield "inside"
            await anyio.sleep_forever()
        yield scope.cancelled_caught
        await backend.checkpoint()
        yield cancelling(backend)

    assert list(backend.drive(body())) == ["inside", True, 0]


@pytest.mark.parametrize("first", [0, 1])
def test_scopes_of_zipped_generators(backend: Backend, first: int) -> None:
    """Two generators that hold a scope and a task group each can be stepped in turn and closed in either order (A4)."""
    closed: list[str] = []

    async def body(name: str) -> AsyncGenerator[str, None]:
        try:
            with anyio.CancelScope():
                async with anyio.create_task_group() as group:
                    group.start_soon(anyio.sleep_forever)
                    for _ in range(3):
                        await backend.checkpoint()
                        yield name
        finally:
            await backend.checkpoint()
            closed.append(name)

    with backend.runner() as runner:
        pair = (runner.drive(body("a")), runner.drive(body("b")))
        assert [next(pair[0]), next(pair[1]), next(pair[0]), next(pair[1])] == ["a", "b", "a", "b"]
        pair[first].close()
        assert next(pair[1 - first]) == "ba"[first]
        pair[1 - first].close()
    assert closed == (["a", "b"] if first == 0 else ["b", "a"])


def test_zip_drops_scope_holders(backend: Backend) -> None:
    """`zip` ends with the shorter generator; the longer one, dropped with its scope open, is closed (A4)."""
    closed: list[int] = []

    async def body(length: int) -> AsyncGenerator[int, None]:
        try:
            with anyio.fail_after(60):
                for number in range(length):
                    yield number
                    await backend.checkpoint()
        finally:
            closed.append(length)

    with backend.runner() as runner:
        assert list(zip(runner.drive(body(2)), runner.drive(body(5)), strict=False)) == [(0, 0), (1, 1)]
        assert closed == [2, 5]


@GROUPS
def test_tasks_of_a_held_group_run_while_steps_wait(backend: Backend, kind: str) -> None:
    """A task group held over yields runs its children whenever a step waits, and joins them at its end (A4)."""

    async def body() -> AsyncGenerator[object, None]:
        done: list[int] = []
        events = [anyio.Event() for _ in range(3)]

        async def child(number: int) -> None:
            await backend.checkpoint()
            done.append(number)
            events[number].set()

        async with task_group(backend, kind) as start:
            for number, event in enumerate(events):
                start(functools.partial(child, number))
                yield number
                await event.wait()
        yield done

    assert list(backend.drive(body())) == [0, 1, 2, [0, 1, 2]]


@GROUPS
@pytest.mark.parametrize("suspended", [False, True])
def test_closing_with_a_group_open(backend: Backend, kind: str, suspended: bool) -> None:
    """Closing while a task group or nursery is open cancels its children, awaits them, and is a normal close although
    the library wraps GeneratorExit into a group (A4, A9).
    """
    log: list[str] = []

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await backend.checkpoint()
            log.append("child ended")

    async def body() -> AsyncGenerator[int, None]:
        try:
            async with task_group(backend, kind) as start, task_group(backend, kind) as start_inner:
                start(child)
                start_inner(child)
                if suspended:
                    await backend.checkpoint()
                    await backend.checkpoint()
                yield 1
        finally:
            log.append("body ended")

    generator = backend.drive(body())
    next(generator)
    generator.close()
    assert log[-1] == "body ended"
    if suspended:  # else the children have been cancelled before they began
        assert log == ["child ended", "child ended", "body ended"]
    assert list(generator) == []


@GROUPS
def test_closing_with_a_failing_child(backend: Backend, kind: str) -> None:
    """If a child fails while its group is closed, the group of both errors comes out of `close()`, as it is (A9)."""

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise ProbeError

    async def body() -> AsyncGenerator[int, None]:
        async with task_group(backend, kind) as start:
            start(child)
            await backend.checkpoint()
            await backend.checkpoint()
            yield 1

    generator = backend.drive(body())
    next(generator)
    exc = caught(generator.close)
    assert kinds_in(exc) == {GeneratorExit, ProbeError}
    generator.close()
    assert list(generator) == []


@GROUPS
def test_failing_child_while_a_step_waits(backend: Backend, kind: str) -> None:
    """A child that fails while a step waits cancels that step; the group's error comes out of it, as it is (A4, A9)."""
    raised = ProbeError()

    async def child() -> None:
        await backend.checkpoint()
        raise raised

    async def body() -> AsyncGenerator[int, None]:
        async with task_group(backend, kind) as start:
            yield 1
            start(child)
            await anyio.sleep_forever()

    generator = backend.drive(body())
    next(generator)
    with pytest.raises(ExceptionGroup) as group:
        next(generator)
    assert group.value.exceptions == (raised,)
    assert list(generator) == []


# A5: one context, the caller's copy or a given one ------------------------------------------------------------------


async def reading() -> AsyncGenerator[str, None]:
    """What the variable is, again and again; then sets it."""
    yield VARIABLE.get()
    yield VARIABLE.get()
    VARIABLE.set("set by the body")
    yield VARIABLE.get()


def in_fresh_context(function: Callable[[], None]) -> None:
    """Run in a copy of the context, so that what is set here is gone afterwards."""
    copy_context().run(function)


def test_context_is_copied_when_the_generator_is_made(anywhere: Way) -> None:
    """The body sees the caller's variables as they were when the generator was made; neither side sees what the other
    sets later (A5).
    """

    def check() -> None:
        VARIABLE.set("before")
        generator = anywhere.drive(reading())
        VARIABLE.set("after")
        assert next(generator) == "before"
        VARIABLE.set("later")
        assert next(generator) == "before"
        assert next(generator) == "set by the body"
        assert VARIABLE.get() == "later"
        generator.close()
        assert VARIABLE.get() == "later"

    in_fresh_context(check)


def test_suspended_steps_leak_nothing_either(way: Way) -> None:
    """What the body sets in a step that suspends stays with the body, what the caller sets with the caller (A5)."""

    async def body() -> AsyncGenerator[str, None]:
        for number in range(3):
            VARIABLE.set(f"body {number}")
            await way.pause()
            yield VARIABLE.get()

    def check() -> None:
        VARIABLE.set("caller")
        with way.runner() as runner:
            both = zip(runner.drive(body()), runner.drive(body()), strict=True)
            assert list(both) == [(f"body {number}",) * 2 for number in range(3)]
        assert VARIABLE.get() == "caller"

    in_fresh_context(check)


def test_given_context_is_used_itself(way: Way) -> None:
    """With `context=` every step runs in that very context: what the body sets is in it, and nowhere else (A5)."""
    context = copy_context()
    context.run(VARIABLE.set, "given")

    async def body() -> AsyncGenerator[str, None]:
        yield VARIABLE.get()
        await way.pause()
        VARIABLE.set("set by the body")
        yield VARIABLE.get()

    generator = way.drive(body(), context=context)
    assert next(generator) == "given"
    context.run(VARIABLE.set, "changed between steps")
    assert next(generator) == "set by the body"
    assert context[VARIABLE] == "set by the body"
    assert VARIABLE.get() == "unset"
    generator.close()


def test_given_context_may_be_empty(anywhere: Way) -> None:
    """An empty context is a context: nothing of the caller's is seen in it (A5)."""

    def check() -> None:
        VARIABLE.set("caller")
        given = copy_context()
        with anywhere.runner() as runner, anywhere.runner(context=given) as other:
            context = Context()
            assert next(anywhere.drive(reading(), context=Context())) == "unset"
            assert next(runner.drive(reading(), context=context)) == "unset"
            assert next(other.drive(reading(), context=context)) == "unset"
        with anywhere.runner(context=Context()) as runner:
            assert next(runner.drive(reading())) == "unset"

    in_fresh_context(check)


def test_context_of_a_runner(anywhere: Way) -> None:
    """A runner's `context=` is where its generators and calls run; one that is given to `drive` goes before it (A5)."""
    context, other = copy_context(), copy_context()
    context.run(VARIABLE.set, "the runner's")
    other.run(VARIABLE.set, "the generator's")

    async def call() -> str:
        value = VARIABLE.get()
        VARIABLE.set("set by the call")
        return value

    with anywhere.runner(context=context) as runner:
        assert next(runner.drive(reading())) == "the runner's"
        assert next(runner.drive(reading(), context=other)) == "the generator's"
        assert runner.run(call) == "the runner's"
        assert next(runner.drive(reading())) == "set by the call"
    assert context[VARIABLE] == "set by the call"
    assert VARIABLE.get() == "unset"


def test_without_a_context_every_call_has_a_copy(anywhere: Way) -> None:
    """A runner without `context=` copies the caller's context for each generator and call, when that is made (A5)."""

    async def call() -> str:
        value = VARIABLE.get()
        VARIABLE.set("set by the call")
        return value

    def check() -> None:
        with anywhere.runner() as runner:
            VARIABLE.set("one")
            assert runner.run(call) == "one"
            generator = runner.drive(reading())
            VARIABLE.set("two")
            assert runner.run(call) == "two"
            assert next(generator) == "one"
            generator.close()

    in_fresh_context(check)


@pytest.mark.parametrize("started", [False, True])
def test_context_in_use_by_the_caller(way: Way, started: bool) -> None:
    """A step from inside the generator's own context is one clear RuntimeError, and nothing is lost (A5)."""

    async def body() -> AsyncGenerator[int, None]:
        for number in range(3):
            await way.pause()
            yield number

    context = copy_context()
    generator = way.drive(body(), context=context)
    expected = [0, 1, 2]
    if started:
        assert next(generator) == expected.pop(0)
    steps: list[Callable[[], object]] = [
        lambda: next(generator),
        generator.close,
        lambda: generator.throw(ProbeError()),
    ]
    for step in steps:
        with pytest.raises(RuntimeError, match="context"):
            context.run(step)
    assert list(generator) == expected


def test_generators_in_one_context(way: Way) -> None:
    """Two generators may share one context, and then see what the other sets (A5)."""
    context = copy_context()

    async def writing() -> AsyncGenerator[None, None]:
        for number in range(3):
            await way.pause()
            VARIABLE.set(str(number))
            yield

    async def body() -> AsyncGenerator[str, None]:
        while True:
            await way.pause()
            yield VARIABLE.get()

    with way.runner() as runner:
        writer, reader = runner.drive(writing(), context=context), runner.drive(body(), context=context)
        assert [(next(writer), next(reader)) for _ in range(3)] == [(None, str(number)) for number in range(3)]


def test_tasks_of_the_body_inherit_its_context(backend: Backend) -> None:
    """A task that the body starts copies the body's context, not the caller's (A5)."""

    async def body() -> AsyncGenerator[str, None]:
        seen: list[str] = []

        async def child() -> None:
            seen.append(VARIABLE.get())

        VARIABLE.set("body")
        async with anyio.create_task_group() as group:
            group.start_soon(child)
            yield "started"
        yield seen[0]

    assert list(backend.drive(body())) == ["started", "body"]


# A6: lock step --------------------------------------------------------------------------------------------------------


def test_lock_step(way: Way) -> None:
    """The body runs inside of steps only, up to its next yield and no further (A6)."""
    log: list[str] = []

    async def body() -> AsyncGenerator[int, None]:
        for number in range(3):
            log.append(f"body {number}")
            await way.pause()
            yield number
        log.append("body ends")

    generator = way.drive(body())
    log.append("made")
    while (number := next(generator, None)) is not None:
        log.append(f"caller {number}")
    assert log == ["made", "body 0", "caller 0", "body 1", "caller 1", "body 2", "caller 2", "body ends"]


def test_lock_step_while_neighbours_run(backend: Backend) -> None:
    """However often the loop turns for other generators, and for calls, a parked body stays where it is (A6)."""
    ran: list[int] = []

    async def body() -> AsyncGenerator[int, None]:
        for number in range(3):
            ran.append(number)
            await backend.checkpoint()
            yield number

    async def turns() -> None:
        for _ in range(100):
            await backend.checkpoint()

    with backend.runner() as runner:
        parked, busy = runner.drive(body()), runner.drive(numbers())
        next(parked)
        runner.run(turns)
        assert list(busy) == [1, 2]
        assert ran == [0]
        next(parked)
        runner.run(turns)
        assert ran == [0, 1]
        parked.close()
        assert ran == [0, 1]


def test_names_come_from_the_source(anywhere: Way) -> None:
    """The generator is named after its source, a class-based one by its class (A2)."""

    class Rows:
        def __aiter__(self) -> AsyncIterator[int]:
            return numbers()

    generator: SyncGenerator[int, Any, Any] = anywhere.drive(Rows())
    assert generator.__name__ == "Rows"
    assert generator.__qualname__.endswith("test_names_come_from_the_source.<locals>.Rows")
    assert list(generator) == [1, 2]


def test_calling_line_is_outside_of_the_package() -> None:
    """The line that a warning names is the user's, however deep in the package it is asked for (A8)."""
    makers: list[Any] = [calling_line, lambda: drive(numbers())]
    line, generator = (make() for make in makers)
    here = calling_line()[1]
    assert [line, generator._host.made_at] == [(__file__, here - 1), (__file__, here - 2)]


def test_calling_line_without_a_caller() -> None:
    """Where nothing of Python has called the package, as in a thread that begins there, no line is named (A8)."""
    lines: list[Any] = []
    done = threading.Event()
    calls = chain(starmap(calling_line, [()]), starmap(done.set, [()]))
    _thread.start_new_thread(lines.extend, (calls,))
    assert done.wait(10)
    assert lines[0] == ("<unknown>", 0)
