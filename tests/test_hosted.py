from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import warnings
import weakref
from contextlib import AsyncExitStack, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asyncgen_tools import delegating, hosted, set_return_value, stop_value, yield_from
from asyncgen_tools.errors import (
    ClosedError,
    NoEventLoopError,
    NotEnteredError,
    ReusedError,
    SourceTypeError,
    UnsupportedStepError,
    WrongLoopError,
)
from tests.children import run_child
from tests.hosting import Tracer, in_task
from tests.running import on_every_backend
from tests.scopes import current_task, kinds_in, task_group
from tests.ways import Countdown, ProbeError, Way, frames_of, numbers, without_collector

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tests.conftest import Backend

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


# One task, one context


@on_every_backend
async def test_one_task(backend: Backend) -> None:
    """All steps run in one task, which is none of the consumers', whoever steps and whoever closes (A4)."""
    seen: list[Any] = []

    async def source() -> AsyncGenerator[int]:
        try:
            while True:
                seen.append(current_task(backend))
                yield 1
        finally:
            await backend.checkpoint()
            seen.append(current_task(backend))

    async with hosted(source()) as generator:
        await anext(generator)
        assert await in_task(generator.__anext__) == 1
        await in_task(generator.aclose)
    assert len(seen) == 3
    assert len(set(seen)) == 1
    assert current_task(backend) not in seen


@on_every_backend
async def test_one_context(backend: Backend) -> None:
    """The context is a copy of the entering task's, and is the same in every step; nothing leaks (A5)."""

    async def source() -> AsyncGenerator[str]:
        token = variable.set(variable.get() + "+")
        yield variable.get()
        yield variable.get()
        variable.reset(token)
        yield variable.get()

    block = hosted(source())
    variable.set("entering")
    async with block as generator:
        variable.set("later")
        assert await anext(generator) == "entering+"
        assert await in_task(generator.__anext__) == "entering+"
        assert await in_task(generator.__anext__) == "entering"
        assert variable.get() == "later"


@on_every_backend
@pytest.mark.parametrize("kind", ["native", "anyio"])
async def test_task_group_over_a_yield(backend: Backend, kind: str) -> None:
    """A task group held over a yield works when other tasks step and close, and when left early (PEP 789)."""

    async def source() -> AsyncGenerator[int]:
        async with task_group(backend, kind) as start:
            start(anyio.sleep_forever)
            yield 1
            yield 2

    async with hosted(source()) as generator:
        assert await in_task(generator.__anext__) == 1
        assert await anext(generator) == 2
        assert await in_task(generator.aclose) is None
    async with hosted(source()) as generator:
        assert await in_task(generator.__anext__) == 1


# Steps


@on_every_backend
async def test_items_and_return_value(backend: Backend) -> None:
    """Items pass as the same objects; a return value is that of StopAsyncIteration, and is kept."""
    items = [object(), object()]

    @delegating(returns=str)
    async def source() -> AsyncGenerator[Any]:
        for item in items:
            yield item
        await set_return_value("done")

    async with hosted(source()) as generator:
        assert [item async for item in generator] == items
        assert generator.return_value == "done"
        with pytest.raises(StopAsyncIteration) as stop:
            await anext(generator)
        assert stop_value(stop.value) is None
        assert generator.return_value == "done"


@on_every_backend
async def test_send_and_throw(backend: Backend) -> None:
    """`asend` and `athrow` are the source's, with the same objects."""

    async def echo() -> AsyncGenerator[Any, Any]:
        received: Any = None
        while True:
            try:
                received = yield received
            except ProbeError as error:
                received = error
            await backend.checkpoint()

    async with hosted(echo()) as generator:
        assert await anext(generator) is None
        for value in (5, 0, None):
            assert await generator.asend(value) is value
        error = ProbeError()
        assert await generator.athrow(error) is error
        assert isinstance(await generator.athrow(ProbeError), ProbeError)
        with pytest.raises(KeyError):
            await generator.athrow(KeyError(1))
        with pytest.raises(StopAsyncIteration):
            await anext(generator)


@on_every_backend
async def test_first_send(backend: Backend) -> None:
    """A value cannot be sent before the first step; nothing is lost by trying."""
    async with hosted(numbers()) as generator:
        with pytest.raises(TypeError, match="can't send non-None value to a just-started async generator"):
            await generator.asend(1)
        assert await anext(generator) == 1


@on_every_backend
async def test_error_of_the_source(backend: Backend) -> None:
    """An error arrives as the same object, in the step that caused it; it has at most two frames of ours (A9)."""
    error = ProbeError()

    async def source() -> AsyncGenerator[int]:
        yield 1
        await backend.checkpoint()
        raise error

    async with hosted(source()) as generator:
        await anext(generator)
        with pytest.raises(ProbeError) as raised:
            await anext(generator)
        assert raised.value is error
        assert frames_of(error)[1:] == ["(ours)", "(ours)", "source"]
        assert error.__context__ is None
        with pytest.raises(StopAsyncIteration):
            await anext(generator)


@on_every_backend
async def test_exits_of_the_interpreter(backend: Backend) -> None:
    """SystemExit, KeyboardInterrupt and CancelledError of the source arrive in the consumer; the loop goes on."""
    for kind in (SystemExit, KeyboardInterrupt, asyncio.CancelledError):

        async def source(kind: type[BaseException] = kind) -> AsyncGenerator[int]:
            yield 1
            raise kind

        async with hosted(source()) as generator:
            await anext(generator)
            with pytest.raises(kind):
                await anext(generator)
        await backend.checkpoint()


@on_every_backend
async def test_already_running(backend: Backend) -> None:
    """While a step runs, every method is refused as CPython does it, also to the body itself."""
    tracer = Tracer(backend)
    async with hosted(tracer.items()) as generator, anyio.create_task_group() as group:
        await anext(generator)
        group.start_soon(anext, generator)
        await tracer.waiting.wait()
        assert generator.ag_running
        for name, refused in {
            "anext": generator.__anext__,
            "asend": lambda: generator.asend(None),
            "athrow": lambda: generator.athrow(ProbeError),
            "aclose": generator.aclose,
        }.items():
            with pytest.raises(RuntimeError, match=rf"^{name}\(\): asynchronous generator is already running$"):
                await refused()
        tracer.proceed.set()
    assert tracer.log == ["begin", "proceeds", "closed", "end"]
    assert not generator.ag_running

    async def reentrant() -> AsyncGenerator[Any]:
        try:
            yield await anext(own)
        except RuntimeError as exc:
            yield str(exc)

    async with hosted(reentrant()) as own:
        assert await anext(own) == "anext(): asynchronous generator is already running"


@on_every_backend
async def test_ignored_exit(backend: Backend) -> None:
    """A yield while closing is a RuntimeError, from aclose() and from the end of the block; then all is as natively."""

    async def stubborn() -> AsyncGenerator[int]:
        try:
            yield 0
        except GeneratorExit:
            yield 1

    async def outcomes(generator: AsyncGenerator[int]) -> list[object]:
        await anext(generator)
        found: list[object] = []
        for step in (generator.aclose, generator.__anext__, generator.aclose):
            try:
                found.append(await step())
            except Exception as exc:
                found.append((type(exc), exc.args))
        return found

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # trio's, of what is left suspended
        native = await outcomes(stubborn())
        assert native[0] == (RuntimeError, ("async generator ignored GeneratorExit",))
        async with hosted(stubborn()) as generator:
            assert await outcomes(generator) == native
        with pytest.raises(RuntimeError, match="async generator ignored GeneratorExit"):
            async with hosted(stubborn()) as generator:
                await anext(generator)
        del generator
        gc.collect()


@on_every_backend
async def test_iterators(backend: Backend) -> None:
    """A source without asend, athrow and aclose is fine until they are needed (A3)."""
    way = Way(backend, suspends=True)
    async with hosted(Countdown(way)) as generator:
        assert await anext(generator) == 2
        with pytest.raises(UnsupportedStepError, match="has no attribute 'asend'"):
            await generator.asend(1)  # type: ignore[arg-type]
        assert await anext(generator) == 1
        error = ProbeError()
        with pytest.raises(ProbeError) as raised:
            await generator.athrow(error)
        assert raised.value is error
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
    async with hosted(Countdown(way)) as generator:
        assert await anext(generator) == 2
        await generator.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
        with pytest.raises(StopAsyncIteration):
            await generator.asend(1)  # type: ignore[arg-type]
        await generator.aclose()


@on_every_backend
async def test_attributes(backend: Backend) -> None:
    """The attributes of async generators answer."""
    source = numbers()
    async with hosted(source) as generator:
        assert generator.ag_frame is source.ag_frame  # type: ignore[attr-defined]
        assert generator.ag_code is numbers.__code__
        assert generator.ag_await is None
        assert (generator.__name__, generator.__qualname__) == ("numbers", "numbers")
        assert aiter(generator) is generator
        await generator.aclose()
        assert generator.ag_frame is None
    async with hosted(numbers()) as generator:
        assert [item async for item in generator] == [1, 2]
        assert generator.ag_frame is None
        assert generator.ag_code is numbers.__code__


# Ends of the block


@on_every_backend
async def test_early_exit(backend: Backend) -> None:
    """Leaving the block early closes the source, in its host, and awaits its cleanup; nothing runs afterwards."""
    tracer = Tracer(backend, cleanup=backend.checkpoint)
    async with hosted(tracer.items()) as generator:
        async for _ in generator:
            break
        assert tracer.log == ["begin"]
    assert tracer.log == ["begin", "closed", "end"]
    assert len(set(tracer.tasks)) == 1
    if backend.name != "trio":
        assert asyncio.all_tasks() == {asyncio.current_task()}
    async with hosted(tracer.items()):
        pass
    assert tracer.log == ["begin", "closed", "end"]


@on_every_backend
async def test_body_raises(backend: Backend) -> None:
    """An error of the body closes the source, cleanup awaited, and goes on; an error of cleanup takes its place."""
    tracer = Tracer(backend, cleanup=backend.checkpoint)
    with pytest.raises(ProbeError) as raised:
        async with hosted(tracer.items()) as generator:
            await anext(generator)
            raise ProbeError("body's")
    assert raised.value.__context__ is None
    assert tracer.log == ["begin", "closed", "end"]

    async def fail() -> None:
        raise KeyError("cleanup's")

    with pytest.raises(KeyError) as replaced:
        async with hosted(Tracer(backend, cleanup=fail).items()) as generator:
            await anext(generator)
            raise ProbeError("body's")
    chain: BaseException | None = replaced.value
    while chain is not None and not isinstance(chain, ProbeError):
        chain = chain.__context__
    assert isinstance(chain, GeneratorExit | ProbeError | None)


@on_every_backend
async def test_source_raises_while_the_body_runs(backend: Backend) -> None:
    """An error that a background task of the source raises between steps waits for the next step, or the end."""
    failed = anyio.Event()

    async def fail() -> None:
        failed.set()
        raise ProbeError

    async def source() -> AsyncGenerator[int]:
        async with anyio.create_task_group() as group:
            group.start_soon(fail)
            yield 1

    with pytest.raises(BaseExceptionGroup) as raised:
        async with hosted(source()) as generator:
            await anext(generator)
            await failed.wait()
            for _ in range(5):
                await backend.checkpoint()
    assert ProbeError in kinds_in(raised.value)


@on_every_backend
async def test_left_in_another_task(backend: Backend) -> None:
    """The block may be left in another task than the one that entered it, as fixtures are, with a task group inside."""
    stack = AsyncExitStack()

    async def source() -> AsyncGenerator[int]:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            yield 1

    async def enter() -> Any:
        generator = await stack.enter_async_context(hosted(source()))
        return await anext(generator)

    assert await in_task(enter) == 1
    await in_task(stack.aclose)
    if backend.name != "trio":
        assert asyncio.all_tasks() == {asyncio.current_task()}


@on_every_backend
async def test_group_of_exits(backend: Backend) -> None:
    """A group of GeneratorExit alone, because a task group was open, is a normal close (A9); others are not."""
    for kind in ("native", "anyio"):

        async def source(kind: str = kind) -> AsyncGenerator[int]:
            async with task_group(backend, kind):
                yield 1

        async with hosted(source()) as generator:
            await anext(generator)
            await generator.aclose()
        async with hosted(source()) as generator:
            await anext(generator)
        with pytest.raises(BaseExceptionGroup) as raised:
            async with hosted(source()) as generator:
                await anext(generator)
                await generator.athrow(ProbeError)
        assert kinds_in(raised.value) == {ProbeError}


# Together with the rest of the library, and memory


def test_in_a_driven_generator(backend: Backend) -> None:
    """It works in a loop that runs in slices, several interleaved, and is closed when the loop is left early."""
    closed: list[int] = []

    async def source() -> AsyncGenerator[int]:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                async with hosted(numbers()) as generator:
                    async for number in generator:
                        yield number
                group.cancel_scope.cancel()
        finally:
            closed.append(1)

    with backend.runner() as runner:
        assert list(zip(runner.drive(source()), runner.drive(source()), strict=True)) == [(1, 1), (2, 2)]
        for _ in runner.drive(source()):
            break
    assert closed == [1, 1, 1]


@on_every_backend
async def test_delegation(backend: Backend) -> None:
    """A delegating generator may hand over to it."""

    @delegating
    async def outer() -> AsyncGenerator[int]:
        await yield_from(generator)
        yield 3

    async with hosted(numbers()) as generator:
        assert [item async for item in outer()] == [1, 2, 3]


@on_every_backend
async def test_nothing_is_kept(backend: Backend) -> None:
    """An error that went through is freed when its catcher lets it go; the source when the block ends."""

    async def source(thing: object) -> AsyncGenerator[int]:
        while thing is not None:
            await backend.checkpoint()
            yield 1

    async def go_through() -> list[weakref.ref[ProbeError]]:
        error, thing = ProbeError(), ProbeError()
        references = [weakref.ref(error), weakref.ref(thing)]
        async with hosted(source(thing)) as generator:
            await anext(generator)
            with suppress(ProbeError):
                await generator.athrow(error)
        del error, thing  # or this frame would be in the traceback of what it holds
        return references

    with without_collector():
        references = await go_through()
        for _ in range(3):
            await backend.checkpoint()
        assert [reference() for reference in references] == [None, None]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has eager tasks since 3.12")
def test_eager_tasks() -> None:
    """It works where the loop starts tasks at once."""

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(vars(asyncio)["eager_task_factory"])
        async with hosted(numbers()) as generator:
            assert [item async for item in generator] == [1, 2]

    asyncio.run(main())


# Misuse, and the ends of loops


@on_every_backend
async def test_after_the_block(backend: Backend) -> None:
    """After the block every step but a close is a ClosedError that says so."""
    async with hosted(numbers()) as generator:
        pass
    for step in (generator.__anext__, lambda: generator.asend(None), lambda: generator.athrow(ProbeError)):
        with pytest.raises(ClosedError, match=r"block of numbers has ended.*inside of the block"):
            await step()
    await generator.aclose()


@on_every_backend
async def test_not_entered(backend: Backend) -> None:
    """Iterating over the context manager itself is a TypeError that says what to write."""
    block: Any = hosted(numbers())
    with pytest.raises(NotEnteredError, match=r"Write `async with hosted\(...\) as generator:`"):
        async for _ in block:
            pass


@on_every_backend
async def test_entered_twice(backend: Backend) -> None:
    """The context manager serves once."""
    block = hosted(numbers())
    async with block:
        with pytest.raises(ReusedError, match="entered before"):
            await block.__aenter__()
    with pytest.raises(ReusedError, match="entered before"):
        await block.__aenter__()


def test_refused_sources() -> None:
    """What is not async-iterable is refused at the call, as `drive` does it."""

    async def coroutine() -> None: ...

    made: Any = coroutine()
    refused: Any
    for refused in (made, numbers, [1]):
        with pytest.raises(SourceTypeError, match=r"hosted\(\) takes an async generator"):
            hosted(refused)
    assert made.cr_frame is None


def test_no_loop() -> None:
    """Entering without a running task of asyncio or trio is a clear error."""
    step = hosted(numbers()).__aenter__()
    with pytest.raises(NoEventLoopError, match="no task of asyncio or trio"):
        step.send(None)


@pytest.mark.parametrize("other", ["asyncio", "trio"])
@pytest.mark.parametrize("own", ["asyncio", "trio"])
def test_another_loop(own: str, other: str) -> None:
    """A step, or the end, in another loop than the host's is a clear error."""
    if "trio" in {own, other}:
        pytest.importorskip("trio")

    async def main() -> None:
        block = hosted(numbers())
        async with block as generator:

            async def elsewhere() -> None:
                with pytest.raises(WrongLoopError, match="stepped from another event loop"):
                    await anext(generator)
                with pytest.raises(WrongLoopError, match="left from another event loop"):
                    await block.__aexit__(None, None, None)

            await anyio.to_thread.run_sync(partial(anyio.run, elsewhere, backend=other))
            assert await anext(generator) == 1

    anyio.run(main, backend=own)


@on_every_backend
async def test_generators_of_the_body(backend: Backend) -> None:
    """An async generator that the source starts and drops is finalised by the running loop (A7)."""
    cleaned: list[str] = []

    async def inner() -> AsyncGenerator[int]:
        try:
            yield 1
        finally:
            cleaned.append("inner")

    async def source() -> AsyncGenerator[int]:
        async for item in inner():
            yield item
            break
        for _ in range(5):
            await backend.checkpoint()
        yield 2

    # trio warns of any that it has to finalise
    with pytest.warns(ResourceWarning, match="inner") if backend.name == "trio" else nullcontext():
        async with hosted(source()) as generator:
            assert [item async for item in generator] == [1, 2]
    assert cleaned == ["inner"]


def test_interpreter_is_quiet(backend: Backend) -> None:
    """With every warning on, a block that is left early says nothing."""
    child = run_child(
        """
import anyio
from asyncgen_tools import hosted
async def source():
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep_forever)
        while True: yield 1
async def main():
    async with hosted(source()) as generator:
        async for _ in generator: break
    async with hosted(source()) as generator: pass
anyio.run(main, **BACKEND)
print("end")
""",
        backend,
        flags=["-Walways"],
    )
    assert (child.status, child.out, child.err) == (0, ["end"], [])


@on_every_backend
async def test_closed_with_a_task_group(backend: Backend) -> None:
    """After the close of a source whose task group puts GeneratorExit into a group, steps find it finished, also where
    CPython (3.11, 3.12) takes it for running for ever.
    """

    async def holding() -> AsyncGenerator[int]:
        async with anyio.create_task_group() as group:
            group.start_soon(backend.sleep, 60)
            yield 1

    async with hosted(holding()) as generator:
        assert await anext(generator) == 1
        await generator.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
        await generator.aclose()
