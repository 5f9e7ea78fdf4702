"""The generator face: what next, send, throw and close mean, and that it is a generator to every observer.

SEMANTICS A1 and A2, on every backend, bare included, in steps that suspend and in steps that do not.
"""

from __future__ import annotations

import collections.abc
import copy
import inspect
import itertools
import pickle
import threading
import time
import types
import weakref
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import pytest

from asyncgen_tools import SyncGenerator
from tests.ways import (
    STEPS,
    ProbeError,
    anywhere_fixture as anywhere_fixture,  # noqa: PLC0414  # pytest finds it here
    caught,
    frame_of,
    frames_of,
    numbers,
    way_fixture as way_fixture,  # noqa: PLC0414  # pytest finds it here
    without_collector,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator

    from tests.conftest import Backend
    from tests.ways import Way


# A1: steps --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, False, "", (), 0.0, [], None, NotImplemented, StopIteration(1)])
def test_send_passes_any_value(way: Way, value: object) -> None:
    """`g.send(v)` is `a.asend(v)`: the body gets the same object, a falsy one too, and None is `next` (A1)."""
    received: list[object] = []

    async def body() -> AsyncGenerator[int, object]:
        received.append((yield 1))
        await way.pause()
        received.append((yield 2))

    with way.drive(body()) as generator:
        assert next(generator) == 1
        assert generator.send(value) == 2
        assert received[0] is value


@pytest.mark.parametrize("item", [None, 0, (), StopIteration(1), StopAsyncIteration(1), ValueError(), [1]])
def test_items_are_the_same_objects(way: Way, item: object) -> None:
    """Whatever the body yields is what the step gives: an exception, a tuple and None are items like others (A1)."""

    async def body() -> AsyncGenerator[object, None]:
        yield item
        await way.pause()
        yield item

    first, second = way.drive(body())
    assert first is item
    assert second is item


def test_throw_passes_the_instance(way: Way) -> None:
    """`g.throw(e)` is `a.athrow(e)`: the body catches the same object, and what it yields next is the result (A1)."""
    thrown = ProbeError()
    caught_there: list[BaseException] = []

    async def body() -> AsyncGenerator[str, None]:
        try:
            yield "first"
        except ProbeError as exc:
            caught_there.append(exc)
            await way.pause()
            yield "caught"

    with way.drive(body()) as generator:
        next(generator)
        assert generator.throw(thrown) == "caught"
    assert caught_there == [thrown]


def test_for_and_yield_from(way: Way) -> None:
    """A `for` loop and `yield from` end with the generator; sends and throws pass through `yield from` (A1)."""
    seen: list[object] = []

    async def body() -> AsyncGenerator[str, object]:
        seen.append((yield "a"))
        await way.pause()
        try:
            yield "b"
        except KeyError as exc:
            seen.append(type(exc))
        await way.pause()
        yield "c"

    def delegating() -> Generator[str, object, str]:
        result = yield from way.drive(body())
        seen.append(result)
        return "end"

    generator = delegating()
    assert next(generator) == "a"
    assert generator.send(0) == "b"
    assert generator.throw(KeyError("k")) == "c"
    assert caught(next, generator).args == ("end",)
    assert seen == [0, KeyError, None]


def test_close_passes_through_yield_from(way: Way) -> None:
    """Closing the delegating generator closes the driven one first, its awaiting cleanup included (A1)."""
    order: list[str] = []

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await way.pause()
            order.append("inner")

    def delegating() -> Generator[int, None, None]:
        try:
            yield from way.drive(body())
        finally:
            order.append("outer")

    generator = delegating()
    next(generator)
    generator.close()
    assert order == ["inner", "outer"]


@final
@dataclass
class Returning:
    """An async iterator whose end carries a value, as PEP 828 will have it."""

    way: Way
    end: StopAsyncIteration
    items: list[int] = field(default_factory=lambda: [1, 2])

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        await self.way.pause()
        if not self.items:
            raise self.end
        return self.items.pop(0)


class Ended(StopAsyncIteration):
    """An end of a class of its own."""


EXCEPTION = ValueError("returned, not raised")


@pytest.mark.parametrize(
    "end, value",
    [
        (StopAsyncIteration(), None),
        (StopAsyncIteration(None), None),
        (StopAsyncIteration("done"), "done"),
        (StopAsyncIteration(0), 0),
        (StopAsyncIteration((1, 2)), (1, 2)),
        (StopAsyncIteration(()), ()),
        (StopAsyncIteration(EXCEPTION), EXCEPTION),
        (StopAsyncIteration(StopIteration), StopIteration),
        (Ended("sub"), "sub"),
    ],
    ids=repr,
)
def test_return_value(way: Way, end: StopAsyncIteration, value: object) -> None:
    """`StopAsyncIteration(v)`, of a subclass too, becomes StopIteration with that very v as its value: a tuple and
    an exception are not unpacked. It is the result of `yield from`; afterwards the value is None (A1, A2).
    """

    def delegating() -> Generator[int, None, object]:
        return (yield from way.drive(Returning(way, end)))

    generator = way.drive(Returning(way, end))
    assert [next(generator), next(generator)] == [1, 2]
    with pytest.raises(StopIteration) as stopped:
        next(generator)
    assert stopped.value.value is value or stopped.value.value == value == ()
    with pytest.raises(StopIteration) as stopped:
        next(generator)
    assert stopped.value.value is None
    assert list(way.drive(Returning(way, end))) == [1, 2]

    delegated = delegating()
    assert list(itertools.islice(delegated, 2)) == [1, 2]
    with pytest.raises(StopIteration) as stopped:
        next(delegated)
    assert stopped.value.value is value or stopped.value.value == value == ()


def test_body_never_runs_ahead_of_its_creation(way: Way) -> None:
    """Making the generator, `iter`, `repr` and asking its state run nothing of the body (A1, A6)."""
    ran: list[str] = []

    async def body() -> AsyncGenerator[int, None]:
        ran.append("began")
        yield 1

    generator = way.drive(body())
    assert iter(generator) is generator
    assert "body" in repr(generator)
    assert not generator.gi_running
    assert ran == []
    assert list(generator) == [1]
    assert ran == ["began"]


# A2: a generator to every observer --------------------------------------------------------------------------------


def test_is_a_generator(anywhere: Way) -> None:
    """`isinstance` knows it as a Generator and Iterator, and it has the source's names (A2)."""
    generator = anywhere.drive(numbers())
    assert isinstance(generator, SyncGenerator)
    assert isinstance(generator, collections.abc.Generator)
    assert isinstance(generator, collections.abc.Iterator)
    assert generator.__name__ == "numbers"
    assert generator.__qualname__ == "numbers"
    assert "numbers" in repr(generator)


def test_inspect_follows_its_life(way: Way) -> None:
    """`inspect.getgeneratorstate` and the `gi_` attributes tell created, running, suspended and closed (A2)."""
    states: list[object] = []
    holder: list[SyncGenerator[Any, Any, Any]] = []

    async def body() -> AsyncGenerator[int, None]:
        (generator,) = holder
        states.append((inspect.getgeneratorstate(generator), generator.gi_running, generator.gi_suspended))
        await way.pause()
        states.append((inspect.getgeneratorstate(generator), generator.gi_running, generator.gi_suspended))
        yield 1
        await way.pause()

    source = body()
    generator = way.drive(source)
    holder.append(generator)
    assert inspect.getgeneratorstate(generator) == inspect.GEN_CREATED
    assert generator.gi_code is body.__code__
    assert generator.gi_frame is frame_of(source)
    next(generator)
    assert states == [(inspect.GEN_RUNNING, True, False)] * 2
    assert inspect.getgeneratorstate(generator) == inspect.GEN_SUSPENDED
    assert (generator.gi_running, generator.gi_suspended) == (False, True)
    assert generator.gi_frame is frame_of(source)
    assert generator.gi_yieldfrom is None
    assert list(generator) == []
    assert inspect.getgeneratorstate(generator) == inspect.GEN_CLOSED
    assert (generator.gi_running, generator.gi_suspended, generator.gi_frame) == (False, False, None)
    assert isinstance(generator.gi_code, types.CodeType)
    holder.clear()


def test_yieldfrom_shows_what_is_awaited(backend: Backend) -> None:
    """While a step waits, `gi_yieldfrom` is what the body awaits, as `ag_await` shows it; between steps None (A2)."""
    awaited: list[object] = []
    seen: list[object] = []

    def look() -> None:
        deadline = time.monotonic() + 10
        while generator.gi_yieldfrom is None and time.monotonic() < deadline:
            pass  # this thread may be there before the step waits for it
        seen.append(generator.gi_yieldfrom)

    async def nested() -> None:
        import anyio.to_thread

        await anyio.to_thread.run_sync(look)

    async def body() -> AsyncGenerator[int, None]:
        awaited.append(nested())
        await awaited[0]  # type: ignore[misc]
        yield 1

    generator: SyncGenerator[int, None, None] = backend.drive(body())
    with generator:
        next(generator)
        assert generator.gi_yieldfrom is None
    assert len(seen) == 1
    assert seen == awaited


@pytest.mark.parametrize("value", [0, False, "x", ()])
def test_send_before_the_first_step(anywhere: Way, value: object) -> None:
    """A value sent to an unstarted generator is the native TypeError, and the generator can still be started (A2)."""
    generator = anywhere.drive(numbers())
    with pytest.raises(TypeError, match=r"^can't send non-None value to a just-started generator$"):
        generator.send(value)
    assert list(generator) == [1, 2]


def test_send_none_starts(anywhere: Way) -> None:
    """`send(None)` starts a generator as `next` does (A2)."""
    with anywhere.drive(numbers()) as generator:
        assert generator.send(None) == 1
        assert generator.send(None) == 2


def test_close_before_the_first_step(way: Way) -> None:
    """Closing an unstarted generator runs none of the body, closes the source, and ends both (A2)."""
    ran: list[str] = []

    async def body() -> AsyncGenerator[int, None]:
        ran.append("began")
        yield 1

    source = body()
    generator = way.drive(source)
    generator.close()
    generator.close()
    assert ran == []
    assert frame_of(source) is None
    assert list(generator) == []
    assert inspect.getgeneratorstate(generator) == inspect.GEN_CLOSED


def test_throw_before_the_first_step(way: Way) -> None:
    """An exception thrown into an unstarted generator comes out, runs none of the body, and ends both (A2)."""
    ran: list[str] = []

    async def body() -> AsyncGenerator[int, None]:
        ran.append("began")
        yield 1

    source, thrown = body(), ProbeError()
    generator = way.drive(source)
    assert caught(generator.throw, thrown) is thrown
    assert ran == []
    assert frame_of(source) is None
    assert list(generator) == []


def test_after_the_end(way: Way) -> None:
    """After the end `next` and `send` are StopIteration without a value, `throw(e)` raises e, `close()` does nothing
    (A2).
    """
    generator = way.drive(Returning(way, StopAsyncIteration("value")))
    assert list(generator) == [1, 2]
    steps: list[Callable[[], object]] = [
        lambda: next(generator),
        lambda: generator.send(None),
        lambda: generator.send(0),
    ]
    for step in steps:
        with pytest.raises(StopIteration) as stopped:
            step()
        assert stopped.value.value is None
    thrown = ProbeError()
    assert caught(generator.throw, thrown) is thrown
    with pytest.raises(KeyError):
        generator.throw(KeyError)
    generator.close()
    generator.close()
    assert list(generator) == []


@pytest.mark.parametrize("ending", ["error", "close", "throw"])
def test_after_every_kind_of_end(way: Way, ending: str) -> None:
    """However it has ended, by an error, `close` or `throw`, the next step is StopIteration and close is quiet (A2)."""

    async def body() -> AsyncGenerator[int, None]:
        yield 1
        await way.pause()
        raise ProbeError

    generator = way.drive(body())
    next(generator)
    if ending == "close":
        generator.close()
    else:
        with pytest.raises(ProbeError):
            next(generator) if ending == "error" else generator.throw(ProbeError())
    assert list(generator) == []
    generator.close()


@pytest.mark.parametrize("step", STEPS)
def test_reentry_from_the_body(way: Way, step: str) -> None:
    """Any step that the body takes of its own generator is the native ValueError, and nothing is lost (A2)."""
    holder: list[SyncGenerator[Any, Any, Any]] = []
    errors: list[str] = []

    def reenter() -> None:
        try:
            STEPS[step](holder[0])
        except ValueError as exc:
            errors.append(str(exc))

    async def body() -> AsyncGenerator[int, None]:
        reenter()
        yield 1
        reenter()
        await way.pause()
        reenter()
        yield 2

    generator = way.drive(body())
    holder.append(generator)
    assert list(generator) == [1, 2]
    assert errors == ["generator already executing"] * 3
    holder.clear()


@pytest.mark.parametrize("step", STEPS)
def test_reentry_from_another_thread(anywhere: Way, step: str) -> None:
    """A step from another thread, while one runs, is the native ValueError in that thread; the step goes on (A2)."""
    started, checked = threading.Event(), threading.Event()
    items: list[int] = []

    async def body() -> AsyncGenerator[int, None]:
        yield 1
        started.set()
        checked.wait()
        yield 2

    generator = anywhere.drive(body())
    thread = threading.Thread(target=lambda: items.extend(generator))
    thread.start()
    try:
        assert started.wait(10)
        with pytest.raises(ValueError, match=r"^generator already executing$"):
            STEPS[step](generator)
        assert generator.gi_running
    finally:
        checked.set()
        thread.join()
    assert items == [1, 2]


def test_reentry_while_a_step_waits(backend: Backend) -> None:
    """A thread that steps the generator while a step waits in the event loop gets the same ValueError (A2)."""
    errors: list[str] = []

    def step_in_thread(generator: SyncGenerator[int, None, None]) -> None:
        try:
            next(generator)
        except ValueError as exc:
            errors.append(str(exc))

    async def body() -> AsyncGenerator[int, None]:
        import anyio.to_thread

        await anyio.to_thread.run_sync(step_in_thread, generator)
        yield 1

    generator: SyncGenerator[int, None, None] = backend.drive(body())
    with generator:
        assert next(generator) == 1
    assert errors == ["generator already executing"]


def test_ignored_exit(way: Way) -> None:
    """A yield while closing is RuntimeError; the generator stays usable like a native one, and can end (A2)."""

    async def body() -> AsyncGenerator[str, object]:
        try:
            yield "first"
        except GeneratorExit:
            await way.pause()
            yield "ignored"
        received = yield "next"
        await way.pause()
        yield f"received {received}"

    generator = way.drive(body())
    assert next(generator) == "first"
    with pytest.raises(RuntimeError, match=r"^generator ignored GeneratorExit$"):
        generator.close()
    assert inspect.getgeneratorstate(generator) == inspect.GEN_SUSPENDED
    assert next(generator) == "next"
    assert generator.send(0) == "received 0"
    assert list(generator) == []
    generator.close()


def test_ignored_exit_by_with(way: Way) -> None:
    """Leaving a `with` block closes, and so reports an ignored GeneratorExit, too (A2)."""

    async def body() -> AsyncGenerator[int, None]:
        for number in range(2):
            with suppress(GeneratorExit):
                yield number

    generator = way.drive(body())
    with pytest.raises(RuntimeError, match=r"^generator ignored GeneratorExit$"), generator:
        next(generator)
    assert list(generator) == []


def test_ignored_exit_on_the_first_step(way: Way) -> None:
    """A source that was started elsewhere may ignore the exit that is the generator's first step (A2)."""

    async def body() -> AsyncGenerator[str, None]:
        try:
            yield "first"
        except GeneratorExit:
            await way.pause()
            yield "ignored"
        await way.pause()
        yield "next"

    with way.runner() as runner:
        source = body()
        assert runner.run(anext, source) == "first"
        generator = runner.drive(source)
        with pytest.raises(RuntimeError, match=r"^generator ignored GeneratorExit$"):
            generator.close()
        assert list(generator) == ["next"]


def test_throwing_generator_exit_is_not_closing(way: Way) -> None:
    """`throw(GeneratorExit)` raises it where the body stands: what is yielded then is the result, and what comes out
    is GeneratorExit itself (A1, A2).
    """

    async def body() -> AsyncGenerator[str, None]:
        try:
            yield "first"
        except GeneratorExit:
            await way.pause()
            yield "caught"

    generator = way.drive(body())
    next(generator)
    assert generator.throw(GeneratorExit()) == "caught"
    assert list(generator) == []

    generator = way.drive(numbers())
    next(generator)
    thrown = GeneratorExit("mine")
    assert caught(generator.throw, thrown) is thrown
    assert list(generator) == []


def test_throw_takes_a_class(way: Way) -> None:
    """A class thrown is instantiated once, without arguments (A2)."""
    made: list[BaseException] = []

    class CountedError(Exception):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    async def body() -> AsyncGenerator[BaseException | None, None]:
        try:
            yield None
        except CountedError as exc:
            await way.pause()
            yield exc

    with way.drive(body()) as generator:
        next(generator)
        result = generator.throw(CountedError)
    assert made == [result]


@pytest.mark.parametrize(
    "arguments, args",
    [
        ((KeyError, None), ()),
        ((KeyError, "one"), ("one",)),
        ((KeyError, ("one", "two")), ("one", "two")),
        ((LookupError, KeyError("sub")), ("sub",)),
        ((KeyError("instance"), None), ("instance",)),
    ],
)
def test_throw_with_three_arguments(way: Way, arguments: tuple[Any, Any], args: tuple[object, ...]) -> None:
    """The deprecated form means what it means for a native generator, and warns at the caller's line (A2)."""
    try:
        raise ZeroDivisionError
    except ZeroDivisionError as exc:
        traceback = exc.__traceback__

    async def body() -> AsyncGenerator[BaseException | None, None]:
        try:
            yield None
        except LookupError as exc:
            await way.pause()
            yield exc

    with way.drive(body()) as generator:
        next(generator)
        with pytest.warns(DeprecationWarning, match="signature of throw") as warned:
            result = generator.throw(*arguments, traceback)
        assert isinstance(result, LookupError)
        assert result.args == args
        assert warned[0].filename == __file__
        assert traceback is not None
        names = frames_of(result)
        assert names[-1] == "test_throw_with_three_arguments"


def test_throw_of_a_class_that_cannot_be_made(way: Way) -> None:
    """What the making of a class raises is thrown in its place, as into a native generator (A2)."""

    class NeedyError(Exception):
        def __init__(self, argument: object) -> None:
            super().__init__(argument)

    def native_body() -> Generator[object, None, None]:
        try:
            yield None
        except TypeError as exc:
            yield str(exc)

    async def body() -> AsyncGenerator[object, None]:
        try:
            yield None
        except TypeError as exc:
            await way.pause()
            yield str(exc)

    native = native_body()
    next(native)
    with way.drive(body()) as generator:
        next(generator)
        result = generator.throw(NeedyError)
    assert result == native.throw(NeedyError)


@pytest.mark.parametrize(
    "arguments",
    [(7,), ("KeyError",), (int,), (None,), (KeyError(), "value"), (KeyError, None, "no traceback")],
    ids=repr,
)
@pytest.mark.filterwarnings("ignore:the .type, exc, tb. signature")
def test_throw_of_nonsense(anywhere: Way, arguments: tuple[Any, ...]) -> None:
    """What cannot be thrown is a TypeError like the native generator's, and the generator is as it was (A2)."""

    def native_body() -> Generator[int, None, None]:
        yield 1
        yield 2

    native, generator = native_body(), anywhere.drive(numbers())
    next(native)
    with generator:
        next(generator)
        expected = caught(native.throw, *arguments)
        actual = caught(generator.throw, *arguments)
        assert type(actual) is type(expected) is TypeError
        assert str(actual) == str(expected)
        assert next(generator) == 2


def test_with_closes(way: Way) -> None:
    """The generator is a context manager that closes it, also when the block raises, which it lets through (A2)."""
    cleaned: list[int] = []

    async def body() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await way.pause()
            cleaned.append(1)

    with way.drive(body()) as generator:
        next(generator)
    assert inspect.getgeneratorstate(generator) == inspect.GEN_CLOSED
    with pytest.raises(ProbeError), way.drive(body()) as generator:
        next(generator)
        raise ProbeError
    with closing(way.drive(body())) as generator, ExitStack() as stack:
        stack.enter_context(generator)
        next(generator)
    assert cleaned == [1, 1, 1]


def test_weak_references_and_no_others(anywhere: Way) -> None:
    """A weak reference may watch it, and dropping it lets go of generator and source at once (A2)."""
    with without_collector():
        source = numbers()
        generator = anywhere.drive(source)
        watched: list[weakref.ref[Any]] = [weakref.ref(generator), weakref.ref(source)]
        next(generator)
        del generator, source
        assert [reference() for reference in watched] == [None, None]


def test_cannot_be_copied(anywhere: Way) -> None:
    """Copying and pickling are the TypeError that they are for a native generator (A2)."""
    with anywhere.drive(numbers()) as generator:
        next(generator)
        for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="pickle"):
                duplicate(generator)
        assert next(generator) == 2


def test_other_generators_take_it_as_one(way: Way) -> None:
    """`itertools`, unpacking and membership tests work as with any iterator (A2)."""

    async def body() -> AsyncGenerator[int, None]:
        for number in range(5):
            await way.pause()
            yield number

    assert list(itertools.islice(way.drive(body()), 2)) == [0, 1]
    first, *others = way.drive(body())
    assert (first, others) == (0, [1, 2, 3, 4])
    assert 3 in way.drive(body())
    assert list(zip(way.drive(body()), way.drive(body()), strict=True)) == [(n, n) for n in range(5)]
    assert dict(enumerate(way.drive(body()))) == {n: n for n in range(5)}
