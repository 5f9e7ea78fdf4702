"""Sources that are less than an async generator, or more awkward (SEMANTICS A3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast, final

import pytest

from asyncgen_tools import drive
from asyncgen_tools.errors import UnsupportedStepError
from tests.ways import (
    ANYWHERE,
    Countdown,
    ProbeError,
    anywhere_fixture as anywhere_fixture,  # noqa: PLC0414  # pytest finds it here
    caught,
    frames_of,
    way_fixture as way_fixture,  # noqa: PLC0414  # pytest finds it here
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator

    from tests.conftest import Backend
    from tests.ways import Way


# A3: sources that are less than an async generator ------------------------------------------------------------------


def test_plain_iterator_is_a_source(way: Way) -> None:
    """An async iterator without asend, athrow and aclose is fine, and so is `send(None)` (A3)."""
    assert list(way.drive(Countdown(way))) == [2, 1, 0]
    with way.drive(Countdown(way)) as generator:
        assert [generator.send(None), next(generator)] == [2, 1]


@pytest.mark.parametrize("value", [0, "x"])
def test_send_needs_asend(way: Way, value: object) -> None:
    """`send(v)` to a source without asend is an AttributeError that names it; nothing is lost by the attempt (A3)."""
    source = Countdown(way)
    generator = way.drive(source)
    assert next(generator) == 2
    with pytest.raises(AttributeError, match="asend") as refused:
        generator.send(value)
    assert isinstance(refused.value, UnsupportedStepError)
    assert refused.value.name == "asend"
    assert refused.value.obj is source
    assert "Countdown" in str(refused.value)
    assert list(generator) == [1, 0]
    with pytest.raises(StopIteration):
        generator.send(value)


def test_send_before_the_first_step_without_asend(way: Way) -> None:
    """Before the first step, a value is refused as by any just-started generator (A2, A3)."""
    generator = way.drive(Countdown(way))
    with pytest.raises(TypeError, match="just-started generator"):
        generator.send(1)
    assert list(generator) == [2, 1, 0]


@pytest.mark.parametrize("kind", [ProbeError, StopAsyncIteration])
@pytest.mark.parametrize("started", [False, True])
def test_throw_without_athrow(way: Way, started: bool, kind: type[Exception]) -> None:
    """`throw(e)` to a source without athrow raises e and ends the generator, not the source; StopAsyncIteration is not
    taken for the end of the source (A3).
    """
    source, thrown = Countdown(way), kind()
    generator = way.drive(source)
    if started:
        next(generator)
    assert caught(generator.throw, thrown) is thrown
    assert thrown.__context__ is None
    assert list(generator) == []
    assert source.left == (2 if started else 3)


@pytest.mark.parametrize("started", [False, True])
def test_close_without_aclose(way: Way, started: bool) -> None:
    """`close()` of a source without aclose just ends the generator; the source is the caller's to use on (A3)."""
    source = Countdown(way)
    generator = way.drive(source)
    if started:
        next(generator)
    generator.close()
    assert list(generator) == []
    assert source.left == (2 if started else 3)
    assert list(way.drive(source)) == ([1, 0] if started else [2, 1, 0])


def test_iterables_are_iterated_at_the_first_step(way: Way) -> None:
    """An async iterable gives its iterator at the first step, inside of it, and once (A3, A6)."""
    calls: list[str] = []

    class Rows:
        def __aiter__(self) -> AsyncIterator[int]:
            calls.append("aiter")
            return self.rows()

        async def rows(self) -> AsyncGenerator[int, None]:
            try:
                for number in range(3):
                    await way.pause()
                    yield number
            finally:
                calls.append("closed")

    generator = way.drive(Rows())
    assert calls == []
    assert next(generator) == 0
    assert calls == ["aiter"]
    generator.close()
    assert calls == ["aiter", "closed"]
    assert list(way.drive(Rows())) == [0, 1, 2]

    calls.clear()
    unstarted = way.drive(Rows())
    unstarted.close()
    assert calls == []
    assert list(unstarted) == []


def test_iterables_take_values_if_their_iterators_do(way: Way) -> None:
    """Whether values can be sent is asked of the iterator, not of the iterable (A3)."""

    class Echo:
        def __aiter__(self) -> AsyncGenerator[object, object]:
            return self.echo()

        async def echo(self) -> AsyncGenerator[object, object]:
            received: object = None
            while True:
                received = yield received
                await way.pause()

    with way.drive(Echo()) as generator:
        assert next(generator) is None
        assert generator.send(0) == 0


@pytest.mark.parametrize("kind", [ProbeError, StopAsyncIteration])
def test_aiter_that_raises(way: Way, kind: type[Exception]) -> None:
    """What `__aiter__` raises comes out of the first step, as it is, and ends the generator; StopAsyncIteration, too
    (A3, A9).
    """
    raised = kind()

    class Broken:
        def __aiter__(self) -> AsyncIterator[int]:
            raise raised

    generator = way.drive(Broken())
    exc = caught(next, generator)
    assert exc is raised
    assert frames_of(exc)[-1] == "__aiter__"
    assert list(generator) == []


def test_aiter_that_gives_no_iterator(way: Way) -> None:
    """An `__aiter__` whose result has no `__anext__` is the interpreter's TypeError, at the first step (A3)."""

    class Broken:
        def __aiter__(self) -> Any:
            return [1]

    with pytest.raises(TypeError, match="not an async iterator"):
        next(way.drive(Broken()))


class Immediate:
    """An awaitable that is no coroutine."""

    def __init__(self, result: Callable[[], Any]) -> None:
        self.result = result

    def __await__(self) -> Iterator[Any]:
        return iter(self._steps())

    def _steps(self) -> Generator[Any, Any, Any]:
        yield from ()
        return self.result()


@final
class Awaitables:
    """A source all of whose methods are plain functions that give awaitables which are no coroutines."""

    def __init__(self) -> None:
        self.log: list[object] = []

    def __aiter__(self) -> Awaitables:
        return self

    def _answer(self, what: object) -> Immediate:
        def result() -> object:
            self.log.append(what)
            if len(self.log) == 4:
                raise StopAsyncIteration("end")
            return what

        return Immediate(result)

    def __anext__(self) -> Immediate:
        return self._answer("next")

    def asend(self, value: object) -> Immediate:
        """Answer."""
        return self._answer(("send", value))

    def athrow(self, exc: BaseException) -> Immediate:
        """Answer."""
        return self._answer(("throw", exc))

    def aclose(self) -> Immediate:
        """Answer."""
        return self._answer("close")


def test_unstarted_sources_that_need_no_closing(backend: Backend) -> None:
    """Closing an unstarted generator touches neither an iterable, whatever methods it has, nor an iterator without
    aclose; not even an event loop is made for it (A2, A3).
    """
    touched: list[str] = []

    class Response:
        def __aiter__(self) -> AsyncIterator[int]:
            raise AssertionError

        async def aclose(self) -> None:
            touched.append("aclose")

    with backend.runner() as runner:
        runner.drive(Response()).close()
    assert touched == []
    generator = drive(Countdown(ANYWHERE[0].values[0]), backend_options={"loop_factory": touched.append})
    generator.close()
    assert (touched, list(generator)) == ([], [])


def test_throw_as_the_first_step_reaches_the_iterator(way: Way) -> None:
    """`throw(e)` as the first step of an async iterable is the athrow of its iterator (A1, A3)."""
    source = Awaitables()

    class Rows:
        def __aiter__(self) -> AsyncIterator[Any]:
            return cast("AsyncIterator[Any]", source)

    thrown, generator = ProbeError(), way.drive(Rows())
    assert generator.throw(thrown) == ("throw", thrown)
    assert source.log == [("throw", thrown)]


@pytest.mark.parametrize("step", ["next", "close"])
@pytest.mark.parametrize("message", ["async generator ignored GeneratorExit", "cannot close"])
def test_errors_that_look_like_an_ignored_exit(way: Way, step: str, message: str) -> None:
    """A RuntimeError of the source comes out of the step as it is, also if it does not tell whether it has ended. Only
    in a close, and with CPython's own words, it says that GeneratorExit was ignored (A2, A9).
    """
    raised = RuntimeError(message)

    class Source:
        fails = step == "next"

        def __aiter__(self) -> AsyncIterator[int]:
            return self

        async def __anext__(self) -> int:
            await way.pause()
            if self.fails:
                raise raised
            return 1

        async def aclose(self) -> None:
            await way.pause()
            raise raised

    source = Source()
    generator = way.drive(source)
    if step == "next":
        assert caught(next, generator) is raised
        return
    next(generator)
    exc = caught(generator.close)
    if message == "cannot close":
        assert exc is raised
    else:
        assert str(exc) == "generator ignored GeneratorExit"
        source.aclose = nothing  # type: ignore[method-assign]
        generator.close()


async def nothing() -> None:
    """The end of a close."""


def test_any_awaitable_will_do(anywhere: Way) -> None:
    """The source's methods may be plain functions and give any awaitable (A3)."""
    source, thrown = Awaitables(), ProbeError()
    generator = anywhere.drive(source)
    assert next(generator) == "next"
    assert generator.send(0) == ("send", 0)
    assert generator.throw(thrown) == ("throw", thrown)
    with pytest.raises(StopIteration) as stopped:
        next(generator)
    assert stopped.value.value == "end"

    source = Awaitables()
    generator = anywhere.drive(source)
    next(generator)
    generator.close()
    assert source.log == ["next", "close"]


def test_unstarted_source_is_closed(way: Way) -> None:
    """Closing an unstarted generator awaits the aclose of a source that is an iterator already, and what that raises
    comes out (A2, A9).
    """
    raised = ProbeError()

    @final
    class ConnectionLostError(Exception):
        def __aiter__(self) -> AsyncIterator[int]:
            return self

        async def __anext__(self) -> int:
            return 1

        async def aclose(self) -> None:
            await way.pause()
            raise raised

    generator = way.drive(ConnectionLostError())
    assert caught(generator.close) is raised
    generator.close()
    assert list(generator) == []


def test_not_awaitable(anywhere: Way) -> None:
    """A method of the source that gives something that cannot be awaited is a TypeError out of the step (A3)."""

    class Broken:
        def __aiter__(self) -> Any:
            return self

        def __anext__(self) -> int:
            return 1

    with pytest.raises(TypeError, match="await"):
        next(anywhere.drive(Broken()))


def test_methods_that_raise_at_once(way: Way) -> None:
    """What a plain method raises instead of giving an awaitable comes out of the step; StopAsyncIteration ends (A3)."""

    class Abrupt:
        error: BaseException = ProbeError()

        def __aiter__(self) -> Any:
            return self

        def __anext__(self) -> Any:
            raise self.error

    source = Abrupt()
    exc = caught(next, way.drive(source))
    assert exc is source.error
    assert frames_of(exc)[-1] == "__anext__"
    source.error = StopAsyncIteration("value")
    assert caught(next, way.drive(source)).args == ("value",)
    source.error = StopIteration("leaked")
    with pytest.raises(RuntimeError, match="StopIteration"):
        next(way.drive(source))
