"""BaseDriver: what Runner and Portal have in common, done by driving one small generator."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from asyncgen_tools import Portal, Runner
from asyncgen_tools.errors import ReusedError, SourceTypeError
from tests.ways import ProbeError, caught

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from asyncgen_tools.base_driver import BaseDriver


@pytest.fixture(name="driver", params=[Runner, Portal])
def driver_fixture(request: pytest.FixtureRequest) -> Iterator[BaseDriver]:
    """A runner, and a portal."""
    driver: BaseDriver = request.param()
    with driver:
        yield driver


async def give(value: object) -> object:
    """The value itself."""
    return value


@pytest.mark.parametrize("result", [None, (), StopIteration(1), StopAsyncIteration(1)], ids=repr)
def test_run_gives_the_result(driver: BaseDriver, result: object) -> None:
    """A result is a result: an exception that is returned is not raised, a tuple not unpacked (A16)."""
    assert driver.run(give, result) is result


def test_run_names_the_driver(driver: BaseDriver) -> None:
    """A coroutine given by mistake is closed, and the error says what to write instead (A16)."""
    given: Any = give(1)
    name = type(driver).__name__.lower()
    with pytest.raises(SourceTypeError, match=rf"Write {name}\.run\(give, \.\.\.\)"):
        driver.run(given)
    assert given.cr_frame is None


def test_manager_is_entered_once(driver: BaseDriver) -> None:
    """A manager sees the exception of the block, may suppress it, and is entered once (A16)."""
    seen: list[BaseException] = []

    @asynccontextmanager
    async def managed() -> AsyncGenerator[str]:
        try:
            yield "value"
        except ProbeError as exc:
            seen.append(exc)

    raised = ProbeError()
    manager = driver.wrap_async_context_manager(managed())
    assert manager.__enter__() == "value"
    assert manager.__exit__(ProbeError, raised, None) is True
    assert seen == [raised]
    assert isinstance(caught(manager.__enter__), ReusedError)


def test_what_is_no_manager(driver: BaseDriver) -> None:
    """What is not an async context manager is a TypeError that says what was given (A14)."""
    wrong: Any = object()
    assert not isinstance(wrong, AbstractAsyncContextManager)
    with pytest.raises(SourceTypeError, match="not <object object"):
        driver.wrap_async_context_manager(wrong)
