"""driven: an async generator function becomes a sync one, wherever it stands (SEMANTICS A1, A3)."""

from __future__ import annotations

import abc
import functools
import inspect
from typing import TYPE_CHECKING, Any

import pytest

from asyncgen_tools import SyncGenerator, driven
from asyncgen_tools.errors import BareSuspensionError, SourceTypeError, UnknownBackendError
from tests.scopes import current_task
from tests.ways import ProbeError, numbers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from tests.conftest import Backend


@driven
async def count(to: int, /, start: int = 0, *, step: int = 1) -> AsyncGenerator[int, None]:
    """Count up."""
    for number in range(start, to, step):
        yield number


bare = driven(backend="bare")


class Table:
    """Has a driven method of each kind."""

    name = "class"

    def __init__(self, name: str) -> None:
        self.name = name

    @driven
    async def rows(self, number: int = 2) -> AsyncGenerator[str, None]:
        """A plain method."""
        for index in range(number):
            yield f"{self.name} {index}"

    @classmethod
    @driven
    async def outside(cls, suffix: str) -> AsyncGenerator[str, None]:
        """A classmethod around a driven function."""
        yield cls.name + suffix

    @driven
    @classmethod
    async def inside(cls, suffix: str) -> AsyncGenerator[str, None]:
        """A driven classmethod."""
        yield cls.name + suffix

    @staticmethod
    @driven
    async def static_outside(suffix: str) -> AsyncGenerator[str, None]:
        """A staticmethod around a driven function."""
        yield "static" + suffix

    @driven
    @staticmethod
    async def static_inside(suffix: str) -> AsyncGenerator[str, None]:
        """A driven staticmethod."""
        yield "static" + suffix

    @bare
    async def without_loop(self) -> AsyncGenerator[str, None]:
        """A method with options."""
        yield self.name


class Derived(Table):
    """Overrides a driven method, and calls the one that it overrides."""

    name = "derived class"

    @driven
    async def rows(self, number: int = 2) -> AsyncGenerator[str, None]:
        """Rows in brackets."""
        for row in super().rows(number):
            yield f"[{row}]"


def test_call_gives_a_sync_generator() -> None:
    """A call gives a SyncGenerator with the call's arguments bound; each call a new one (A1)."""
    generator = count(10, 4, step=2)
    assert isinstance(generator, SyncGenerator)
    assert list(generator) == [4, 6, 8]
    assert list(count(2)) == [0, 1]
    first, second = count(2), count(2)
    assert first is not second
    assert next(first) == next(second) == 0
    first.close()
    second.close()


def test_function_looks_like_itself() -> None:
    """Name, qualified name, docstring, module, signature and the original are kept."""
    assert count.__name__ == "count"
    assert count.__qualname__ == "count"
    assert count.__doc__ == "Count up."
    assert count.__module__ == __name__
    wrapped: Any = vars(count)["__wrapped__"]
    assert inspect.isasyncgenfunction(wrapped)
    assert not inspect.isasyncgenfunction(count)
    assert not inspect.iscoroutinefunction(count)
    assert (
        str(inspect.signature(count))
        == "(to: 'int', /, start: 'int' = 0, *, step: 'int' = 1) -> 'AsyncGenerator[int, None]'"
    )


def test_wrong_arguments_are_the_functions_own_error() -> None:
    """Arguments that do not fit are the TypeError that the function itself raises, at the call."""
    for arguments in ((), (1, 2, 3)):
        call: Any = functools.partial(count, *arguments)
        with pytest.raises(TypeError, match=r"count\(\)"):
            call()


def test_methods() -> None:
    """It works on methods of every kind, inherited or not, whichever side the other decorator stands on."""
    table = Table("mine")
    assert list(table.rows()) == ["mine 0", "mine 1"]
    assert list(Table.rows(table, 1)) == ["mine 0"]
    assert table.rows.__doc__ == "A plain method."
    assert list(Table.outside("!")) == list(table.outside("!")) == ["class!"]
    assert list(Table.inside("!")) == list(table.inside("!")) == ["class!"]
    assert list(Derived.outside("!")) == list(Derived.inside("!")) == ["derived class!"]
    assert list(Table.static_outside("!")) == list(table.static_outside("!")) == ["static!"]
    assert list(Table.static_inside("!")) == list(table.static_inside("!")) == ["static!"]
    assert list(table.without_loop()) == ["mine"]


def test_overriding_calls_the_overridden() -> None:
    """A driven method is a sync generator function to everybody: `super()` gives sync rows, too. Driving those inside
    of a running loop is refused; on bare it works.
    """

    class Bare(Table):
        """Like Derived, without an event loop."""

        @bare
        async def rows(self, number: int = 2) -> AsyncGenerator[str, None]:
            for row in super().without_loop():
                yield f"[{row}] {number}"

    assert list(Bare("mine").rows(1)) == ["[mine] 1"]
    with pytest.raises(RuntimeError, match=r"event loop .*is running"):
        list(Derived("mine").rows(1))


def test_options_reach_the_loop(backend: Backend) -> None:
    """`backend` and `backend_options` are those of every call (A5)."""

    @driven(backend=backend.name, backend_options=backend.options)
    async def tasks() -> AsyncGenerator[object, None]:
        for _ in range(2):
            yield current_task(backend)
            await backend.checkpoint()

    first, second = tasks()
    assert first is second
    assert first is not None


def test_direct_call_with_options(backend: Backend) -> None:
    """`driven(function, backend=...)` is the same as the decorator (A5)."""

    async def body() -> AsyncGenerator[int, None]:
        await backend.checkpoint()
        yield 1

    assert list(driven(body, backend=backend.name, backend_options=backend.options)()) == [1]
    with pytest.raises(BareSuspensionError):
        list(driven(body, backend="bare")())


def test_nothing_runs_before_the_first_step() -> None:
    """A call runs nothing of the body; a function that returns an iterable runs at the call, its rows later (A6)."""
    log: list[str] = []

    @bare
    async def body() -> AsyncGenerator[int, None]:
        log.append("body")
        yield 1

    @bare
    def plain() -> AsyncIterator[int]:
        log.append("plain")
        return numbers()

    generators = [body(), plain()]
    assert log == ["plain"]
    assert [list(generator) for generator in generators] == [[1], [1, 2]]
    assert log == ["plain", "body"]


def test_whatever_gives_an_async_iterable() -> None:
    """A class, a partial, a callable object and a builtin that give async iterables can be driven (A3)."""

    class Rows:
        """An async iterable."""

        def __init__(self, number: int) -> None:
            self.number = number

        async def __aiter__(self) -> AsyncGenerator[int, None]:
            for number in range(self.number):
                yield number

    class Source:
        """Callable."""

        def __call__(self, number: int) -> Rows:
            return Rows(number)

    driving: Any = bare
    assert list(driving(Rows)(2)) == [0, 1]
    assert list(driving(functools.partial(Rows, 2))()) == [0, 1]
    assert list(driving(Source())(2)) == [0, 1]
    assert list(driving(functools.partial(numbers))()) == [1, 2]
    assert list(driving(aiter)(Rows(2))) == [0, 1]


def test_what_cannot_be_driven() -> None:
    """A coroutine function, a sync generator function, a generator, and what cannot be called are TypeErrors where the
    decorator stands, and say what to write (A14).
    """

    async def coroutine_function() -> None:
        """Awaits nothing."""

    def generator_function() -> Any:
        yield

    nonsense: list[Any] = [coroutine_function, generator_function, numbers(), 42, functools.partial(coroutine_function)]
    for function in nonsense:
        with pytest.raises(SourceTypeError, match=r"driven\(\) decorates async generator functions") as refused:
            driven(function)
        assert "drive(generator)" in str(refused.value)


def test_function_that_gives_something_else() -> None:
    """A function that turns out to give no async iterable is a TypeError at its call (A3)."""

    def give() -> Any:
        return [1, 2]

    driving: Any = driven
    with pytest.raises(SourceTypeError, match="sync iterable"):
        driving(give)()


def test_unknown_backend() -> None:
    """A backend that does not exist is an error at the call at the latest (A14)."""
    driving: Any = driven
    with pytest.raises(UnknownBackendError, match="curio"):
        driving(numbers, backend="curio")()


def test_errors_pass() -> None:
    """Errors of the function's body arrive as they are (A9)."""
    raised = ProbeError()

    @bare
    async def fail() -> AsyncGenerator[int, None]:
        yield 1
        raise raised

    generator = fail()
    assert next(generator) == 1
    with pytest.raises(ProbeError) as caught:
        next(generator)
    assert caught.value is raised


def test_abstract_methods_stay_abstract() -> None:
    """A driven abstract method still has to be overridden."""

    class Base(abc.ABC):
        """Has an abstract driven method."""

        @driven
        @abc.abstractmethod
        async def rows(self) -> AsyncGenerator[int, None]:
            """Rows."""
            yield 1

    make: Any = Base
    with pytest.raises(TypeError, match="abstract"):
        make()


def test_names_of_the_generator() -> None:
    """The generator has the function's name, so that warnings and errors name it (A2)."""
    generator = count(1)
    assert generator.__name__ == "count"
    assert generator.__qualname__ == "count"
    assert Table("mine").rows().__qualname__ == "Table.rows"
    generator.close()
