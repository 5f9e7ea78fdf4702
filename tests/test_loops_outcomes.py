"""What comes of a step that was cancelled while a task group was open: no cancellation of a child gets out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

from asyncgen_tools.errors import StepTimeoutError
from tests.conftest import BRIEF
from tests.scopes import kinds_in, task_group
from tests.test_host_cancellation import wait_for_event
from tests.ways import ProbeError, caught

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from asyncgen_tools import SyncGenerator
    from tests.conftest import Backend

    Drive = Callable[[AsyncGenerator[int, None]], SyncGenerator[int, None, None]]


@pytest.fixture(name="drive_briefly", params=["thread", "portal"])
def drive_briefly_fixture(backend: Backend, request: pytest.FixtureRequest) -> Generator[Drive]:
    """`drive` with a short timeout: the function, or a portal's method."""
    if request.param == "thread":
        yield partial(backend.steady().drive, timeout=BRIEF)
    else:
        with backend.steady().portal() as portal:
            yield partial(portal.drive, timeout=BRIEF)


@pytest.mark.parametrize("kind", ["native", "anyio"])
def test_timeout_inside_a_task_group(backend: Backend, drive_briefly: Drive, kind: str) -> None:
    """A step that is cancelled together with children of a nursery raises TimeoutError, not their group (A9, A11)."""

    async def body() -> AsyncGenerator[int, None]:
        async with task_group(backend, kind) as start:
            for _ in range(2):
                start(partial(wait_for_event, backend))
            await wait_for_event(backend)
            yield 1

    generator = drive_briefly(body())
    assert type(caught(next, generator)) is StepTimeoutError
    assert list(generator) == []


async def slow_to_end(backend: Backend) -> None:
    """Take longer than the timeout to be cancelled."""
    try:
        await wait_for_event(backend)
    finally:
        with anyio.CancelScope(shield=True):
            await backend.sleep(2 * BRIEF)


def test_timeout_while_a_task_group_closes(backend: Backend, drive_briefly: Drive) -> None:
    """A close that takes too long is TimeoutError also where GeneratorExit comes in a group (A9, A11)."""

    async def body() -> AsyncGenerator[int, None]:
        async with task_group(backend, "native") as start:
            start(partial(slow_to_end, backend))
            await backend.checkpoint()
            yield 1

    generator = drive_briefly(body())
    assert next(generator) == 1
    assert type(caught(generator.close)) is StepTimeoutError
    assert list(generator) == []


def test_error_beside_cancellations(backend: Backend, drive_briefly: Drive) -> None:
    """An error of the cleanup arrives in the group that the nursery made of it, without the cancellations (A9, A11)."""

    async def body() -> AsyncGenerator[int, None]:
        async with task_group(backend, "native") as start:
            start(partial(wait_for_event, backend))
            try:
                await wait_for_event(backend)
                yield 1
            finally:
                raise ProbeError

    assert kinds_in(caught(next, drive_briefly(body()))) == {ProbeError}
