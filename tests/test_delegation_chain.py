"""B18 and B22: cancelled, dropped or shut down mid-delegation, generators end innermost first, and quietly."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import gc
import sys
import threading
import types
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from asyncgen_tools import delegating, set_return_value, yield_from
from asyncgen_tools.errors import DelegationError
from tests.delegation_helpers import backends, by_hand, checkpoint, counting, items, run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator

    Decorator = Callable[[Callable[[], AsyncGenerator[Any, Any]]], Callable[[], AsyncGenerator[Any, Any]]]

LOOPS = backends()[1:]
DEPTHS = pytest.mark.parametrize("depth", [1, 3, 50])


@pytest.fixture(autouse=True)
def quiet(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is written to stderr or logged, and nothing goes to `sys.unraisablehook`."""
    unraisable: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, unraisable.append
    yield
    gc.collect()
    sys.unraisablehook = hook
    assert [str(args.exc_value) for args in unraisable] == []
    assert capfd.readouterr().err == ""
    assert [record.getMessage() for record in caplog.records if "garbage collected" not in record.getMessage()] == []


@pytest.fixture(params=["flat", "native"])
def make(request: pytest.FixtureRequest) -> Any:
    """Makes a chain of generators of a depth; each notes when it begins and ends its clean-up, which waits."""

    async def source(log: list[Any]) -> AsyncGenerator[Any, Any]:
        try:
            yield "item"
            await forever()
        finally:
            log.append(("begins", 0))
            await patient_checkpoint()
            log.append(("ends", 0))

    @delegating
    async def chain(depth: int, log: list[Any]) -> AsyncGenerator[Any, Any]:
        try:
            if depth > 1 or request.param == "native":
                await yield_from(chain(depth - 1, log) if depth > 1 else source(log))
            else:
                await yield_from(delegating(source)(log))
        finally:
            log.append(("begins", depth))
            await patient_checkpoint()
            log.append(("ends", depth))
        yield

    return chain


def expected(depth: int) -> list[Any]:
    """What the generators of a chain note, innermost first and one after the other."""
    return [(what, level) for level in range(depth + 1) for what in ("begins", "ends")]


def test_steps_that_are_awaited_later() -> None:
    """B2, B4: a step begins when it is awaited: where the generator stands then, and not where it stood when asked."""

    @delegating
    async def inner() -> AsyncGenerator[Any, Any]:
        yield 1
        yield 2

    @delegating
    async def outer() -> AsyncGenerator[Any, Any]:
        await yield_from(inner())
        yield 3
        await yield_from(inner())

    generator = outer()
    assert by_hand(anext(generator)) == 1
    inside, between, after = (generator.asend(None) for _ in range(3))
    assert [by_hand(anext(generator)), by_hand(between), by_hand(inside), by_hand(after)] == [2, 3, 1, 2]


def on_asyncio() -> bool:
    """Whether the current task is asyncio's; where it is not, it is trio's."""
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


async def patient_checkpoint() -> None:
    """Wait in a clean-up, where trio's cancellation would not let us."""
    if not on_asyncio():
        import trio

        with trio.CancelScope(shield=True):
            await trio.sleep(0)
        return
    await checkpoint()


async def forever() -> None:
    """Wait until cancelled."""
    if not on_asyncio():
        import trio

        await trio.sleep_forever()
    await asyncio.Event().wait()


@DEPTHS
@pytest.mark.parametrize("where", LOOPS)
def test_dropped(where: str, depth: int, make: Any) -> None:
    """B22: a generator that is dropped mid-delegation is closed by the loop, innermost first."""
    log: list[Any] = []

    async def main() -> None:
        generator = make(depth, log)
        assert await anext(generator) == "item"
        del generator
        for _ in range(10 * (depth + 1)):
            await checkpoint()
        assert log == expected(depth)

    run(where, main)
    assert log == expected(depth)


@DEPTHS
@pytest.mark.parametrize("where", LOOPS)
def test_dropped_in_a_cycle(where: str, depth: int, make: Any) -> None:
    """B22: so is one that the cyclic garbage collector finds together with its subgenerators."""
    log: list[Any] = []

    async def main() -> None:
        cycle: list[Any] = [make(depth, log)]
        cycle.append(cycle)
        assert await anext(cycle[0]) == "item"
        del cycle
        gc.collect()
        for _ in range(10 * (depth + 1)):
            await checkpoint()
        assert log == expected(depth)

    run(where, main)


@DEPTHS
@pytest.mark.parametrize("where", LOOPS)
def test_shut_down(where: str, depth: int, make: Any) -> None:
    """B22: one that is alive when the loop shuts down is closed by it, innermost first."""
    log: list[Any] = []
    kept: list[Any] = []

    async def main() -> None:
        kept.append(make(depth, log))
        assert await anext(kept[0]) == "item"

    run(where, main)
    assert log == expected(depth)


@DEPTHS
@pytest.mark.parametrize("where", LOOPS)
def test_cancelled(where: str, depth: int, make: Any) -> None:
    """B18: cancellation arrives where the innermost generator waits, and goes from there through all of them."""
    log: list[Any] = []

    async def step(generator: Any) -> None:
        await anext(generator)

    async def main() -> None:
        generator = make(depth, log)
        assert await anext(generator) == "item"
        if where == "trio":
            import trio

            with trio.CancelScope() as scope:
                scope.deadline = trio.current_time() + 0.001
                await anext(generator)
            assert scope.cancelled_caught
        else:
            task = asyncio.create_task(step(generator))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert log == expected(depth)
        assert [item async for item in generator] == []

    run(where, main)


@DEPTHS
@pytest.mark.parametrize("where", LOOPS)
@pytest.mark.parametrize("first", [[], ["first"]], ids=["in its first step", "in a later one"])
def test_delegating_when_cancelled(where: str, depth: int, first: list[str]) -> None:
    """B18, B25: a body that catches cancellation, or a time limit, may delegate and return a value on the spot."""

    @delegating
    async def chain(depth: int) -> AsyncGenerator[Any, Any]:
        if depth > 1:
            await set_return_value(await yield_from(chain(depth - 1)))
            return
        for item in first:
            yield item
        try:
            with limit():
                await forever()
        finally:
            await set_return_value(await yield_from(fallback()))

    @delegating
    async def fallback() -> AsyncGenerator[Any, Any]:
        await patient_checkpoint()
        yield "fallback"
        await set_return_value("returned")

    @contextlib.contextmanager
    def limit() -> Generator[None, None, None]:
        if where == "trio":
            import trio

            with trio.move_on_after(0):
                yield
            return
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            yield
        task.uncancel()

    async def main() -> None:
        generator = chain(depth)
        assert [item async for item in generator] == [*first, "fallback"]
        assert generator.return_value == "returned"

    run(where, main)


@DEPTHS
def test_dropped_without_a_loop(depth: int) -> None:
    """B22: without a loop a dropped generator is closed on the spot, innermost first, as long as nothing waits."""
    log: list[Any] = []

    @delegating
    async def chain(depth: int) -> AsyncGenerator[Any, Any]:
        try:
            if depth:
                await yield_from(chain(depth - 1))
            else:
                yield "item"
        finally:
            log.append(depth)

    async def main() -> None:
        await anext(chain(depth))
        assert log == list(range(depth + 1))

    run("by hand", main)


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("delegated", [False, True])
def test_given_up_without_a_loop(delegated: bool, waits: bool) -> None:
    """B22: a native subgenerator that was given up unfinished is closed where it is dropped, as if never delegated to.

    Clean-up that would have to wait is an ignored GeneratorExit then, as CPython has it.
    """
    log: list[Any] = []

    async def native() -> AsyncGenerator[Any, Any]:
        try:
            yield 1
            await checkpoint()
            yield 2
        finally:
            log.append("begins")
            if waits:
                await checkpoint()
            log.append("ends")

    @delegating
    async def delegator(held: list[Any]) -> AsyncGenerator[Any, Any]:
        with contextlib.suppress(RuntimeError):
            await yield_from(held.pop())
        yield "given up"

    subgenerator: Any = native()
    generator = delegator([subgenerator] if delegated else [])
    assert by_hand(anext(generator if delegated else subgenerator)) == 1
    step = anext(subgenerator)
    assert step.send(None) == "suspended"
    if delegated:
        assert by_hand(anext(generator)) == "given up"
    with pytest.raises(StopIteration, match="2"):
        step.send(None)
    unraisable: list[str] = []

    def note(caught: Any) -> None:
        unraisable.append(str(caught.exc_value))

    hook, sys.unraisablehook = sys.unraisablehook, note
    try:
        del subgenerator, step
        gc.collect()
    finally:
        sys.unraisablehook = hook
    assert log == (["begins"] if waits else ["begins", "ends"])
    assert unraisable == (["async generator ignored GeneratorExit"] if waits else [])


@pytest.mark.parametrize("where", LOOPS)
def test_registered_once(where: str) -> None:
    """B22: the loop meets the outermost generator alone; the subgenerators are not its business."""

    async def source() -> AsyncGenerator[Any, Any]:
        yield 1

    @delegating
    async def level(depth: int) -> AsyncGenerator[Any, Any]:
        await yield_from(level(depth - 1) if depth else source())
        yield

    async def main() -> None:
        met: list[Any] = []
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=met.append)
        try:
            generator = level(3)
            await anext(generator)
            await generator.asend(None)
        finally:
            sys.set_asyncgen_hooks(*hooks)
        assert met == [generator]
        await generator.aclose()

    run(where, main)


@contextlib.contextmanager
def meeting() -> Generator[list[Any]]:
    """What the hook for generators that are first iterated meets in the block."""
    met: list[Any] = []
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(firstiter=met.append)
    try:
        yield met
    finally:
        sys.set_asyncgen_hooks(*hooks)


@pytest.mark.parametrize("when", ["delegates", "has delegated"])
def test_registered_when_stepped_by_itself(when: str) -> None:
    """B22: a subgenerator that somebody steps by itself meets the hooks then, whether it still delegates or no more."""

    async def source() -> AsyncGenerator[Any, Any]:
        yield 1
        yield 2

    @delegating
    async def middle() -> AsyncGenerator[Any, Any]:
        await yield_from(source())
        yield 3
        yield 4

    @delegating
    async def outer(subgenerator: Any) -> AsyncGenerator[Any, Any]:
        await yield_from(subgenerator)
        yield

    inner = middle()
    generator = outer(inner)
    with meeting() as met:
        for _ in range(1 if when == "delegates" else 3):
            by_hand(anext(generator))
            assert not inner.ag_running
        assert met == [generator]
        assert by_hand(anext(inner)) == (2 if when == "delegates" else 4)
        assert met == [generator, inner]
    by_hand(generator.aclose())


@pytest.mark.parametrize("stepped_by", ["another", "itself"])
def test_given_up_but_known(stepped_by: str) -> None:
    """B22: a subgenerator that is given up unfinished meets no hook if another delegator, or the loop, has it."""

    @delegating
    async def stubborn() -> AsyncGenerator[Any, Any]:
        for number in range(4):
            with contextlib.suppress(GeneratorExit):
                yield number

    @delegating
    async def level(subgenerator: Any) -> AsyncGenerator[Any, Any]:
        with contextlib.suppress(RuntimeError):
            await yield_from(subgenerator)
        yield "given up"

    subgenerator = stubborn()
    first, second = level(subgenerator), level(subgenerator) if stepped_by == "another" else subgenerator
    with meeting() as met:
        assert [by_hand(anext(second)), by_hand(anext(first))] == [0, 1]
        with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
            by_hand(first.aclose())
        assert met == [second, first]
    assert by_hand(items(first)) == []
    assert by_hand(items(second)) == ([3, "given up"] if stepped_by == "another" else [3])


@pytest.mark.parametrize("native", [True, False])
def test_given_up_is_registered(native: bool) -> None:
    """B22: a subgenerator that its delegator gives up unfinished is made known to the loop, which is to finalise it."""
    met: list[Any] = []
    finalised: list[Any] = []

    async def stubborn() -> AsyncGenerator[Any, Any]:
        try:
            yield 1
        except GeneratorExit:
            yield 2

    @delegating
    async def level(subgenerator: Any) -> AsyncGenerator[Any, Any]:
        with contextlib.suppress(RuntimeError):
            await yield_from(subgenerator)
        yield

    async def main() -> None:
        sys.set_asyncgen_hooks(met.append, finalised.append)
        try:
            subgenerator: Any = stubborn() if native else delegating(stubborn)()
            generator = level(subgenerator)
            await anext(generator)
            assert met == [generator]
            with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
                await generator.aclose()
            assert met == [generator, subgenerator]
            assert [item async for item in generator] == []
            met.clear()
            del subgenerator
            gc.collect()
            # CPython does not finalise a native generator that has once ignored its aclose()
            assert len(finalised) == (0 if native else 1)
            for left in finalised:
                assert [item async for item in left] == []
        finally:
            sys.set_asyncgen_hooks(None, None)

    run("by hand", main)


@pytest.mark.parametrize("where", LOOPS)
def test_shared_with_a_survivor(where: str) -> None:
    """B19, B22: a delegator that is dropped closes its subgenerator also if another delegator shares it."""
    log: list[Any] = []

    @delegating
    async def shared() -> AsyncGenerator[Any, Any]:
        try:
            yield 1
            yield 2
        finally:
            log.append("closed")

    @delegating
    async def delegator(subgenerator: Any) -> AsyncGenerator[Any, Any]:
        await yield_from(subgenerator)
        yield "survived"

    async def main() -> None:
        subgenerator = shared()
        one, two = delegator(subgenerator), delegator(subgenerator)
        assert await anext(one) == 1
        assert await anext(two) == 2
        del one, subgenerator
        for _ in range(5):
            await checkpoint()
        assert log == ["closed"]
        assert [item async for item in two] == ["survived"]

    run(where, main)


async def by_async_for(subgenerator: Any, log: list[Any], name: str) -> AsyncGenerator[Any, Any]:
    """Delegation by native means, as far as they go."""
    try:
        async for item in subgenerator:
            yield item
    finally:
        await subgenerator.aclose()
        log.append(name)


@delegating
async def by_yield_from(subgenerator: Any, log: list[Any], name: str) -> AsyncGenerator[Any, Any]:
    """The same by `yield_from`."""
    try:
        await yield_from(subgenerator)
        yield "after"
    finally:
        log.append(name)


def plain(function: Callable[[], AsyncGenerator[Any, Any]]) -> Callable[[], AsyncGenerator[Any, Any]]:
    """The function as it is."""
    return function


def end_of_shared(
    where: str, delegator: Any, decorate: Decorator, how: str, *, waits: bool
) -> tuple[list[Any], list[Any]]:
    """Step a subgenerator directly, by two delegators, and directly again; drop all or leave them to the shutdown.

    Gives what the generators note at their ends, and what the event loop complains of.
    """
    log: list[Any] = []
    complaints: list[Any] = []
    kept: list[Any] = []

    @decorate
    async def shared() -> AsyncGenerator[Any, Any]:
        try:
            for item in range(5):
                yield item
        finally:
            if waits:
                await checkpoint()
            log.append("shared")

    async def main() -> None:
        if where != "trio":
            asyncio.get_running_loop().set_exception_handler(
                lambda _, context: complaints.append(str(context["exception"]))
            )
        subgenerator = shared()
        one, two = delegator(subgenerator, log, "one"), delegator(subgenerator, log, "two")
        assert [await anext(each) for each in (subgenerator, one, two, one, subgenerator)] == [0, 1, 2, 3, 4]
        if how == "shut down":
            kept.extend((subgenerator, one, two))
        del subgenerator, one, two
        gc.collect()
        for _ in range(9):
            await checkpoint()
        assert bool(log) is (how == "dropped")

    run(where, main)
    kept.clear()
    gc.collect()
    return log, complaints


@pytest.mark.parametrize("decorate", [plain, delegating])
@pytest.mark.parametrize("how", ["dropped", "shut down"])
@pytest.mark.parametrize("where", LOOPS)
def test_end_of_a_shared_subgenerator(where: str, how: str, decorate: Decorator) -> None:
    """B19, B22: stepped directly and by two delegators, a subgenerator ends once, before both of them, and quietly."""
    log, complaints = end_of_shared(where, by_yield_from, decorate, how, waits=False)
    assert log[0] == "shared"
    assert sorted(log[1:]) == ["one", "two"]
    assert complaints == []


@pytest.mark.parametrize("delegator", [by_async_for, by_yield_from])
@pytest.mark.parametrize("how, refused", [("dropped", 1), ("shut down", 2)])
@pytest.mark.parametrize("where", LOOPS[:2])
def test_hazard_of_sharing(where: str, how: str, refused: int, delegator: Any) -> None:
    """B17, B22: asyncio closes generators all at once, and a shared one that waits in its clean-up refuses the others.

    That is no matter of delegation: delegating by native means ends with the same complaints.
    """
    log, complaints = end_of_shared(where, delegator, plain, how, waits=True)
    assert "shared" in log
    assert complaints == ["aclose(): asynchronous generator is already running"] * refused


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_outside_in_an_eager_task() -> None:
    """B25: a task that begins within the body is outside, though only the body is above it on the stack."""

    async def helper() -> None:
        await yield_from(counting())

    @delegating
    async def body() -> AsyncGenerator[Any, Any]:
        kind: Any = asyncio.Task
        with pytest.raises(RuntimeError, match="Task got bad yield"):
            await kind(helper(), loop=asyncio.get_running_loop(), eager_start=True)
        yield "a"
        yield "b"

    async def main() -> None:
        assert await items(body()) == ["a", "b"]

    asyncio.run(main())


def test_outside_of_everything() -> None:
    """B25: where nothing but coroutines is on the stack of a thread, there is no delegating generator either."""
    caught: list[Any] = []
    ended = threading.Event()

    async def nested(depth: int) -> None:
        if depth:
            await nested(depth - 1)
            return
        try:
            await yield_from([])  # type: ignore[call-overload]
        except DelegationError as error:
            caught.append(str(error))
        ended.set()

    for depth in (0, 5):
        ended.clear()
        # threading's own functions would be on the stack; `list` takes StopIteration for the end
        steps: Any = map(nested(depth).send, [None])
        _thread.start_new_thread(list, (steps,))
        assert ended.wait(10)
    assert ["no async generator" in text for text in caught] == [True, True]


def test_refused_by_a_closed_loop() -> None:
    """B22: after its loop has gone a generator is left as it is, as CPython leaves it; nothing is written."""
    generators: list[Any] = []

    @delegating
    async def level(depth: int) -> AsyncGenerator[Any, Any]:
        if depth:
            await yield_from(level(depth - 1))
        yield

    async def main() -> None:
        generators.append(level(3))
        await anext(generators[0])

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generators.clear()
        gc.collect()
    assert generators == []  # and nothing was written: see `quiet`


@pytest.mark.parametrize("nested", [0, 3])
def test_at_the_bottom_of_a_thread(monkeypatch: pytest.MonkeyPatch, nested: int) -> None:
    """Where nothing stands above, in a thread that runs nothing else, there is no generator to delegate in (B25)."""
    caught: list[Any] = []
    told = threading.Event()

    def note(unraisable: Any) -> None:
        caught.append(unraisable.exc_value)
        told.set()

    async def helper(depth: int) -> None:
        await (helper(depth - 1) if depth else yield_from(numbers()))

    async def numbers() -> AsyncGenerator[int, None]:
        yield 1

    monkeypatch.setattr(sys, "unraisablehook", note)
    awaitable = helper(nested) if nested else yield_from(numbers()).__await__()
    _thread.start_new_thread(awaitable.send, (None,))
    assert told.wait(10)
    assert [type(error) for error in caught] == [DelegationError]
    caught.clear()


def test_closing_what_was_not_awaited() -> None:
    """A delegation that is closed before it was awaited gives no warning."""

    async def numbers() -> AsyncGenerator[int, None]:
        yield 1

    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        delegation: Any = yield_from(numbers())
        delegation.close()
        del delegation
    assert given == []


@pytest.mark.parametrize("where", LOOPS)
def test_subgenerator_given_up(where: str) -> None:
    """A native subgenerator that a delegation gives up, because somebody else was just stepping it, is the event loop's
    again, which closes it when it is dropped (B22).
    """
    log: list[str] = []

    @types.coroutine
    def tick() -> Generator[None, None, None]:
        yield

    async def shared() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await tick()
            yield 2
        finally:
            log.append("closed")

    @delegating
    async def outer(subgenerator: AsyncGenerator[int, None]) -> AsyncGenerator[int, None]:
        await yield_from(subgenerator)
        yield 3

    async def main() -> None:
        subgenerator = shared()
        generator = outer(subgenerator)
        assert await anext(generator) == 1
        step = subgenerator.asend(None)
        step.send(None)
        with pytest.raises(RuntimeError, match="already running"):
            await anext(generator)
        with pytest.raises(StopIteration):
            step.send(None)
        del step, generator, subgenerator
        gc.collect()
        for _ in range(1000):  # trio takes a few turns
            if log:
                break
            await checkpoint()
        assert log == ["closed"]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # trio's
        run(where, main)


@pytest.mark.parametrize("where", LOOPS)
def test_subgenerator_that_ignores_its_end(where: str) -> None:
    """A native subgenerator that yields when it is closed is the event loop's again, which closes it when it is
    dropped (B7, B22).
    """
    log: list[str] = []

    async def stubborn() -> AsyncGenerator[int, None]:
        try:
            try:
                yield 1
            except GeneratorExit:
                yield 2
        finally:
            log.append("closed")

    @delegating
    async def outer() -> AsyncGenerator[int, None]:
        await yield_from(stubborn())
        yield 3

    async def main() -> None:
        generator = outer()
        assert await anext(generator) == 1
        with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
            await generator.aclose()
        del generator
        gc.collect()
        await checkpoint()
        await checkpoint()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # trio's
        run(where, main)
    assert log == ["closed"]
