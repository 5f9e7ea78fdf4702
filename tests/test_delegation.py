"""The rules of delegation (SEMANTICS.md, part B), one test or more each, named by their numbers in the docstrings.

Written without pytest, so that the same file runs under pyodide.
"""

from __future__ import annotations

import gc
import sys
import traceback
import weakref
from typing import TYPE_CHECKING, Any

from asyncgen_tools import AsAsyncGenerator, AsAsyncIterator, delegating, set_return_value, stop_value, yield_from
from asyncgen_tools.errors import DelegationError, NotReturnedError, SourceTypeError
from tests.delegation_helpers import by_hand, checkpoint, counting, items, leaving_open, on_every_backend, raises

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Generator

DEPTH = 100_000


@delegating
async def to(subgenerator: Any, caught: list[Any] | None = None) -> AsyncGenerator[Any, Any]:
    """Delegate, and hand on the return value; or note the exception, then yield "after"."""
    try:
        await set_return_value(await yield_from(subgenerator))
        return
    except BaseException as error:
        if caught is None:
            raise
        caught.append(error)
    yield "after"


def nested(generator: Any, depth: int) -> Any:
    """The generator behind so many delegating ones."""
    for _ in range(depth):
        generator = to(generator)
    return generator


@delegating
async def returning(value: Any) -> AsyncGenerator[Any, Any]:
    """Return a value after one item."""
    yield "item"
    await set_return_value(value)


class TwoItems:
    """A plain async iterator over 1, 2: nothing but `__anext__`."""

    def __init__(self) -> None:
        self.left = [2, 1]

    def __aiter__(self) -> TwoItems:
        return self

    async def __anext__(self) -> int:
        await checkpoint()
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop()


# --- B1: what can be delegated to


@on_every_backend
async def test_aiter_runs_when_the_delegation_starts() -> None:
    """B1: `__aiter__` is called when the delegation starts, not before, and looked up on the type."""
    log: list[Any] = []

    class Iterable:
        def __aiter__(self) -> AsyncIterator[int]:
            log.append("aiter")
            return TwoItems()

    iterable = Iterable()
    iterable.__aiter__ = None  # type: ignore[assignment, method-assign]
    generator = to(iterable)
    assert not log
    assert await items(generator) == [1, 2]
    assert log == ["aiter"]


@on_every_backend
async def test_not_async_iterable() -> None:
    """B1: a subgenerator that is not async-iterable is a TypeError at the expression, where it may be caught."""
    caught: list[Any] = []
    assert await items(to(5, caught)) == ["after"]
    assert isinstance(caught[0], SourceTypeError)
    assert "yield_from() was given 5" in str(caught[0])


@on_every_backend
async def test_aiter_gives_no_iterator() -> None:
    """B1: an `__aiter__` that gives something without `__anext__` is a TypeError at the expression."""

    class Bad:
        def __aiter__(self) -> Any:
            return 5

    with raises(TypeError, "aiter"):
        await items(to(Bad()))


@on_every_backend
async def test_aiter_raises() -> None:
    """B1: an error of `__aiter__` is raised at the expression."""

    class Bad:
        def __aiter__(self) -> Any:
            raise LookupError("no luck")

    caught: list[Any] = []
    assert await items(to(Bad(), caught)) == ["after"]
    assert isinstance(caught[0], LookupError)


# --- B2 to B5: next and send


@on_every_backend
async def test_first_step_is_next() -> None:
    """B2: delegation begins with `anext`, also to a generator that has been started."""
    sent: list[Any] = []
    subgenerator = counting(sent)
    assert await anext(subgenerator) == 1
    assert await items(to(subgenerator)) == [2, 3]
    assert not sent


@on_every_backend
async def test_exhausted_subgenerator() -> None:
    """B2: delegating to an exhausted generator gives None and no item."""
    subgenerator = returning(5)
    assert await items(subgenerator) == ["item"]
    generator = to(subgenerator)
    assert await items(generator) == []
    assert generator.return_value is None


@on_every_backend
async def test_items_are_the_same_objects() -> None:
    """B3: items pass by identity, whatever they are, and one at a time."""
    values: list[Any] = [None, (), (1, 2), StopAsyncIteration(3), StopIteration(4), GeneratorExit(), object()]
    taken: list[Any] = []

    async def source() -> AsyncGenerator[Any, Any]:
        for value in values:
            taken.append(value)
            yield value

    generator = to(to(source()))
    for count, value in enumerate(values, 1):
        assert await anext(generator) is value
        assert len(taken) == count


@on_every_backend
async def test_next_needs_only_anext() -> None:
    """B4: `anext` and `asend(None)` are `anext` of the subgenerator, which needs no other method."""
    generator = to(TwoItems())
    assert await generator.asend(None) == 1
    assert await anext(generator) == 2
    with raises(StopAsyncIteration):
        await generator.asend(None)


@on_every_backend
async def test_send() -> None:
    """B5: a value that is not None reaches the subgenerator by `asend`, falsy ones too."""
    for depth in (1, 2, 5):
        sent: list[Any] = []
        generator = nested(counting(sent), depth)
        assert await anext(generator) == 1
        assert await generator.asend(0) == 2
        assert await generator.asend("") == 3
        with raises(StopAsyncIteration):
            await generator.asend(False)
        assert sent == [0, "", False]


@on_every_backend
async def test_send_without_asend() -> None:
    """B5: without `asend`, AttributeError that names it is raised at the expression."""
    caught: list[Any] = []
    generator = to(TwoItems(), caught)
    await anext(generator)
    assert await generator.asend(1) == "after"
    assert isinstance(caught[0], AttributeError)
    assert "asend" in str(caught[0])


# --- B6 to B9: throw and close


@on_every_backend
async def test_throw() -> None:
    """B6: an exception reaches the subgenerator as the same object, and what that yields next is the result."""

    @delegating
    async def survivor() -> AsyncGenerator[Any, Any]:
        try:
            yield 1
        except KeyError as error:
            yield error

    error = KeyError(1)
    generator = to(to(survivor()))
    await anext(generator)
    assert await generator.athrow(error) is error
    assert error.__context__ is None


@on_every_backend
async def test_throw_a_class() -> None:
    """B6: a class is instantiated once, on its way in."""
    log: list[Any] = []
    generator = to(counting(log))
    await anext(generator)
    with raises(KeyError) as caught:
        await generator.athrow(KeyError)
    assert log == caught


@on_every_backend
async def test_throw_without_athrow() -> None:
    """B6: without `athrow` the same exception is raised at the expression, no context added, nothing closed."""
    for error in (KeyError(1), StopAsyncIteration(2)):
        subgenerator = TwoItems()
        subgenerator.aclose = None  # type: ignore[attr-defined]
        caught: list[Any] = []
        generator = to(subgenerator, caught)
        await anext(generator)
        assert await generator.athrow(error) == "after"
        assert caught == [error]
        assert error.__context__ is None
        assert await anext(subgenerator) == 2


@on_every_backend
async def test_close() -> None:
    """B7: closing closes the subgenerator first: each generator gets GeneratorExit once, the inner one first."""
    log: list[Any] = []

    @delegating
    async def level(depth: int) -> AsyncGenerator[Any, Any]:
        try:
            if depth:
                await yield_from(level(depth - 1))
            else:
                yield 1
        except GeneratorExit:
            log.append(depth)
            raise
        finally:
            await checkpoint()
            log.append(-depth)

    generator = level(3)
    await anext(generator)
    await generator.aclose()
    assert log == [0, 0, 1, -1, 2, -2, 3, -3]
    await generator.aclose()
    assert len(log) == 8


@on_every_backend
async def test_throw_generator_exit() -> None:
    """B7: `athrow(GeneratorExit)` closes the subgenerator and raises the same GeneratorExit in the generator."""

    class Sub(TwoItems):
        async def athrow(self, *_: object) -> None:
            raise AssertionError("GeneratorExit went through athrow")

        async def aclose(self) -> None:
            closed.append(True)

    closed: list[bool] = []
    caught: list[Any] = []
    error = GeneratorExit("mine")
    generator = to(Sub(), caught)
    await anext(generator)
    assert await generator.athrow(error) == "after"
    assert caught == [error]
    assert caught[0] is error
    assert closed == [True]


@on_every_backend
async def test_close_without_aclose() -> None:
    """B7: a subgenerator without `aclose` is just left."""
    subgenerator = TwoItems()
    generator = to(subgenerator)
    await anext(generator)
    await generator.aclose()
    assert await anext(subgenerator) == 2


@leaving_open  # a generator that ignores GeneratorExit
@on_every_backend
async def test_close_raises() -> None:
    """B8: what the subgenerator's `aclose` raises is raised at the expression, no context added."""

    class Sub(TwoItems):
        async def aclose(self) -> None:
            raise error

    for error in (KeyError(1), StopAsyncIteration(5), GeneratorExit()):
        caught: list[Any] = []
        generator = to(Sub(), caught)
        await anext(generator)
        with raises(RuntimeError, "async generator ignored GeneratorExit"):
            await generator.aclose()
        assert caught == [error]
        assert error.__context__ is None


@leaving_open  # a generator that ignores GeneratorExit
@on_every_backend
async def test_lookup_fails() -> None:
    """B9: a lookup that fails with anything but AttributeError fails in the generator."""

    class Sub(TwoItems):
        def __getattr__(self, name: str) -> Any:
            raise LookupError(name)

    caught: list[Any] = []
    generator = to(Sub(), caught)
    await anext(generator)
    assert await generator.asend(1) == "after"
    generator = to(Sub(), caught)
    await anext(generator)
    assert await generator.athrow(KeyError()) == "after"
    generator = to(Sub(), caught)
    await anext(generator)
    with raises(RuntimeError, "ignored GeneratorExit"):
        await generator.aclose()
    assert [repr(error) for error in caught] == [
        "LookupError('asend')",
        "LookupError('athrow')",
        "LookupError('aclose')",
    ]


# --- B10 to B15: how a delegation ends


@on_every_backend
async def test_stop_async_iteration_is_the_result() -> None:
    """B10: StopAsyncIteration of any method, awaited or raised by the call, ends the delegation with its value."""

    class Sub(TwoItems):
        async def asend(self, value: object) -> Any:
            raise StopAsyncIteration(value)

        def athrow(self, error: BaseException) -> Any:
            raise StopAsyncIteration(error)

    class Empty(TwoItems):
        def __anext__(self) -> Any:
            raise StopAsyncIteration

    generator = to(Empty())
    assert await items(generator) == []
    assert generator.return_value is None
    generator = to(Sub())
    await anext(generator)
    with raises(StopAsyncIteration) as caught:
        await generator.asend(7)
    assert stop_value(caught[0]) == 7
    generator, error = to(Sub()), KeyError()
    await anext(generator)
    with raises(StopAsyncIteration) as caught:
        await generator.athrow(error)
    assert stop_value(caught[0]) is error


@on_every_backend
async def test_value_attribute_wins() -> None:
    """B10: a `value` attribute counts before the first argument."""

    class Valued(StopAsyncIteration):
        value = "attribute"

    class Sub(TwoItems):
        async def __anext__(self) -> int:
            raise Valued("argument")

    generator = to(Sub())
    assert await items(generator) == []
    assert generator.return_value == "attribute"


@on_every_backend
async def test_goes_on_after_the_expression() -> None:
    """B10: after a delegation the generator goes on, and may delegate again."""

    @delegating
    async def twice() -> AsyncGenerator[Any, Any]:
        yield await yield_from(returning("first"))
        yield await yield_from(returning("second"))
        await yield_from(counting())
        yield "last"

    assert await items(twice()) == ["item", "first", "item", "second", 1, 2, 3, "last"]


@on_every_backend
async def test_exception_of_the_subgenerator() -> None:
    """B11: an exception of the subgenerator is raised at the expression: the same object, its context untouched."""
    first, second = ValueError(1), KeyError(2)

    async def failing() -> AsyncGenerator[Any, Any]:
        yield 1
        try:
            raise first
        except ValueError:
            await checkpoint()
            raise second  # noqa: B904  # the context is what is tested

    caught: list[Any] = []
    assert await items(to(to(failing()), caught)) == [1, "after"]
    assert caught == [second]
    assert second.__context__ is first
    assert second.__cause__ is first.__context__ is None


@on_every_backend
async def test_context_while_handling() -> None:
    """B11: what the generator is handling where it delegates does not become the context of what passes."""
    error = KeyError(1)

    async def failing() -> AsyncGenerator[Any, Any]:
        yield 1
        error.__context__ = None
        raise error

    @delegating
    async def handling() -> AsyncGenerator[Any, Any]:
        try:
            raise ValueError("being handled")
        except ValueError:
            await yield_from(failing())
        yield

    generator = handling()
    await anext(generator)
    with raises(KeyError) as caught:
        try:
            raise IndexError("being handled by the caller")
        except IndexError:
            await anext(generator)
    assert caught[0] is error
    # CPython's own `raise` takes note of what the caller handles
    assert isinstance(error.__context__, IndexError)


@on_every_backend
async def test_return_value() -> None:
    """B12: a return value is the only argument and the `value` of StopAsyncIteration; None gives no argument."""
    for value in ((), (1, 2), 0, KeyError(1), StopAsyncIteration(2), StopIteration(3), [1]):
        for depth in (0, 1, 2, 10):
            generator = nested(returning(value), depth)
            assert await anext(generator) == "item"
            with raises(StopAsyncIteration) as caught:
                await anext(generator)
            assert len(caught[0].args) == 1
            assert caught[0].args[0] is caught[0].value is generator.return_value is value
    generator = to(returning(None))
    assert await anext(generator) == "item"
    with raises(StopAsyncIteration) as caught:
        await anext(generator)
    assert caught[0].args == ()
    assert caught[0].value is None


@on_every_backend
async def test_return_value_of_sending_and_throwing() -> None:
    """B12: `asend` and `athrow` that end the generator carry its return value as well."""

    @delegating
    async def survivor() -> AsyncGenerator[Any, Any]:
        try:
            await set_return_value((yield))
        except KeyError as error:
            await set_return_value(error)

    generator = survivor()
    await anext(generator)
    with raises(StopAsyncIteration) as caught:
        await generator.asend("sent")
    assert caught[0].value == "sent"
    generator, error = to(survivor()), KeyError()
    await anext(generator)
    with raises(StopAsyncIteration) as caught:
        await generator.athrow(error)
    assert caught[0].value is error


@on_every_backend
async def test_return_value_before_the_end() -> None:
    """`return_value` of a generator that has not ended, has failed or was closed is an error that says so."""
    running, failed, closed = returning(1), to(5), returning(1)
    await anext(running)
    await anext(closed)
    await closed.aclose()
    with raises(TypeError):
        await anext(failed)
    for generator in (running, failed, closed):
        with raises(NotReturnedError, "has not returned, so it has no return value. Read return_value after"):
            _ = generator.return_value
    await running.aclose()


@on_every_backend
async def test_return_value_is_not_caught() -> None:
    """B13: nothing in the body catches a return value; `finally` and `async with` see a normal exit."""
    log: list[Any] = []

    class Manager:
        async def __aenter__(self) -> None:
            pass

        async def __aexit__(self, *exc: object) -> None:
            log.append(exc)

    @delegating
    async def body() -> AsyncGenerator[Any, Any]:
        async with Manager():
            try:
                yield 1
                await set_return_value("early")
                await set_return_value("late")
                return
            except BaseException:
                log.append("caught")
                raise
            finally:
                log.append(sys.exc_info())

    generator = body()
    assert await items(generator) == [1]
    assert log == [(None, None, None)] * 2
    assert generator.return_value == "late"


@on_every_backend
async def test_value_of_a_failure_is_forgotten() -> None:
    """B13: a value that was set before an exception is no return value."""

    @delegating
    async def body() -> AsyncGenerator[Any, Any]:
        await set_return_value(1)
        if generator.ag_running:
            raise KeyError
        yield

    generator = body()
    with raises(KeyError):
        await anext(generator)
    with raises(StopAsyncIteration) as caught:
        await anext(generator)
    assert caught[0].args == ()


@on_every_backend
async def test_pep_479() -> None:
    """B14: StopAsyncIteration and StopIteration of a body, raised or thrown in, are RuntimeErrors, never exhaustion."""

    @delegating
    async def body(error: BaseException | None = None) -> AsyncGenerator[Any, Any]:
        yield 1
        if error:
            raise error

    for kind in (StopAsyncIteration, StopIteration):
        for depth in (0, 1, 2):
            error = kind("raised")
            generator = nested(body(error), depth)
            assert await anext(generator) == 1
            with raises(RuntimeError, "raised Stop") as caught:
                await anext(generator)
            assert caught[0].__cause__ is error
            generator, error = nested(body(), depth), kind("thrown")
            assert await anext(generator) == 1
            with raises(RuntimeError, "raised Stop") as caught:
                await generator.athrow(error)
            assert caught[0].__cause__ is error


@on_every_backend
async def test_stop_iteration_of_a_subgenerator() -> None:
    """B14: StopIteration out of a subgenerator's method is a RuntimeError with it as the cause."""
    error = StopIteration("odd")

    class Sub(TwoItems):
        def __anext__(self) -> Any:
            raise error

    with raises(RuntimeError, "raised StopIteration") as caught:
        await items(to(Sub()))
    assert caught[0].__cause__ is error


@on_every_backend
async def test_stop_iteration_without_athrow() -> None:
    """B6, B14: StopIteration thrown while delegating to something without `athrow` is a RuntimeError at the expression.

    No `await` can raise StopIteration, which would be taken for its result.
    """
    error, caught = StopIteration("odd"), list[Any]()
    generator = to(TwoItems(), caught)
    assert await anext(generator) == 1
    assert await generator.athrow(error) == "after"
    assert type(caught[0]) is RuntimeError
    assert caught[0].__cause__ is error


@on_every_backend
async def test_after_the_end() -> None:
    """B15: after the end every `anext` and `asend` is a bare StopAsyncIteration."""
    generator = to(returning("value"))
    assert await items(generator) == ["item"]
    for method in (generator.__anext__, lambda: generator.asend(None), lambda: generator.asend(1)):
        with raises(StopAsyncIteration) as caught:
            await method()
        assert caught[0].args == ()
        assert caught[0].value is None


# --- B16 to B20: states


@on_every_backend
async def test_ignored_exit() -> None:
    """B16: a yield while closing is RuntimeError, in the closer: the caller, or whoever delegates."""

    @delegating
    async def stubborn() -> AsyncGenerator[Any, Any]:
        try:
            yield 1
        finally:
            yield "no"

    generator = stubborn()
    await anext(generator)
    with raises(RuntimeError, "async generator ignored GeneratorExit"):
        await generator.aclose()
    with raises(GeneratorExit):
        await anext(generator)
    caught: list[Any] = []
    subgenerator = stubborn()
    generator = to(to(subgenerator, caught), caught)
    await anext(generator)
    with raises(RuntimeError, "async generator ignored GeneratorExit"):
        await generator.aclose()
    assert [str(error) for error in caught] == ["async generator ignored GeneratorExit"] * 2
    assert caught[0].__context__ is None
    with raises(GeneratorExit):
        await anext(subgenerator)


@on_every_backend
async def test_delegation_while_closing() -> None:
    """B16: a generator that is being closed may delegate, as long as no item comes of it."""
    log: list[str] = []

    @delegating
    async def silent() -> AsyncGenerator[Any, Any]:
        await checkpoint()
        log.append("silent")
        await set_return_value("cleaned up")
        if not log:
            yield

    @delegating
    async def tidy(cleanup: Any) -> AsyncGenerator[Any, Any]:
        try:
            yield 1
        finally:
            log.append(await yield_from(cleanup))

    generator = to(tidy(silent()))
    await anext(generator)
    await generator.aclose()
    assert log == ["silent", "cleaned up"]
    loud = counting()
    generator = tidy(loud)
    await anext(generator)
    with raises(RuntimeError, "ignored GeneratorExit"):
        await generator.aclose()
    assert await anext(generator) == 2
    assert await anext(generator) == 3
    with raises(GeneratorExit):
        await anext(generator)


@on_every_backend
async def test_close_before_the_start() -> None:
    """B16: closing a generator that was not started runs nothing of it; closing a finished one does nothing."""
    subgenerator = counting()
    generator = to(subgenerator)
    await generator.aclose()
    assert await items(generator) == []
    assert await items(subgenerator) == [1, 2, 3]
    await generator.aclose()


@on_every_backend
async def test_running() -> None:
    """B17: a generator runs while its subgenerator does, also during `aclose`; each use meanwhile is refused."""
    log: list[Any] = []

    async def try_all(generators: list[Any]) -> None:
        for generator in generators:
            assert generator.ag_running
            for use, word in (
                (generator.__anext__(), "anext"),
                (generator.asend(1), "anext"),
                (generator.athrow(KeyError), "athrow"),
                (generator.aclose(), "aclose"),
            ):
                with raises(RuntimeError, rf"^{word}\(\): asynchronous generator is already running$"):
                    await use
        log.append("tried")

    async def native() -> AsyncGenerator[Any, Any]:
        try:
            await try_all(outer)
            yield 1
        finally:
            await try_all(outer)

    @delegating
    async def flat() -> AsyncGenerator[Any, Any]:
        try:
            await try_all([*outer, inner])
            yield 1
        finally:
            await try_all([*outer, inner])

    class Custom(TwoItems):
        async def __anext__(self) -> int:
            await try_all(outer)
            return 1

        async def aclose(self) -> None:
            await try_all(outer)

    for make in (native, flat, Custom):
        inner = make()
        middle = to(inner)
        outer = [to(middle), middle]
        assert await anext(outer[0]) == 1
        assert not any(generator.ag_running for generator in outer)
        await outer[0].aclose()
    assert log == ["tried"] * 6


@on_every_backend
async def test_subgenerator_in_use() -> None:
    """B17: a subgenerator that somebody else is using refuses, and that is raised in who delegates to it."""
    outcome: list[Any] = []
    caught: list[Any] = []

    @delegating
    async def shared() -> AsyncGenerator[Any, Any]:
        yield "first"
        outcome.append(await anext(delegator))
        yield "second"

    for depth in (0, 1):
        subgenerator = shared()
        used = nested(subgenerator, depth)
        delegator = to(used, caught)
        assert await anext(delegator) == "first"
        assert await anext(used) == "second"
        assert outcome.pop() == "after"
        assert "already running" in str(caught.pop())
        await used.aclose()


def test_closing_what_delegates_to_something_in_use() -> None:
    """B8, B17: a subgenerator that is in use refuses to be closed, and that is raised in who delegates to it."""

    @delegating
    async def waiting() -> AsyncGenerator[Any, Any]:
        yield 1
        await checkpoint()
        yield 2

    @delegating
    async def delegator(subgenerator: Any, caught: list[str], then: str) -> AsyncGenerator[Any, Any]:
        try:
            await yield_from(subgenerator)
        except RuntimeError as error:
            caught.append(str(error))
            if then == "raise":
                raise
        if then == "yield":
            yield "ignored"

    for then, match in (("raise", "already running$"), ("yield", "ignored GeneratorExit$"), ("", "")):
        caught: list[str] = []
        subgenerator = waiting()
        generator = delegator(subgenerator, caught, then)
        assert by_hand(anext(generator)) == 1
        step: Any = anext(subgenerator)
        assert step.send(None) == "suspended"
        if then:
            with raises(RuntimeError, match):
                by_hand(generator.aclose())
        else:
            assert by_hand(generator.aclose()) is None
        with raises(StopIteration, "2"):
            step.send(None)
        assert caught == ["aclose(): asynchronous generator is already running"]
        assert by_hand(items(generator)) == []


@on_every_backend
async def test_suspension_passes() -> None:
    """B18: what a subgenerator waits for reaches the event loop unchanged, and its answer comes back."""

    async def waiting() -> AsyncGenerator[Any, Any]:
        await checkpoint()
        yield 1
        await checkpoint()

    assert await items(to(to(to(waiting())))) == [1]


@on_every_backend
async def test_shared_subgenerator() -> None:
    """B19: between steps anybody may step the subgenerator, two delegators included."""
    for depth in (0, 1, 2):
        shared = nested(counting(), depth)
        one, two = to(to(shared)), to(shared)
        assert await anext(one) == 1
        assert await anext(two) == 2
        assert await anext(shared) == 3
        with raises(StopAsyncIteration):
            await anext(two)
        with raises(StopAsyncIteration):
            await anext(one)


@on_every_backend
async def test_shared_link_moves_on() -> None:
    """B19: a shared generator that was moved on to another subgenerator by somebody else is followed there."""

    @delegating
    async def moving() -> AsyncGenerator[Any, Any]:
        try:
            await yield_from(to(counting()))
        except KeyError:
            await yield_from(to(to(AsAsyncIterator("abc"))))
        yield "end"

    shared = moving()
    one, two = to(to(shared)), to(shared)
    assert await anext(one) == 1
    assert await anext(two) == 2
    assert await shared.athrow(KeyError()) == "a"
    assert await anext(one) == "b"
    assert await anext(two) == "c"
    assert await anext(one) == "end"
    assert await items(two) == []
    assert await items(one) == []


def test_in_use_further_down() -> None:
    """B17, B19: if a generator anywhere in a chain is in use elsewhere, the error is raised in who delegates to it."""

    @delegating
    async def shared() -> AsyncGenerator[Any, Any]:
        yield "first"
        await checkpoint()
        yield "second"

    @delegating
    async def layer(depth: int, subgenerator: Any) -> AsyncGenerator[Any, Any]:
        try:
            await yield_from(subgenerator)
        except RuntimeError as error:
            yield depth, str(error)
        yield "end", depth

    for position in range(4):
        chain: list[Any] = [shared()]
        for depth in range(4):
            chain.append(layer(depth, chain[-1]))
        assert by_hand(anext(chain[-1])) == "first"
        elsewhere = anext(chain[0] if position == 0 else layer(9, chain[position]))
        assert elsewhere.send(None) == "suspended"
        assert by_hand(anext(chain[-1])) == (position, "anext(): asynchronous generator is already running")
        with raises(StopIteration):
            elsewhere.send(None)
        left = [("end", depth) for depth in range(position, 4)]
        assert [by_hand(anext(chain[-1])) for _ in left] == left


def test_error_while_closing_is_caught_further_up() -> None:
    """B7, B8: what a generator raises while it is closed may be caught above; those further up are closed all the same,
    and an item is an ignored exit for the one who closes.
    """

    async def failing() -> AsyncGenerator[Any, Any]:
        try:
            yield 1
        finally:
            raise KeyError

    @delegating
    async def middle(subgenerator: Any, then: str) -> AsyncGenerator[Any, Any]:
        try:
            await yield_from(subgenerator)
        except KeyError:
            if then == "yield":
                yield "ignored"

    @delegating
    async def outer(subgenerator: Any, caught: list[Any]) -> AsyncGenerator[Any, Any]:
        try:
            await yield_from(subgenerator)
        except BaseException as error:
            caught.append(error)
        if not caught:
            yield

    for then, kind in (("return", GeneratorExit), ("yield", RuntimeError)):
        for innermost in (failing, delegating(failing)):
            for depth in range(3):
                caught: list[Any] = []
                generator = nested(outer(middle(nested(innermost(), depth), then), caught), depth)
                assert by_hand(anext(generator)) == 1
                assert by_hand(generator.aclose()) is None
                assert [type(error) for error in caught] == [kind]


def test_each_is_closed_though_all_return() -> None:
    """B7: GeneratorExit is raised in each generator of a chain, innermost first, also if those below return by it."""
    closed: list[int] = []

    @delegating
    async def returning(depth: int) -> AsyncGenerator[Any, Any]:
        try:
            if depth:
                await yield_from(returning(depth - 1))
            yield 1
        except GeneratorExit:
            closed.append(depth)

    generator = returning(4)
    assert by_hand(anext(generator)) == 1
    assert by_hand(generator.aclose()) is None
    assert closed == [0, 1, 2, 3, 4]


@on_every_backend
async def test_given_up_unfinished() -> None:
    """B19: a subgenerator that one delegator gave up is not followed through the caches of others."""
    release: list[Any] = []

    @delegating
    async def slow() -> AsyncGenerator[Any, Any]:
        yield 1
        release.append(await anext(upper))
        yield 2
        yield 3

    @delegating
    async def giving_up() -> AsyncGenerator[Any, Any]:
        try:
            await yield_from(innermost)
        except RuntimeError:
            yield "gave up"
        yield "end"

    innermost = slow()
    middle = giving_up()
    upper, other = to(middle), to(middle)
    assert await anext(upper) == 1
    assert await anext(innermost) == 2
    assert release == ["gave up"]
    assert await anext(other) == "end"
    assert await anext(innermost) == 3


@on_every_backend
async def test_any_awaitable() -> None:
    """B20: methods may return any awaitable; something else is a TypeError at the expression."""

    class Awaitable:
        def __init__(self, value: object) -> None:
            self.value = value

        def __await__(self) -> Generator[Any, Any, Any]:
            yield from checkpoint().__await__()
            return self.value

    class Sub(TwoItems):
        def __anext__(self) -> Any:
            return Awaitable("next")

        def asend(self, value: Any) -> Any:
            return Awaitable(value)

        def athrow(self, _error: Any) -> Any:
            return 5

        def aclose(self) -> Any:
            return Awaitable(None)

    caught: list[Any] = []
    generator = to(Sub(), caught)
    assert await anext(generator) == "next"
    assert await generator.asend("sent") == "sent"
    assert await generator.athrow(KeyError()) == "after"
    assert isinstance(caught[0], TypeError)
    generator = to(Sub())
    await anext(generator)
    await generator.aclose()


# --- B23 to B26


@on_every_backend
async def test_traceback() -> None:
    """B23: a traceback names the line of each delegation, outermost first."""

    async def failing() -> AsyncGenerator[Any, Any]:
        yield 1
        raise KeyError

    @delegating
    async def middle() -> AsyncGenerator[Any, Any]:
        await yield_from(failing())
        yield

    @delegating
    async def outer() -> AsyncGenerator[Any, Any]:
        await yield_from(middle())
        yield

    generator = outer()
    await anext(generator)
    try:
        await anext(generator)
    except KeyError as error:
        frames = traceback.extract_tb(error.__traceback__)
    else:
        raise AssertionError("nothing was raised")
    here = [frame.name for frame in frames if frame.filename == __file__]
    assert here == ["test_traceback", "outer", "middle", "failing"]
    lines = [frame.line for frame in frames if frame.name in ("outer", "middle")]
    assert lines == ["await yield_from(middle())", "await yield_from(failing())"]


@on_every_backend
async def test_only_the_innermost_frame() -> None:
    """B23: while the subgenerator runs, no frame of what delegates to it is on the stack."""
    names: list[str] = []

    async def source() -> AsyncGenerator[Any, Any]:
        for _ in range(2):
            names.extend(frame.name for frame in traceback.extract_stack())
            yield

    generator = nested(source(), 50)
    await anext(generator)
    await checkpoint()
    names.clear()
    await anext(generator)
    assert "source" in names
    assert "to" not in names
    await generator.aclose()


@on_every_backend
async def test_ag_await() -> None:
    """B23: `ag_await` is the subgenerator while the generator delegates; otherwise what the body awaits."""
    subgenerator = counting()
    generator = to(subgenerator)
    waits_for: list[Any] = [generator.ag_await]
    await anext(generator)
    waits_for.append(generator.ag_await)
    await generator.aclose()
    waits_for.append(generator.ag_await)
    assert waits_for == [None, subgenerator, None]


@on_every_backend
async def test_sync_iterables() -> None:
    """B24: a sync iterable is a TypeError that names the wrapper to write, and is not consumed."""
    for value, wrapper in (
        ([1], "AsAsyncIterator"),
        (iter("a"), "AsAsyncIterator"),
        ((x for x in "a"), "AsAsyncGenerator"),
    ):
        with raises(SourceTypeError, rf"It is a sync iterable: write yield_from\({wrapper}\(...\)\)"):
            await items(to(value))


@on_every_backend
async def test_other_mistakes() -> None:
    """B1: a coroutine, which is closed, and a function that was not called get a hint of their own."""

    async def coroutine() -> None:
        raise AssertionError

    with raises(SourceTypeError, "It is a coroutine: await it if"):
        await items(to(coroutine()))
    with raises(SourceTypeError, "Call the function, and hand over the async generator that it gives"):
        await items(to(counting))


@on_every_backend
async def test_outside() -> None:
    """B25: outside a delegating generator both are an error at the await, an undecorated one in between or not."""

    async def undecorated() -> AsyncGenerator[Any, Any]:
        with raises(
            DelegationError, r"the async generator test_outside.<locals>.undecorated\(\), which is not decorated"
        ):
            await yield_from(counting())
        with raises(DelegationError, r"set_return_value\(\) was awaited in the async generator .*undecorated"):
            await set_return_value(1)
        yield 1

    @delegating
    async def around() -> AsyncGenerator[Any, Any]:
        async for item in undecorated():
            yield item
        await yield_from(undecorated())

    with raises(DelegationError, r"yield_from\(\) was awaited in no async generator.*decorated with @delegating"):
        await yield_from(counting())
    with raises(DelegationError, r"set_return_value\(\) was awaited in no async generator"):
        await set_return_value(1)
    assert await items(undecorated()) == [1]
    assert await items(around()) == [1, 1]


@on_every_backend
async def test_inside_another_run() -> None:
    """B25: a coroutine that the body runs by itself, instead of awaiting it, is outside."""

    async def helper() -> None:
        await yield_from(counting())

    @delegating
    async def body() -> AsyncGenerator[Any, Any]:
        with raises(DelegationError, "no async generator"):
            by_hand(helper())
        yield 1

    assert await items(body()) == [1]


@on_every_backend
async def test_begun_and_not_handed_on() -> None:
    """B25: a `yield_from` that the body begins by itself, instead of awaiting it, delegates nothing."""

    @delegating
    async def body() -> AsyncGenerator[Any, Any]:
        yield_from(counting()).__await__().send(None)
        yield (yield "first")

    @delegating
    async def outer() -> AsyncGenerator[Any, Any]:
        yield_from(counting()).__await__().send(None)
        yield await yield_from(body())

    @delegating
    async def asking(use: Awaitable[Any]) -> AsyncGenerator[Any, Any]:
        yield_from(counting()).__await__().send(None)
        try:
            await checkpoint()
        except KeyError:
            await use
        yield "after"

    for make, rest in ((body, []), (outer, [None])):
        generator = make()
        assert await anext(generator) == "first"
        assert await generator.asend("sent") == "sent"
        assert await items(generator) == rest
        generator = make()
        assert await anext(generator) == "first"
        with raises(KeyError):
            await generator.athrow(KeyError())
    generator = body()
    assert await anext(generator) == "first"
    assert generator.ag_await is None
    await generator.aclose()
    assert await thrown_into(asking(set_return_value(1))) == "after"
    assert await thrown_into(asking(yield_from(returning(1)))) == "item"


@on_every_backend
async def test_in_an_awaited_coroutine() -> None:
    """B25: both work in coroutines that the body awaits, however deep and whoever resumes them."""

    class Passing:
        """An awaitable written in Python."""

        def __init__(self, coroutine: Any) -> None:
            self.coroutine = coroutine

        def __await__(self) -> Any:
            return self

        def __next__(self) -> Any:
            return self.coroutine.send(None)

        def send(self, value: object) -> Any:
            return self.coroutine.send(value)

    async def helper(depth: int) -> Any:
        if depth:
            return await Passing(helper(depth - 1))
        result: Any = await yield_from(returning("result"))
        await set_return_value("set")
        return result

    @delegating
    async def body() -> AsyncGenerator[Any, Any]:
        yield await helper(3)

    generator = body()
    assert await items(generator) == ["item", "result"]
    assert generator.return_value == "set"


@on_every_backend
async def test_after_an_exception_where_the_body_waits() -> None:
    """B18, B25: both work in the very step into which cancellation, a time limit or anything else was thrown.

    CPython leaves the frame that steps a generator out of the stack then.
    """

    async def helper(value: Any) -> None:
        try:
            await checkpoint()
        except KeyError:
            await set_return_value(await yield_from(returning(value)))

    @delegating
    async def body(through: str, value: Any) -> AsyncGenerator[Any, Any]:
        if through == "after a subgenerator":
            await yield_from(counting())
        if through == "a coroutine":
            await helper(value)
            return
        try:
            await checkpoint()
            yield "not thrown into"
        except KeyError:
            await set_return_value(await yield_from(returning(value)))

    for depth in (0, 1, 3):
        for through in ("the body", "a coroutine", "after a subgenerator"):
            for value in ("value", counting()):  # a level is no answer when it is the result
                generator = nested(body(through, value), depth)
                if through == "after a subgenerator":
                    assert [await anext(generator) for _ in range(3)] == [1, 2, 3]
                step = anext(generator)
                step.send(None)
                with raises(StopIteration, "item"):
                    step.throw(KeyError())
                assert await items(generator) == []
                assert generator.return_value is value


async def thrown_into(generator: Any) -> Any:
    """What a generator hands out after an exception where it waits."""
    step = anext(generator)
    step.send(None)
    with raises(StopIteration) as stop:
        step.throw(KeyError())
    return stop[0].value


@on_every_backend
async def test_loaded_twice() -> None:
    """B25: that works also in a body whose equal, from loading a module twice, was decorated before and is gone."""

    def load() -> Any:
        source = (
            "@delegating\nasync def body():\n try: await checkpoint()\n"
            " except KeyError: await yield_from(counting())\n yield"
        )
        scope: dict[str, Any] = {"delegating": delegating, "checkpoint": checkpoint}
        scope |= {"yield_from": yield_from, "counting": counting}
        exec(source, scope)  # noqa: S102  # what stands above
        return scope["body"]

    first = load()
    second = load()
    del first
    gc.collect()
    assert await thrown_into(second()) == 1


@on_every_backend
async def test_outside_after_an_exception() -> None:
    """B25: undecorated, they are an error there, too; the bare body of a decorated function says so a step later."""

    async def undecorated(use: Any) -> AsyncGenerator[Any, Any]:
        try:
            await checkpoint()
        except KeyError:
            with raises(DelegationError, "undecorated.., which is not decorated"):
                await use(counting())
        yield "refused"

    @delegating
    async def decorated(use: Any) -> AsyncGenerator[Any, Any]:
        try:
            await checkpoint()
        except KeyError:
            with raises(DelegationError, "awaited in the bare body of a delegating generator"):
                await use(counting())
        yield "refused"

    bare: Any = decorated.__wrapped__  # type: ignore[attr-defined]
    for use in (yield_from, set_return_value):
        assert await thrown_into(undecorated(use)) == "refused"
        generator = bare(use)
        assert await thrown_into(generator) != "refused"
        assert await anext(generator) == "refused"
        assert await items(generator) == []


@on_every_backend
async def test_in_an_awaitable_of_ones_own() -> None:
    """B25: an awaitable class may hand on a `yield_from`, by `yield from` or by resuming it itself."""

    class ByYieldFrom:
        def __await__(self) -> Generator[Any, Any, Any]:
            return (yield from yield_from(counting()).__await__())

    class BySend:
        def __await__(self) -> Generator[Any, Any, Any]:
            delegation: Any = yield_from(returning("value")).__await__()
            try:
                delegation.send((yield delegation.send(None)))
            except StopIteration as stop:
                return stop.value

    @delegating
    async def body() -> AsyncGenerator[Any, Any]:
        yield await ByYieldFrom()
        yield await BySend()

    assert await items(body()) == [1, 2, 3, None, "item", "value"]


@on_every_backend
async def test_coroutine_outside() -> None:
    """B25: a coroutine that is handed over outside of a delegating generator is closed, and does not warn."""
    coroutine: Any = checkpoint()
    with raises(DelegationError):
        await yield_from(coroutine)
    assert coroutine.cr_frame is None


@on_every_backend
async def test_await_twice() -> None:
    """Awaiting the same `yield_from` a second time is refused."""

    @delegating
    async def body() -> AsyncGenerator[Any, Any]:
        delegation: Awaitable[Any] = yield_from(AsAsyncIterator([1]))
        await delegation
        with raises(RuntimeError, r"cannot reuse already awaited yield_from\(\)"):
            await delegation
        yield 2

    assert await items(body()) == [1, 2]


@on_every_backend
async def test_rings() -> None:
    """B26: delegating to oneself, directly or in a ring, is RuntimeError at the expression."""

    @delegating
    async def ring(other: int) -> AsyncGenerator[Any, Any]:
        with raises(RuntimeError, "already running"):
            await yield_from(generators[other])
        yield "refused"

    @delegating
    async def link(other: int) -> AsyncGenerator[Any, Any]:
        await yield_from(generators[other])
        yield "end"

    @delegating
    async def through_native() -> AsyncGenerator[Any, Any]:
        await yield_from(native())
        yield "end"

    async def native() -> AsyncGenerator[Any, Any]:
        with raises(RuntimeError, "already running"):
            await anext(generators[0])
        yield "refused"

    generators: list[Any] = [ring(0)]
    assert await items(generators[0]) == ["refused"]
    generators = [link(1), link(2), ring(0)]
    assert await items(generators[0]) == ["refused", "end", "end"]
    generators = [link(1), ring(1)]
    assert await items(generators[0]) == ["refused", "end"]
    generators = [through_native()]
    assert await items(generators[0]) == ["refused", "end"]


# --- the recipes of PEP 828


@on_every_backend
async def test_as_async_iterator() -> None:
    """AsAsyncIterator gives the items of a sync iterable, and the return value of a generator."""

    def generator() -> Generator[int, None, str]:
        yield 1
        return "value"

    assert await items(to(AsAsyncIterator([1, 2]))) == [1, 2]
    delegator = to(AsAsyncIterator(generator()))
    assert await items(delegator) == [1]
    assert delegator.return_value == "value"


@on_every_backend
async def test_as_async_generator() -> None:
    """AsAsyncGenerator hands on what is sent, thrown and closed to a sync generator, and its return value back."""
    log: list[Any] = []

    def generator() -> Generator[Any, Any, str]:
        try:
            log.append((yield 1))
            try:
                yield 2
            except KeyError as error:
                log.append(error)
            yield 3
        finally:
            log.append("closed")
        return "value"

    error = KeyError()
    delegator = to(AsAsyncGenerator(generator()))
    assert await anext(delegator) == 1
    assert await delegator.asend("sent") == 2
    assert await delegator.athrow(error) == 3
    with raises(StopAsyncIteration) as caught:
        await anext(delegator)
    assert stop_value(caught[0]) == "value"
    delegator = to(AsAsyncGenerator(generator()))
    await anext(delegator)
    await delegator.aclose()
    assert log == ["sent", error, "closed", "closed"]


@on_every_backend
async def test_as_async_generator_returns() -> None:
    """AsAsyncGenerator hands back the return value also when a sent value or an exception ends the generator."""

    def generator() -> Generator[Any, Any, Any]:
        try:
            return (yield 1)
        except KeyError as error:
            return error

    error = KeyError()
    for method, argument in (("asend", "sent"), ("athrow", error)):
        delegator = to(AsAsyncGenerator(generator()))
        assert await anext(delegator) == 1
        with raises(StopAsyncIteration) as caught:
            await getattr(delegator, method)(argument)
        assert stop_value(caught[0]) is argument


@on_every_backend
async def test_as_async_generator_and_stop_async_iteration() -> None:
    """B10: StopAsyncIteration that comes out of the sync generator, raised or thrown in, ends the delegation."""

    def generator() -> Generator[Any, Any, Any]:
        yield 1
        raise StopAsyncIteration("raised")

    for thrown in (None, StopAsyncIteration("thrown")):
        delegator = to(AsAsyncGenerator(generator()))
        assert await anext(delegator) == 1
        with raises(StopAsyncIteration) as caught:
            await (anext(delegator) if thrown is None else delegator.athrow(thrown))
        assert stop_value(caught[0]) == ("raised" if thrown is None else "thrown")


@delegating
async def deep(depth: int) -> AsyncGenerator[Any, Any]:
    """So many generators, each of which delegates to the next."""
    if depth:
        await set_return_value(1 + await yield_from(deep(depth - 1)))
    else:
        yield "item"
        await set_return_value(0)


def test_depth_walked() -> None:
    """Recursion has no limit: a chain of 100,000 generators is walked, and returns."""

    async def use() -> None:
        generator = deep(DEPTH)
        assert await items(generator) == ["item"]
        assert generator.return_value == DEPTH

    by_hand(use())


def test_depth_closed() -> None:
    """Closing has no limit: the innermost of 20,000 generators is closed first, and all the others."""

    async def use() -> None:
        generator = deep(DEPTH // 5)
        await anext(generator)
        await generator.aclose()
        assert await items(generator) == []

    by_hand(use())


def test_depth_thrown_into() -> None:
    """Throwing has no limit: what is thrown into the innermost of 20,000 generators comes out of the outermost."""

    async def use() -> None:
        generator = deep(DEPTH // 5)
        await anext(generator)
        with raises(KeyError):
            await generator.athrow(KeyError())

    by_hand(use())


def test_depth_dropped() -> None:
    """Dropping has no limit: a suspended chain of 20,000 generators goes without exhausting the stack."""

    async def use() -> None:
        generator = deep(DEPTH // 5)
        await anext(generator)
        dropped = weakref.ref(generator)
        del generator
        assert dropped() is None

    by_hand(use())


def test_tree() -> None:
    """A degenerate tree of depth 100,000 is walked in order, by recursion."""

    @delegating
    async def walk(depth: int) -> AsyncGenerator[int, None]:
        if depth:
            await yield_from(walk(depth - 1))
        yield depth

    async def use() -> None:
        expected = 0
        async for depth in walk(DEPTH):
            assert depth == expected
            expected += 1
        assert expected == DEPTH + 1

    by_hand(use())
