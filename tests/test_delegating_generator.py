"""The object that a `@delegating` function gives, and its awaitables, beside CPython's own; and the decorator."""

from __future__ import annotations

import asyncio
import collections.abc
import contextlib
import contextvars
import copy
import functools
import gc
import inspect
import pickle
import subprocess
import sys
import traceback
import warnings
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from asyncgen_tools import delegating, set_return_value, stop_value, yield_from
from asyncgen_tools.errors import SourceTypeError
from tests.cpython_suite import pure_delegator, results
from tests.delegation_helpers import by_hand, checkpoint, counting, ignoring_unraisable, items, run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from tests.conftest import Backend


async def native() -> AsyncGenerator[Any, Any]:
    """A native generator to compare with."""
    yield 1
    await checkpoint()
    yield 2


BOTH = pytest.mark.parametrize("function", [native, delegating(native), pure_delegator(native)])


# --- what observers see


@BOTH
def test_is_an_async_generator(function: Callable[[], Any]) -> None:
    """It is a `collections.abc.AsyncGenerator`, its own iterator, hashable, and weakly referenced."""
    generator = function()
    assert issubclass(type(generator), collections.abc.AsyncGenerator)
    assert aiter(generator) is generator
    assert {generator: 1}[generator] == 1
    reference = weakref.ref(generator)
    del generator
    assert reference() is None


@BOTH
def test_names(function: Callable[[], Any]) -> None:
    """`__name__` and `__qualname__` are the function's, and can be set."""
    generator = function()
    assert generator.__name__ == generator.__qualname__ == "native"
    assert "async_generator object native at" in repr(generator)
    generator.__name__, generator.__qualname__ = "a", "b.a"
    assert (generator.__name__, generator.__qualname__) == ("a", "b.a")


@BOTH
def test_attributes(function: Callable[[], Any]) -> None:
    """`ag_code`, `ag_frame`, `ag_running`, `ag_await` and, since 3.12, `ag_suspended` are as on a native generator."""
    generator = function()
    assert generator.ag_frame.f_code is generator.ag_code
    state = (generator.ag_running, generator.ag_await)
    assert state == (False, None)
    by_hand(anext(generator))
    step = anext(generator)
    step.send(None)
    assert generator.ag_running
    assert generator.ag_await is not None
    with pytest.raises(StopIteration):
        step.send(None)
    state = (generator.ag_running, generator.ag_frame is None)
    assert state == (False, False)
    if sys.version_info >= (3, 12):
        assert inspect.getasyncgenstate(generator) == inspect.AGEN_SUSPENDED
        by_hand(generator.aclose())
        assert inspect.getasyncgenstate(generator) == inspect.AGEN_CLOSED
    by_hand(generator.aclose())
    assert generator.ag_frame is None


# --- the awaitables


@BOTH
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_is_not_copied(function: Callable[[], Any], duplicate: Callable[[Any], Any]) -> None:
    """B21: a copy of a generator is refused; it would be a second one over the same body."""
    with pytest.raises(TypeError, match=r"cannot pickle '.*' object"):
        duplicate(function())


@BOTH
@pytest.mark.parametrize("started", [False, True])
def test_awaited_once(function: Callable[[], Any], started: bool) -> None:
    """An awaitable that has been used up refuses another use, in CPython's words, however it is used."""
    for method, refusal in (
        ("__anext__", r"^cannot reuse already awaited __anext__\(\)/asend\(\)$"),
        ("asend", r"^cannot reuse already awaited __anext__\(\)/asend\(\)$"),
        ("athrow", r"^cannot reuse already awaited aclose\(\)/athrow\(\)$"),
        ("aclose", r"^cannot reuse already awaited aclose\(\)/athrow\(\)$"),
    ):
        generator = function()
        if started:
            by_hand(anext(generator))
        argument = {"asend": (None,), "athrow": (KeyError,)}.get(method, ())
        step = getattr(generator, method)(*argument)
        with contextlib.suppress(KeyError):
            by_hand(step)
        if method in {"athrow", "aclose"}:
            generator = None
        with pytest.raises(RuntimeError, match=refusal):
            step.send(None)
        with pytest.raises(RuntimeError, match=refusal):
            step.throw(ValueError)
        with pytest.raises(RuntimeError, match=refusal):
            by_hand(step)
        step.close()


async def stubborn() -> AsyncGenerator[int, None]:
    """Ignores GeneratorExit."""
    try:
        yield 1
    except GeneratorExit:
        yield 2
    yield 3


@pytest.mark.parametrize("function", [stubborn, delegating(stubborn)])
def test_after_an_ignored_exit(function: Callable[[], Any]) -> None:
    """A generator that has ignored an `aclose()` refuses athrow and aclose as if it had ended, but can be iterated."""
    generator = function()
    assert by_hand(anext(generator)) == 1
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        by_hand(generator.aclose())
    for refused in (generator.athrow(KeyError), generator.aclose()):
        with pytest.raises(StopAsyncIteration):
            by_hand(refused)
    for refused in (generator.athrow(KeyError), generator.aclose()):
        with pytest.raises(StopAsyncIteration):
            refused.send("a value")
    assert by_hand(anext(generator)) == 3
    with pytest.raises(StopAsyncIteration):
        by_hand(anext(generator))
    assert by_hand(generator.aclose()) is None


async def clinging() -> AsyncGenerator[int, None]:
    """Waits, and once more when it is closed there."""
    try:
        await checkpoint()
    except GeneratorExit:
        await checkpoint()
    yield 1


def attempt(function: Callable[[], object]) -> str:
    """What came of a call, as text."""
    try:
        return repr(function())
    except (RuntimeError, StopAsyncIteration) as error:
        return repr(error)


async def waiting() -> AsyncGenerator[int, None]:
    """Waits."""
    await checkpoint()
    yield 1


@pytest.mark.parametrize("function", [waiting, clinging])
def test_closed_while_it_waits(function: Callable[[], Any]) -> None:
    """A step that is closed while it waits leaves the generator as CPython leaves it: running for good, unless the
    generator ends by that (3.13).
    """

    def trace(make: Callable[[], Any]) -> list[object]:
        generator = make()
        step = anext(generator)
        step.send(None)
        return [
            attempt(step.close),
            generator.ag_running,
            attempt(lambda: by_hand(anext(generator))),
            attempt(lambda: by_hand(generator.aclose())),
        ]

    with ignoring_unraisable():
        expected = trace(function)
        assert [trace(delegating(function)), trace(pure_delegator(function))] == [expected, expected]
    if function is clinging:
        assert expected[1] is True


@BOTH
@pytest.mark.parametrize("arguments", [1, 3])
def test_traceback_of_what_is_thrown(function: Callable[[], Any], arguments: int) -> None:
    """What is thrown keeps the traceback that it has, or gets the one that is given with it."""

    def origin() -> ValueError:
        try:
            raise ValueError("thrown")
        except ValueError as error:
            return error

    error = origin()
    generator = function()
    with warnings.catch_warnings(), pytest.raises(ValueError) as raised:
        warnings.simplefilter("ignore", DeprecationWarning)
        by_hand(generator.athrow(*((error,) if arguments == 1 else (ValueError, None, error.__traceback__))))
    assert raised.traceback[-1].name == "origin"


@BOTH
def test_first_send(function: Callable[[], Any]) -> None:
    """A value that is not None cannot be sent into a generator that has not started; it can start afterwards."""
    generator = function()
    with pytest.raises(TypeError, match=r"^can't send non-None value to a just-started async generator$"):
        by_hand(generator.asend(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # they are never awaited, as it turns out
        for method, argument in (("athrow", (KeyError,)), ("aclose", ())):
            step = getattr(generator, method)(*argument)
            with pytest.raises(RuntimeError, match=r"^can't send non-None value to a just-started coroutine$"):
                step.send(1)
            del step
    assert by_hand(items(generator)) == [1, 2]


@BOTH
def test_driven_by_hand(function: Callable[[], Any]) -> None:
    """An awaitable is its own iterator and a `collections.abc.Coroutine`; `send` and `throw` resume it."""
    generator = function()
    step: Any = anext(generator)
    assert issubclass(type(step), collections.abc.Coroutine)
    assert iter(step) is step
    with pytest.raises(StopIteration) as caught:
        next(step)
    assert caught.value.value == 1
    step = generator.asend(None)
    assert step.send(None) == "suspended"
    with pytest.raises(KeyError):
        step.throw(KeyError)
    assert by_hand(items(generator)) == []


@BOTH
@pytest.mark.parametrize("steps", [0, 1, 3], ids=["unstarted", "suspended", "finished"])
def test_thrown_before_it_is_awaited(function: Callable[[], Any], steps: int) -> None:
    """`throw` on an awaitable that has not been awaited throws into the generator, or raises in its place."""
    for method, argument in (("asend", (None,)), ("athrow", (ValueError,)), ("aclose", ())):
        generator, thrown = function(), KeyError()
        for _ in range(steps):
            with contextlib.suppress(StopAsyncIteration):
                by_hand(anext(generator))
        with pytest.raises(KeyError) as raised:
            getattr(generator, method)(*argument).throw(thrown)
        assert raised.value is thrown
        assert generator.ag_frame is None


async def catching() -> AsyncGenerator[int, None]:
    """Answers an exception by an item."""
    try:
        yield 1
    except KeyError:
        yield 2


@pytest.mark.parametrize("function", [catching, delegating(catching), pure_delegator(catching)])
def test_thrown_instead_of_closing(function: Callable[[], Any]) -> None:
    """B16: an item is no answer to an `aclose()`, whatever was thrown into the generator by it."""
    generator = function()
    assert by_hand(anext(generator)) == 1
    with pytest.raises(RuntimeError, match=r"^async generator ignored GeneratorExit$"):
        generator.aclose().throw(KeyError())
    generator = function()
    assert by_hand(anext(generator)) == 1
    with pytest.raises(StopIteration) as answered:
        generator.athrow(ValueError()).throw(KeyError())
    assert answered.value.value == 2


@BOTH
def test_anext_with_a_default(function: Callable[[], Any]) -> None:
    """The builtin `anext` with a default works, over suspensions and at the end."""
    generator = function()

    async def main() -> list[Any]:
        return [await anext(generator, "end") for _ in range(4)]

    assert by_hand(main()) == [1, 2, "end", "end"]


@BOTH
@pytest.mark.skipif(sys.version_info < (3, 13), reason="CPython warns since 3.13")
@pytest.mark.parametrize("started", [False, True])
def test_never_awaited(function: Callable[[], Any], started: bool) -> None:
    """An awaitable that is dropped without having been awaited warns in CPython's words, of the line that drops it."""
    for method, argument in (("__anext__", ()), ("asend", (None,)), ("athrow", (KeyError,)), ("aclose", ())):
        generator = function()
        if started:
            by_hand(anext(generator))
        named = "asend" if method == "__anext__" else method
        with pytest.warns(RuntimeWarning, match=f"^coroutine method '{named}' of 'native' was never awaited") as warned:
            dropped(getattr(generator, method), *argument)
        assert [(warning.filename, warning.lineno) for warning in warned] == [DROPPING]
        by_hand(generator.aclose())


def dropped(function: Callable[..., Any], *arguments: Any) -> None:
    """Call a function, and drop what it gives."""
    function(*arguments)
    gc.collect()


#: The line that drops something.
DROPPING = (__file__, dropped.__code__.co_firstlineno + 2)


def test_yield_from_never_awaited() -> None:
    """A `yield_from` without its `await` warns as a coroutine does."""
    with pytest.warns(RuntimeWarning, match="^coroutine 'yield_from' was never awaited") as warned:
        dropped(yield_from, counting())
    assert [(warning.filename, warning.lineno) for warning in warned] == [DROPPING]
    with pytest.warns(RuntimeWarning, match="^coroutine 'set_return_value' was never awaited"):
        dropped(set_return_value, 1)


@BOTH
@pytest.mark.skipif(sys.version_info < (3, 12), reason="deprecated since 3.12")
def test_three_arguments(function: Callable[[], Any]) -> None:
    """`athrow(typ, val, tb)` works, and warns where it is called."""
    generator = function()
    with pytest.warns(
        DeprecationWarning, match=r"the \(type, exc, tb\) signature of athrow\(\) is deprecated"
    ) as caught:
        step = generator.athrow(KeyError, KeyError("mine"), None)
    assert caught[0].filename == __file__
    with pytest.raises(KeyError, match="mine"):
        by_hand(step)


@BOTH
def test_value_apart(function: Callable[[], Any]) -> None:
    """`athrow(typ, val)` makes an exception of the value, or of a tuple as arguments; an instance takes no value."""
    for arguments, expected in (
        ((KeyError, (1, 2)), (KeyError, (1, 2))),
        ((KeyError, 1), (KeyError, (1,))),
        ((KeyError, KeyError(3)), (KeyError, (3,))),
        ((KeyError(), 4), (TypeError, ("instance exception may not have a separate value",))),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            step = function().athrow(*arguments)
        with pytest.raises(expected[0]) as caught:
            by_hand(step)
        assert caught.value.args == expected[1]


class NeedyError(Exception):
    """Cannot be made without an argument."""

    def __init__(self, argument: object) -> None:
        super().__init__(argument)


class NoError(Exception):
    """Whose call gives something else."""

    def __new__(cls, *_: object) -> Any:
        """Give a number."""
        return 5


class FailingError(Exception):
    """Whose making fails."""

    def __init__(self) -> None:
        raise LookupError("made")


async def giving_back() -> AsyncGenerator[Any, Any]:
    """Yield what is thrown in."""
    try:
        yield 1
    except Exception as error:
        yield error


@pytest.mark.parametrize(
    "thrown, error, message",
    [
        (NeedyError, TypeError, "missing 1 required positional argument"),
        (NoError, TypeError, r"calling <class '.*NoError'> should have returned an instance of BaseException, not int"),
        (FailingError, LookupError, "made"),
    ],
)
@pytest.mark.parametrize("function", [giving_back, delegating(giving_back), pure_delegator(giving_back)])
def test_class_that_cannot_be_made(
    function: Callable[[], Any], thrown: type[Exception], error: type[Exception], message: str
) -> None:
    """What the making of a thrown class raises is thrown instead, and the body may catch it (B21)."""
    generator = function()
    assert by_hand(anext(generator)) == 1
    caught = by_hand(generator.athrow(thrown))
    assert type(caught) is error
    with pytest.raises(error, match=message):
        raise caught
    lines = traceback.extract_tb(caught.__traceback__)
    assert not any(line.name in {"exception_of", "made_of"} for line in lines)


@BOTH
def test_what_can_be_thrown(function: Callable[[], Any]) -> None:
    """`athrow` of something that is no exception is a TypeError when it is awaited."""
    generator = function()
    step = generator.athrow(5)
    with pytest.raises(TypeError, match="exceptions must be classes or instances deriving from BaseException, not int"):
        by_hand(step)


def test_awaitables_made_in_advance() -> None:
    """Awaitables may be made before the generator has come to where they are awaited; each does its step then."""

    @delegating
    async def outer() -> AsyncGenerator[Any, Any]:
        yield 0
        await yield_from(counting())
        yield 4

    for count in range(1, 6):
        generator = outer()
        steps = [anext(generator) for _ in range(count)]
        assert [by_hand(step) for step in steps] == list(range(count))
        by_hand(generator.aclose())
    generator = outer()
    steps = [generator.asend(None) for _ in range(2)]
    by_hand(steps[0])
    unused = anext(generator)
    assert by_hand(steps[1]) == 1
    assert by_hand(unused) == 2
    by_hand(generator.aclose())


def test_no_reference_cycles() -> None:
    """Generators, awaitables and exceptions are freed at once, without the cyclic garbage collector."""

    async def use() -> None:
        for wrap in (delegating(native), pure_delegator(native), pure_delegator(delegating(native))):
            await items(wrap())
            for error in (KeyError(), GeneratorExit()):
                generator: Any = wrap()
                await anext(generator)
                with contextlib.suppress(KeyError, GeneratorExit):
                    await generator.athrow(error)
                reference = weakref.ref(generator)
                del generator
                error.__traceback__ = None
                assert reference() is None
            generator = wrap()
            await anext(generator)
            await generator.aclose()

    by_hand(use())
    gc.collect()
    gc.disable()
    try:
        by_hand(use())
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found = [item for item in gc.garbage if type(item).__module__.startswith("asyncgen_tools")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert found == []


# --- CPython's own tests


def ignored(_: object) -> None:
    """In the place of `sys.unraisablehook`: CPython's tests run it, too."""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", ["test.test_asyncgen", "test.test_contextlib_async"])
@pytest.mark.filterwarnings("ignore")
def test_cpython(name: str) -> None:
    """B21: CPython's tests of async generators have the same results with a pure delegator before each generator."""
    hook, sys.unraisablehook = sys.unraisablehook, ignored
    try:
        direct = results(name, through_delegators=False)
        through = results(name, through_delegators=True)
        gc.collect()
    except LookupError as error:
        pytest.skip(str(error))
    finally:
        sys.unraisablehook = hook
    assert through == direct
    assert list(direct.values()).count("ok") > 50


# --- the decorator


class Methods:
    """A class with delegating methods of each kind."""

    tag = "self"

    @delegating
    async def method(self, count: int = 1) -> AsyncGenerator[Any, Any]:
        """A method."""
        for _ in range(count):
            yield self.tag

    @classmethod
    @delegating
    async def of_class(cls) -> AsyncGenerator[Any, Any]:
        """A classmethod."""
        yield cls.__name__

    @delegating
    @classmethod
    async def of_class_inside(cls) -> AsyncGenerator[Any, Any]:
        """A classmethod that is decorated from outside."""
        yield cls.__name__

    @staticmethod
    @delegating
    async def static(value: int) -> AsyncGenerator[Any, Any]:
        """A staticmethod."""
        yield value

    @delegating
    @staticmethod
    async def static_inside(value: int) -> AsyncGenerator[Any, Any]:
        """A staticmethod that is decorated from outside."""
        yield value


def test_methods() -> None:
    """Methods, classmethods and staticmethods can be delegating, in either order of decorators."""
    assert by_hand(items(Methods().method(count=2))) == ["self", "self"]
    assert by_hand(items(Methods.of_class())) == by_hand(items(Methods().of_class_inside())) == ["Methods"]
    assert by_hand(items(Methods.static(1))) == by_hand(items(Methods().static_inside(1))) == [1]
    assert Methods.method.__doc__ == "A method."
    assert Methods.method.__qualname__ == Methods().method().__qualname__ == "Methods.method"


def test_returns() -> None:
    """`@delegating(returns=T)` is `@delegating`; T is for type checkers."""

    @delegating(returns=int)
    async def one() -> AsyncGenerator[str, None]:
        yield "item"
        await set_return_value(1)

    generator = one()
    assert by_hand(items(generator)) == ["item"]
    assert generator.return_value == 1
    assert by_hand(items(delegating()(native)())) == [1, 2]


def test_partials() -> None:
    """What makes async generators may be a bound method or a partial, too."""
    assert by_hand(items(delegating(functools.partial(Methods.static.__wrapped__, 5))())) == [5]  # type: ignore[attr-defined]


async def _coroutine() -> None:
    pass


def _generator() -> Any:
    yield


@pytest.mark.parametrize(
    "wrong, hint",
    [
        (_coroutine, "It is a coroutine function: a body without a `yield` needs one"),
        (_generator, "It is a sync generator function: write `async def`"),
        (print, "Put it next to an `async def` that contains `yield`, below other decorators"),
        (5, "Put it next to an `async def`"),
        (counting(), "It is an async generator: decorate the function that makes it"),
    ],
)
def test_not_an_async_generator_function(wrong: Any, hint: str) -> None:
    """`@delegating` on anything but an async generator function is a TypeError that says what to write."""
    with pytest.raises(
        SourceTypeError, match=r"@delegating was put on .*, which is not an async generator function"
    ) as caught:
        delegating(wrong)
    assert hint in str(caught.value)


# --- together with the rest


def test_async_context_manager() -> None:
    """`contextlib.asynccontextmanager` takes a delegating function, and its cleanup may delegate."""
    log: list[Any] = []

    @delegating
    async def silent() -> AsyncGenerator[Any, Any]:
        log.append("cleanup")
        if not log:
            yield

    @contextlib.asynccontextmanager
    @delegating
    async def manager() -> AsyncGenerator[str, None]:
        try:
            yield "value"
        finally:
            await yield_from(silent())

    async def main() -> None:
        async with manager() as value:
            log.append(value)
        with pytest.raises(KeyError):
            async with manager():
                raise KeyError

    by_hand(main())
    assert log == ["value", "cleanup", "cleanup"]


def test_drive(backend: Backend) -> None:
    """In sync code the return value is that of the sync generator: `r = yield from drive(...)`."""

    @delegating
    async def inner() -> AsyncGenerator[Any, Any]:
        sent = yield 1
        await backend.checkpoint()
        await set_return_value(("returned", sent))

    def outer() -> Any:
        return (yield from backend.drive(pure_delegator(inner)()))

    generator = outer()
    assert next(generator) == 1
    with pytest.raises(StopIteration) as caught:
        generator.send("sent")
    assert caught.value.value == ("returned", "sent")


def test_held_scopes(backend: Backend) -> None:
    """Context variables and time limits held over a delegation are those of one task, for all levels."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")

    @delegating
    async def inner() -> AsyncGenerator[Any, Any]:
        token = variable.set("inner")
        yield variable.get()
        variable.reset(token)
        yield variable.get()

    with contextlib.closing(backend.drive(pure_delegator(inner)())) as generator:
        assert list(generator) == ["inner", "outside"]
    assert variable.get() == "outside"


@pytest.mark.parametrize("where", ["asyncio"])
def test_tasks_wrap_awaitables(where: str) -> None:
    """An awaitable can be made a task of its own, and be cancelled there."""

    async def main() -> None:
        generator = pure_delegator(native)()
        assert await asyncio.create_task(anext(generator)) == 1
        task = asyncio.create_task(generator.asend(None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(StopAsyncIteration) as caught:
            await anext(generator)
        assert stop_value(caught.value) is None

    run(where, main)


def test_no_event_loop_is_loaded() -> None:
    """Delegation loads no event loop."""
    code = "import asyncgen_tools.delegation, sys; print([m for m in ('asyncio', 'trio', 'anyio') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(sys.version_info < (3, 13), reason="before 3.13 such awaitables are just dropped")
@pytest.mark.parametrize("method", ["asend", "aclose"])
def test_closing_an_awaitable_that_goes_on(method: str) -> None:
    """An awaitable that was not awaited throws GeneratorExit into the generator when it is closed, as CPython's does;
    one that then waits for something has ignored it.
    """

    async def waits() -> AsyncGenerator[int, Any]:
        try:
            yield 1
        finally:
            await checkpoint()

    for function in (waits, delegating(waits)):
        generator = function()
        by_hand(anext(generator))
        awaitable = getattr(generator, method)(*([None] if method == "asend" else []))
        with pytest.raises(RuntimeError, match="coroutine ignored GeneratorExit"):
            awaitable.close()
        with contextlib.suppress(RuntimeError, StopAsyncIteration):
            by_hand(generator.aclose())
