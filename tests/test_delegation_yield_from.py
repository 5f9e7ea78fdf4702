"""The cases of CPython's Lib/test/test_yield_from.py, for `await yield_from(...)`, in words of our own.

Every step is one `.send(None)` and nothing suspends, so this needs no event loop and no pytest, and runs under pyodide.
StopAsyncIteration stands where CPython's file has StopIteration, RuntimeError("... is already running") where it has
ValueError("generator already executing"), and a value is returned by `set_return_value`. What else differs is said
in the test. Left out are two cases that cannot apply:

* `test_delegator_is_visible_to_debugger`: a delegating generator is not on the stack while its subgenerator runs (B23);
  that its line is in tracebacks is tested in test_delegation.py.
* delegating to a bare `range(3)`: a sync iterable is refused (B24, tested there), and so it is wrapped here.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from typing import TYPE_CHECKING, Any

from asyncgen_tools import AsAsyncIterator, delegating, set_return_value, stop_value, yield_from
from tests.delegation_helpers import raises

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator


def step(awaitable: Any) -> Any:
    """The item of a step that must not suspend; what else comes of it is raised."""
    try:
        awaitable.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the step suspended")


def outcome(awaitable: Any) -> Any:
    """The item of a step, or the very exception that it raises."""
    try:
        return step(awaitable)
    except BaseException as error:
        error.__traceback__ = None
        return error


def exhaust(generator: Any, log: list[Any], sent: Iterator[Any] | None = None) -> None:
    """Step a generator to its end, by what is sent or by `anext`, and log its items."""
    while True:
        try:
            item = step(anext(generator) if sent is None else generator.asend(next(sent)))
        except StopAsyncIteration:
            return
        log.append(("item", item))


def assert_at_the_end(generator: Any) -> None:
    """B15: another step finds nothing, not even a value or a context."""
    stop = outcome(anext(generator))
    assert type(stop) is StopAsyncIteration
    assert stop_value(stop) is None
    assert stop.args == ()
    assert stop.__context__ is None


def contexts(error: BaseException) -> list[BaseException]:
    """The exceptions in whose handling this one was raised, the nearest first."""
    found: list[BaseException] = []
    while error.__context__ is not None:
        error = error.__context__
        found.append(error)
    return found


@delegating
async def outer(log: list[Any], subgenerator: Any) -> AsyncGenerator[Any, Any]:
    """One item, the subgenerator, one item; logs what is sent and the result of the delegation."""
    log.append("outer begins")
    try:
        log.append((yield "ham"))
        log.append(("result", await yield_from(subgenerator)))
        log.append((yield "eggs"))
    finally:
        log.append("outer ends")


@delegating
async def inner(log: list[Any], error: BaseException | None = None, at: int = 1) -> AsyncGenerator[Any, Any]:
    """Two items; logs what is sent; raises an error, if there is one, after so many items."""
    log.append("inner begins")
    try:
        for index, item in enumerate(("spam", "more spam", None)):
            if index == at and error is not None:
                raise error
            if item is not None:
                log.append((yield item))
    finally:
        log.append("inner ends")


class Endless:
    """An async iterator with nothing but `__anext__`."""

    def __aiter__(self) -> Endless:
        return self

    async def __anext__(self) -> Any:
        return 42


# --- next, send, throw and close reach the subgenerator


def test_next() -> None:
    """B2, B4, B10: the first `anext` and all others reach the subgenerator; after its end the generator goes on."""
    log: list[Any] = []
    exhaust(outer(log, inner(log)), log)
    expected = [
        "outer begins", ("item", "ham"), None,
        "inner begins", ("item", "spam"), None, ("item", "more spam"), None, "inner ends",
        ("result", None), ("item", "eggs"), None, "outer ends",
    ]  # fmt: skip
    assert log == expected


def test_next_raises() -> None:
    """B11: an error of the subgenerator, in its first step or a later one, passes both `finally`s, inner first."""
    for at in (0, 1, 2):
        log: list[Any] = []
        error = ValueError("spanish inquisition")
        generator = outer(log, inner(log, error, at))
        with raises(ValueError) as caught:
            exhaust(generator, log)
        assert caught == [error]
        items = [("item", "spam"), None, ("item", "more spam"), None][: 2 * at]
        begun = ["outer begins", ("item", "ham"), None, "inner begins"]
        assert log == [*begun, *items, "inner ends", "outer ends"]
        assert_at_the_end(generator)


def test_send() -> None:
    """B5: each sent value arrives in whichever of the two generators has yielded last."""
    log: list[Any] = []
    generator = outer(log, inner(log))
    step(anext(generator))
    exhaust(generator, log, iter(range(1, 9)))
    expected = [
        "outer begins", 1,
        "inner begins", ("item", "spam"), 2, ("item", "more spam"), 3, "inner ends",
        ("result", None), ("item", "eggs"), 4, "outer ends",
    ]  # fmt: skip
    assert log == expected


def test_send_raises() -> None:
    """B11: an error that the subgenerator raises when a value is sent to it reaches the sender."""
    log: list[Any] = []
    generator = outer(log, inner(log, ValueError("hovercraft")))
    step(anext(generator))
    with raises(ValueError, "hovercraft"):
        exhaust(generator, log, iter(range(1, 9)))
    assert log == ["outer begins", 1, "inner begins", ("item", "spam"), 2, "inner ends", "outer ends"]


def test_close() -> None:
    """B7: closing runs the `finally` of the subgenerator, then that of the generator."""
    log: list[Any] = []
    generator = outer(log, inner(log))
    assert [step(anext(generator)) for _ in range(2)] == ["ham", "spam"]
    assert step(generator.aclose()) is None
    assert log == ["outer begins", None, "inner begins", "inner ends", "outer ends"]


def test_close_raises() -> None:
    """B8: an error raised while the subgenerator is being closed reaches who closes; its context is GeneratorExit."""
    log: list[Any] = []

    @delegating
    async def exploding() -> AsyncGenerator[Any, Any]:
        try:
            yield "spam"
        finally:
            raise ValueError("nybbles")

    generator = outer(log, exploding())
    assert [step(anext(generator)) for _ in range(2)] == ["ham", "spam"]
    with raises(ValueError, "nybbles") as caught:
        step(generator.aclose())
    assert [type(error) for error in contexts(caught[0])] == [GeneratorExit]
    assert log == ["outer begins", None, "outer ends"]


def test_throw() -> None:
    """B6: what is thrown passes the `finally` of the subgenerator, then that of the generator."""
    log: list[Any] = []
    error = ValueError("tomato")
    generator = outer(log, inner(log))
    assert [step(anext(generator)) for _ in range(2)] == ["ham", "spam"]
    assert outcome(generator.athrow(error)) is error
    assert log == ["outer begins", None, "inner begins", "inner ends", "outer ends"]


def test_throw_is_caught() -> None:
    """B6: what the subgenerator yields after it has caught what was thrown is the result of the throw."""
    log: list[Any] = []

    async def catching() -> AsyncGenerator[Any, Any]:
        try:
            yield "spam"
        except LookupError:
            yield "lunch saved"
            yield "yet more spam"

    generator = outer(log, catching())
    assert [step(anext(generator)) for _ in range(2)] == ["ham", "spam"]
    assert step(generator.athrow(LookupError("tomato"))) == "lunch saved"
    exhaust(generator, log)
    assert log == [
        *("outer begins", None, ("item", "yet more spam"), ("result", None), ("item", "eggs"), None, "outer ends")
    ]


# --- return values


def test_stop_value() -> None:
    """B10: the value of a StopAsyncIteration is its first argument or None, and its `value` attribute before both."""
    assert stop_value(StopAsyncIteration()) is None
    stop = StopAsyncIteration("spam")
    assert stop_value(stop) == "spam"
    stop.value = "eggs"  # type: ignore[attr-defined, unused-ignore]  # typeshed has it with PEP 828 (3.16)
    assert stop_value(stop) == "eggs"


@delegating
async def returning(value: Any, log: list[Any]) -> AsyncGenerator[Any, Any]:
    """Return the value after an item."""
    log.append((yield "item"))
    await set_return_value(value)


def test_result() -> None:
    """B12: the result of a delegation is the very object returned, be it a tuple, an exception or a fresh list."""
    for value in (None, 1, (2,), StopIteration(3), StopAsyncIteration(4), GeneratorExit(5)):
        log: list[Any] = []
        exhaust(outer(log, returning(value, log)), log)
        results: list[Any] = [entry for entry in log if isinstance(entry, tuple)]
        assert [entry[1] is value for entry in results if entry[0] == "result"] == [True]

    @delegating
    async def fresh() -> AsyncGenerator[Any, Any]:
        yield "item"
        await set_return_value([42])  # which nothing else holds

    log = []
    exhaust(outer(log, fresh()), log)
    assert ("result", [42]) in log


def test_stop_carries_the_value() -> None:
    """B12: a generator stepped by `anext` or `asend` ends with a StopAsyncIteration of its value; none for None."""
    for value in (None, 1, (2,), StopIteration(3), StopAsyncIteration(4)):
        for sent in (None, "spam"):
            log: list[Any] = []
            generator = returning(value, log)
            step(anext(generator))
            stop = outcome(generator.asend(sent))
            assert type(stop) is StopAsyncIteration
            assert stop_value(stop) is value
            assert stop.args == (() if value is None else (value,))
            assert log == [sent]


def test_throw_and_return() -> None:
    """B12: a subgenerator that catches what is thrown may return a value, and the generator goes on with it."""

    @delegating
    async def catching(value: Any) -> AsyncGenerator[Any, Any]:
        with contextlib.suppress(ValueError):
            yield 1
        await set_return_value(value)

    @delegating
    async def yields_the_result(value: Any) -> AsyncGenerator[Any, Any]:
        yield await yield_from(catching(value))

    for value in (2, (2,), StopIteration(2), StopAsyncIteration(2)):
        generator = yields_the_result(value)
        assert step(anext(generator)) == 1
        assert step(generator.athrow(ValueError())) is value


def test_class_returns() -> None:
    """B10: a class that raises StopAsyncIteration(value) at once has returned that value."""

    class Empty(Endless):
        async def __anext__(self) -> Any:
            raise StopAsyncIteration(42)

    log: list[Any] = []
    exhaust(outer(log, Empty()), log)
    assert ("result", 42) in log


# --- subgenerators that are no generators


def test_iterator_next() -> None:
    """B4: an async iterator is stepped by `anext`, also when None is sent; an empty one yields nothing."""
    log: list[Any] = []
    generator = outer(log, AsAsyncIterator(range(3)))
    assert [step(generator.asend(None)) for _ in range(5)] == ["ham", 0, 1, 2, "eggs"]
    log = []
    exhaust(outer(log, AsAsyncIterator(())), log)
    assert [entry for entry in log if entry is not None] == [
        *("outer begins", ("item", "ham"), ("result", None), ("item", "eggs"), "outer ends")
    ]


def test_iterator_close() -> None:
    """B7: closing a generator that delegates to something without `aclose` just closes the generator."""
    log: list[Any] = []
    generator = outer(log, AsAsyncIterator(range(3)))
    assert [step(anext(generator)) for _ in range(2)] == ["ham", 0]
    assert step(generator.aclose()) is None
    assert log == ["outer begins", None, "outer ends"]


def test_iterator_throw() -> None:
    """B6: what is thrown while delegating to something without `athrow` is raised in the generator."""
    log: list[Any] = []
    error = ValueError("tomato")
    generator = outer(log, AsAsyncIterator(range(9)))
    assert [step(anext(generator)) for _ in range(5)] == ["ham", 0, 1, 2, 3]
    assert outcome(generator.athrow(error)) is error
    assert log == ["outer begins", None, "outer ends"]


def test_iterator_send() -> None:
    """B5: sending while delegating to something without `asend` is AttributeError in the generator."""
    log: list[Any] = []
    generator = outer(log, AsAsyncIterator(range(3)))
    assert [step(anext(generator)) for _ in range(2)] == ["ham", 0]
    with raises(AttributeError, "asend"):
        step(generator.asend(42))
    assert log == ["outer begins", None, "outer ends"]


def test_custom_send() -> None:
    """B5: a tuple that is sent to a class of one's own arrives as that tuple, not as arguments."""
    sent: list[Any] = []

    class Taking(Endless):
        async def asend(self, *values: Any) -> None:
            sent.append(values)

    generator = outer([], Taking())
    assert [step(anext(generator)) for _ in range(2)] == ["ham", 42]
    assert step(generator.asend((1, 2, 3, 4))) is None
    assert sent == [((1, 2, 3, 4),)]


def test_broken_lookup() -> None:
    """B9: an error of the lookup of a method, AttributeError apart, is raised in the generator, by `aclose()` too.

    For `close()` CPython's sync generators only print it; PEP 828 raises it.
    """

    class Broken(Endless):
        def __getattr__(self, name: str) -> Any:
            raise ZeroDivisionError(name)

    uses: tuple[tuple[str, Callable[[Any], Any]], ...] = (
        ("asend", lambda generator: generator.asend(1)),
        ("athrow", lambda generator: generator.athrow(AttributeError())),
        ("aclose", lambda generator: generator.aclose()),
    )
    for name, use in uses:
        generator = outer([], Broken())
        assert [step(anext(generator)) for _ in range(2)] == ["ham", 42]
        with raises(ZeroDivisionError, f"^{name}$"):
            step(use(generator))
        assert_at_the_end(generator)


# --- running, rings and the garbage collector


def test_loop() -> None:
    """B26: a subgenerator that delegates back to its delegator is refused, and the refusal passes through both."""
    log: list[Any] = []
    made: list[Any] = []

    @delegating
    async def back() -> AsyncGenerator[Any, Any]:
        yield "back"
        log.append("about to delegate back")
        await yield_from(made[0])

    made.append(outer(log, back()))
    with raises(RuntimeError, r"^anext\(\): asynchronous generator is already running$"):
        exhaust(made[0], log)
    assert log == [*("outer begins", ("item", "ham"), None, ("item", "back"), "about to delegate back", "outer ends")]


class TomatoError(Exception):
    """Thrown at generators that ignore it."""


def test_running() -> None:
    """B17: a generator counts as running while it delegates, so its subgenerator cannot delegate to it.

    The refusal can be caught, and all goes on, whether the generators are stepped, sent to or thrown into.
    """
    made: list[Any] = []

    @delegating
    async def one() -> AsyncGenerator[Any, Any]:
        with contextlib.suppress(TomatoError):
            yield 0
        await yield_from(two())
        with contextlib.suppress(TomatoError):
            yield 3

    @delegating
    async def two() -> AsyncGenerator[Any, Any]:
        with contextlib.suppress(TomatoError):
            yield 1
        with contextlib.suppress(RuntimeError):
            await yield_from(made.pop())
        with contextlib.suppress(TomatoError):
            yield 2

    uses: tuple[Callable[[Any], Any], ...] = (
        anext,
        lambda generator: generator.asend(42),
        lambda generator: generator.athrow(TomatoError()),
    )
    for use in uses:
        generator = one()
        made.append(generator)
        assert [step(anext(generator)), *(step(use(generator)) for _ in range(3))] == [0, 1, 2, 3]
        assert isinstance(outcome(use(generator)), StopAsyncIteration)
        assert made == []


def test_running_while_closing() -> None:
    """B17: a generator runs, and refuses to be stepped, while the `aclose` of its subgenerator does."""
    seen: list[Any] = []

    class Looking(Endless):
        async def aclose(self) -> None:
            seen.extend((generator.ag_running, outcome(anext(generator))))

    generator = outer([], Looking())
    assert [step(anext(generator)) for _ in range(2)] == ["ham", 42]
    assert step(generator.aclose()) is None
    running, refusal = seen
    assert running is True
    assert str(refusal) == "anext(): asynchronous generator is already running"


def test_collected_in_a_ring() -> None:
    """B22: generators that hold one another and delegate are closed by the collector, each once, inner first."""
    log: list[str] = []

    async def innermost() -> AsyncGenerator[Any, Any]:
        try:
            yield "innermost"
        finally:
            log.append("innermost")

    @delegating
    async def middle() -> AsyncGenerator[Any, Any]:
        held = yield
        try:
            await yield_from(innermost())
        finally:
            log.append("middle")
            del held

    @delegating
    async def outermost() -> AsyncGenerator[Any, Any]:
        held = yield
        try:
            await yield_from(held)
        finally:
            log.append("outermost")

    unraisable: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, unraisable.append
    enabled = gc.isenabled()
    gc.disable()
    try:
        sub = middle()  # made first, so that the collector meets it first
        top = outermost()
        step(anext(top))
        assert step(top.asend(sub)) is None
        assert step(top.asend(top)) == "innermost"
        del top, sub
        assert log == []
        gc.collect()
    finally:
        sys.unraisablehook = hook
        if enabled:
            gc.enable()
    assert log == ["innermost", "middle", "outermost"]
    assert unraisable == []


# --- closing and throwing, whatever the subgenerator makes of it (CPython's TestInterestingEdgeCases)

FIRST, SECOND, RETURNED = object(), object(), object()

#: How the generator is ended: by `aclose()`, or by throwing one of these.
WAYS: tuple[type[BaseException] | None, ...] = (
    None,
    GeneratorExit,
    StopAsyncIteration,
    StopIteration,
    BaseException,
    Exception,
)


@delegating
async def passing(subgenerator: Any) -> AsyncGenerator[Any, Any]:
    """A pure delegator."""
    await set_return_value(await yield_from(subgenerator))
    if subgenerator is None:
        yield


def ended(make: Callable[[], Any], way: type[BaseException] | None) -> tuple[Any, BaseException | None, Any]:
    """A delegator to a new subgenerator that has yielded an item; what is thrown in one way, and what comes of it."""
    generator = passing(make())
    assert step(anext(generator)) is FIRST
    thrown = None if way is None else way()
    return generator, thrown, outcome(generator.aclose() if thrown is None else generator.athrow(thrown))


def assert_pep_479(error: Any, cause: BaseException) -> None:
    """B14: StopIteration or StopAsyncIteration came out of a body."""
    assert type(error) is RuntimeError
    assert str(error) == f"async generator raised {type(cause).__name__}"
    assert error.__cause__ is error.__context__ is cause


def test_end_of_a_simple_subgenerator() -> None:
    """B6, B7, B14: `aclose` is silent; what is thrown comes back without a context, or as PEP 479 says."""

    @delegating
    async def simple() -> AsyncGenerator[Any, Any]:
        yield FIRST
        yield SECOND
        await set_return_value(RETURNED)

    for way in WAYS:
        generator, thrown, found = ended(simple, way)
        if isinstance(thrown, (StopIteration, StopAsyncIteration)):
            assert_pep_479(found, thrown)
            assert contexts(found) == [thrown]
        else:
            assert found is thrown
            assert thrown is None or contexts(thrown) == []
        assert_at_the_end(generator)


def test_end_of_a_subgenerator_that_raises() -> None:
    """B8, B11: what the subgenerator raises in its clean-up comes out, its only context being what was thrown there.

    That is the GeneratorExit of the subgenerator's own `aclose()` where the generator is closed or GeneratorExit is
    thrown (B7). `aclose()` swallows a GeneratorExit of the subgenerator; then what was thrown goes on.
    """
    raised: BaseException

    async def raising() -> AsyncGenerator[Any, Any]:
        try:
            yield FIRST
            yield SECOND
        finally:
            raise raised

    for kind in (GeneratorExit, StopAsyncIteration, StopIteration, BaseException, Exception):
        for way in WAYS:
            raised = kind()
            generator, thrown, found = ended(raising, way)
            closed = way in (None, GeneratorExit)
            if closed and kind is GeneratorExit:
                assert found is thrown
                assert thrown is None or contexts(thrown) == []
                assert_at_the_end(generator)
                continue
            if isinstance(raised, (StopIteration, StopAsyncIteration)):
                assert_pep_479(found, raised)
            else:
                assert found is raised
            (context,) = contexts(raised)
            if closed:
                assert type(context) is GeneratorExit
                assert context is not thrown
            else:
                assert context is thrown
            assert_at_the_end(generator)


def test_end_of_a_subgenerator_that_yields() -> None:
    """B16, B6: a yield in the clean-up is refused where GeneratorExit was thrown, and is the result otherwise."""

    @delegating
    async def yielding() -> AsyncGenerator[Any, Any]:
        try:
            yield FIRST
        finally:
            yield SECOND
        await set_return_value(RETURNED)

    for way in WAYS:
        generator, thrown, found = ended(yielding, way)
        if way in (None, GeneratorExit):
            assert type(found) is RuntimeError
            assert str(found) == "async generator ignored GeneratorExit"
            assert contexts(found) == []
        else:
            assert found is SECOND
            found = outcome(anext(generator))
            if isinstance(thrown, (StopIteration, StopAsyncIteration)):
                assert_pep_479(found, thrown)
            else:
                assert found is thrown
            assert thrown is not None
            assert contexts(thrown) == []
        assert_at_the_end(generator)


def test_end_of_a_subgenerator_that_returns() -> None:
    """B7, B12: a return in the clean-up is swallowed where GeneratorExit was thrown, and is the result otherwise."""

    @delegating
    async def returns() -> AsyncGenerator[Any, Any]:
        with contextlib.suppress(BaseException):
            yield FIRST
            yield SECOND
        await set_return_value(RETURNED)

    for way in WAYS:
        generator, thrown, found = ended(returns, way)
        if way in (None, GeneratorExit):
            assert found is thrown
        else:
            assert type(found) is StopAsyncIteration
            assert stop_value(found) is RETURNED
            assert contexts(found) == []
        assert thrown is None or contexts(thrown) == []
        assert_at_the_end(generator)
