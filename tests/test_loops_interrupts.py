"""Ctrl-C at every moment of a driven generator's life, by real signals to real processes (SEMANTICS A10)."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.children import interrupt_child
from tests.conftest import BACKENDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.conftest import Backend

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a process cannot be sent Ctrl-C alone there")

SCRIPT = """
events = []

async def cleanup():
    if BACKEND["backend"] == "trio":
        with trio.CancelScope(shield=True):
            await sleep(0.001)
            await sleep(0)
    else:
        await sleep(0.001)
        await sleep(0)

async def rows(wait, start=0):
    number = start
    try:
        while True:
            yield number
            number += 1
            await wait()
    except BaseException as exc:
        events.append(type(exc).__name__)
        raise
    finally:
        await cleanup()
        events.append("cleaned up")

async def sleeping():
    # Said by the loop, when the step has suspended: a signal before that would be raised in the body itself.
    if BACKEND["backend"] == "trio":
        trio.lowlevel.current_trio_token().run_sync_soon(say, "now")
    else:
        asyncio.get_running_loop().call_soon(say, "now")
    await sleep_forever()

async def computing():
    say("now")
    while True:
        pass

async def suspended_then_computing():
    await sleep(0.001)
    await computing()

async def double(number):
    await sleep(0)
    return 2 * number

CANCELLED = "Cancelled" if BACKEND["backend"] == "trio" else "CancelledError"

@contextlib.contextmanager
def interrupted():
    "The block ends with KeyboardInterrupt, promptly, and nothing of a loop is left in the thread."
    try:
        yield
    except KeyboardInterrupt:
        assert traces() == [], traces()
    else:
        raise AssertionError("was not interrupted")

def finished(generator):
    assert generator.gi_frame is None and not generator.gi_running and not generator.gi_suspended
    assert list(generator) == []
    generator.close()

def tasks_of(runner):
    "How many tasks the runner's loop still has, besides the one that asks."
    async def count():
        if BACKEND["backend"] == "trio":
            tasks, found = [trio.lowlevel.current_root_task()], 0
            while tasks:
                task = tasks.pop()
                found += "host of" in task.name
                tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
            return found - 1
        return len(asyncio.all_tasks()) - 1
    return runner.run(count)

def usable(runner):
    for _ in range(2):
        assert tasks_of(runner) == 0, tasks_of(runner)
        assert runner.run(double, 21) == 42
        generator = runner.drive(rows(lambda: sleep(0)))
        assert [next(generator) for _ in range(100)] == list(range(100))
        generator.close()
        assert traces() == []
"""

#: CPython may raise KeyboardInterrupt between a call that makes an awaitable and its being awaited; then it warns.
UNAWAITED = ("-Wignore:coroutine method:RuntimeWarning",)


def check(
    script: str,
    backend: Backend,
    *,
    signals: Sequence[signal.Signals] = (signal.SIGINT,),
    out: Sequence[str] = (),
    patience: float | None = None,
) -> None:
    """Run the script after SCRIPT, interrupted at each `now`; it must end well, write what is given and no error."""
    child = interrupt_child(SCRIPT + script, backend, signals=signals, patience=patience, forked=True)
    assert "\n".join(child.err) == ""
    assert (child.status, child.out) == (0, [*out])


def check_survival(script: str, backend: Backend) -> None:
    """Run a script after SCRIPT that interrupts itself at any moment; it must end well, and write no error."""
    child = interrupt_child(SCRIPT + script, backend, signals=(), flags=UNAWAITED, forked=True, measured=False)
    assert "\n".join(child.err) == ""
    assert (child.status, child.out) == (0, ["survived"])


def trio_backend() -> Backend:
    """The backend trio, for what only that has."""
    pytest.importorskip("trio", reason="trio is not installed")
    return next(backend for backend in BACKENDS if backend.name == "trio")


@pytest.mark.parametrize("how", ["next", "for", "send", "throw"])
def test_step_that_sleeps(backend: Backend, how: str) -> None:
    """Ctrl-C during a step that waits cancels it, awaits its cleanup, and is KeyboardInterrupt at the caller's line
    (A10).
    """
    script = f"""
async def catching():
    async for number in rows(sleeping):
        try:
            yield number
        except LookupError:
            pass

generator = drive(catching() if {how!r} == "throw" else rows(sleeping), **BACKEND)
assert next(generator) == 0
with interrupted():
    match {how!r}:
        case "next":
            next(generator)
        case "send":
            generator.send(1)
        case "throw":
            generator.throw(LookupError)
        case "for":
            for _ in generator:
                raise AssertionError
assert events == [CANCELLED, "cleaned up"], events
finished(generator)
assert settled()
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""
    check(script, backend)


def test_first_step(backend: Backend) -> None:
    """Ctrl-C during the first step is no different (A10)."""
    script = """
async def slow():
    try:
        await sleeping()
        yield 1
    finally:
        await cleanup()
        events.append("cleaned up")

generator = drive(slow(), **BACKEND)
with interrupted():
    next(generator)
assert events == ["cleaned up"]
finished(generator)
assert settled()
"""
    check(script, backend)


@pytest.mark.parametrize("wait", ["computing", "suspended_then_computing"])
def test_step_that_computes(backend: Backend, wait: str) -> None:
    """Ctrl-C where the body computes is KeyboardInterrupt in its code, whether or not it has suspended before (A10)."""
    script = f"""
generator = drive(rows({wait}), **BACKEND)
assert next(generator) == 0
with interrupted():
    next(generator)
assert events == ["KeyboardInterrupt", "cleaned up"], events
finished(generator)
assert settled()
"""
    check(script, backend)


@pytest.mark.parametrize("suspend", [False, True])
def test_first_step_that_computes(backend: Backend, suspend: bool) -> None:
    """The same in the first step (A10)."""
    script = f"""
async def busy():
    try:
        if {suspend}:
            await sleep(0.001)
        await computing()
        yield 1
    finally:
        await cleanup()
        events.append("cleaned up")

generator = drive(busy(), **BACKEND)
with interrupted():
    next(generator)
assert events == ["cleaned up"], events
finished(generator)
assert settled()
"""
    check(script, backend)


def test_caught_by_the_body(backend: Backend) -> None:
    """A body that computes may catch KeyboardInterrupt and go on, as any program may (A10)."""
    script = """
async def robust():
    while True:
        try:
            yield "item"
            await computing()
        except KeyboardInterrupt:
            yield "caught"
            break

generator = drive(robust(), **BACKEND)
assert [next(generator), next(generator)] == ["item", "caught"]
assert list(generator) == []
assert settled()
"""
    check(script, backend)


def test_step_that_ends_in_the_same_turn(backend: Backend) -> None:
    """A Ctrl-C that comes in the very turn of the loop in which the step ends does not cancel the cleanup as well: that
    is one, and A10 lets the cleanup finish (A10).
    """
    script = """
class Interrupting:
    "An instrument of trio; asyncio has callbacks for the same."
    armed = False
    def after_task_step(self, task):
        if Interrupting.armed:
            Interrupting.armed = False
            os.kill(os.getpid(), signal.SIGINT)

async def ending():
    try:
        if BACKEND["backend"] == "trio":
            await sleep(0)
            Interrupting.armed = True
        else:
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGINT)
            await sleep(0)
        yield 1
    finally:
        await sleep(0.001)
        await sleep(0)
        events.append("cleaned up")

if BACKEND["backend"] == "trio":
    BACKEND["backend_options"] = {"instruments": [Interrupting()]}
generator = drive(ending(), **BACKEND)
with interrupted():
    next(generator)
assert events == ["cleaned up"], events
finished(generator)
assert settled()
"""
    check(script, backend, signals=())


@pytest.mark.parametrize("how", ["close", "drop", "return", "with"])
def test_cleanup(backend: Backend, how: str) -> None:
    """Ctrl-C while cleanup waits cancels that wait, lets what is left of it finish, and is KeyboardInterrupt (A10)."""
    script = f"""
async def slow():
    try:
        yield 0
    finally:
        try:
            await sleeping()
        finally:
            await cleanup()
            events.append("cleaned up")

generator = drive(slow(), **BACKEND)
assert next(generator) == 0
caught = []
sys.unraisablehook = lambda args: caught.append(args.exc_type)
if {how!r} == "drop":
    del generator
    gc.collect()
    assert caught == [KeyboardInterrupt], caught
else:
    with interrupted():
        match {how!r}:
            case "close":
                generator.close()
            case "return":
                next(generator)
            case "with":
                with generator:
                    pass
    assert caught == []
    finished(generator)
assert events == ["cleaned up"], events
assert settled()
"""
    check(script, backend)


def test_cleanup_after_the_first(backend: Backend) -> None:
    """A second Ctrl-C, while the cleanup that the first began waits for ever, stops waiting (A10)."""
    script = """
async def stubborn():
    try:
        yield 0
        await sleeping()
    finally:
        if BACKEND["backend"] == "trio":
            with trio.CancelScope(shield=True):
                await sleeping()
        else:
            await sleeping()
        events.append("never")

generator = drive(stubborn(), **BACKEND)
assert next(generator) == 0
with interrupted():
    next(generator)
assert events == [], events
finished(generator)
assert settled()
"""
    check(script, backend, signals=[signal.SIGINT] * 2)


def test_swallowed(backend: Backend) -> None:
    """A body that swallows the cancellation and yields on is closed, and the caller has KeyboardInterrupt (A10)."""
    script = """
async def deaf():
    try:
        yield 0
        with contextlib.suppress(BaseException):
            await sleeping()
        yield 1
    finally:
        await cleanup()
        events.append("cleaned up")

generator = drive(deaf(), **BACKEND)
assert next(generator) == 0
with interrupted():
    next(generator)
assert events == ["cleaned up"], events
finished(generator)
assert settled()
"""
    check(script, backend)


def test_swallowed_and_waiting(backend: Backend) -> None:
    """A body that swallows the cancellation and waits on is left by the second Ctrl-C (A10)."""
    script = """
async def deaf():
    yield 0
    with contextlib.suppress(BaseException):
        await sleeping()
    if BACKEND["backend"] == "trio":
        with trio.CancelScope(shield=True):
            await sleeping()
    else:
        await sleeping()

generator = drive(deaf(), **BACKEND)
assert next(generator) == 0
with interrupted():
    next(generator)
finished(generator)
assert settled()
"""
    check(script, backend, signals=[signal.SIGINT] * 2)


@pytest.mark.parametrize("where", ["first step", "second step", "third step", "rest of a step", "step without a wait"])
def test_protected_by_trio(where: str) -> None:
    """Ctrl-C in code that trio protects from it, such as the entry of a cancel scope, lets that finish; then the step
    is cancelled, or ends with KeyboardInterrupt if it does not wait for anything (A10).
    """
    earlier = {"second step": 1, "third step": 2}.get(where, 0)
    script = f"""
@trio.lowlevel.enable_ki_protection
def critical():
    signal.raise_signal(signal.SIGINT)
    events.append("completed")

async def protected():
    try:
        for _ in range({earlier}):
            await sleep(0)
            yield 0
        if {where!r} == "rest of a step":
            await sleep(0)
        critical()
        if {where!r} != "step without a wait":
            await sleep_forever()
        yield 1
    except BaseException as exc:
        events.append(type(exc).__name__)
        raise
    finally:
        await cleanup()
        events.append("cleaned up")

with Runner(**BACKEND) as runner:
    generator = runner.drive(protected())
    for _ in range({earlier}):
        next(generator)
    with interrupted():
        next(generator)
    reason = "GeneratorExit" if {where!r} == "step without a wait" else CANCELLED
    assert events == ["completed", reason, "cleaned up"], events
    finished(generator)
    usable(runner)
assert settled()
"""
    check(script, trio_backend(), signals=())


#: A trio step that waits for a worker thread, which no cancellation ends; Ctrl-C is pressed twice meanwhile.
IN_A_THREAD = """
release = threading.Event()

def press(times):
    signal.raise_signal(signal.SIGINT)
    if times > 1:
        trio.lowlevel.current_trio_token().run_sync_soon(press, times - 1)

async def in_a_thread():
    trio.lowlevel.current_trio_token().run_sync_soon(press, 2)
    try:
        await trio.to_thread.run_sync(release.wait)
    except BaseException as exc:
        events.append(type(exc).__name__)
        raise
"""


@pytest.mark.parametrize("first", [False, True])
def test_wait_without_an_end(first: bool) -> None:
    """A second Ctrl-C leaves at once also what trio cannot cancel, a worker thread: neither the step waits for it nor
    the end of the generator's own run (A10).
    """
    script = f"""
def press(times):
    say_when_idle("now")

async def left():
    if not {first}:
        yield 0
    await in_a_thread()
    yield 1

generator = drive(left(), **BACKEND)
assert {first} or next(generator) == 0
with interrupted():
    next(generator)
assert events == ["KeyboardInterrupt"] and not release.is_set(), events
finished(generator)
release.set()
assert next(drive(rows(sleep), **BACKEND)) == 0
"""
    check(IN_A_THREAD + script, trio_backend(), signals=[signal.SIGINT] * 2, patience=0.5)


def test_wait_without_an_end_on_a_runner() -> None:
    """A runner whose step was left so is usable while the thread goes on, and when that has ended; its close waits for
    the thread (A10).
    """
    script = """
async def left():
    await in_a_thread()
    yield 0

async def held():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleep_forever)
        while True:
            yield 0
            await trio.sleep(0)

async def go_on():
    await sleep(0)
    release.set()
    await trio.to_thread.run_sync(release.wait)

with Runner(**BACKEND) as runner:
    neighbour = runner.drive(held())
    assert next(neighbour) == 0
    with interrupted():
        next(runner.drive(left()))
    assert runner.run(double, 21) == 42
    assert next(neighbour) == 0
    runner.run(go_on)
    assert next(neighbour) == 0
assert events == ["KeyboardInterrupt"], events
assert settled()
"""
    check(IN_A_THREAD + script, trio_backend(), signals=())


def test_close_after_a_wait_without_an_end() -> None:
    """Nor is an async iterator waited for in its `aclose`, which has no task to wait in, after its step was left so
    (A10).
    """
    script = """
class Rows:
    def __aiter__(self):
        return self
    async def __anext__(self):
        await in_a_thread()
    async def aclose(self):
        try:
            await sleep(0.001)
        finally:
            events.append("closed")

with Runner(**BACKEND) as runner:
    generator = runner.drive(Rows())
    with interrupted():
        next(generator)
    assert events == ["KeyboardInterrupt", "closed"], events
    finished(generator)
    assert runner.run(double, 21) == 42
    release.set()
assert settled()
"""
    check(IN_A_THREAD + script, trio_backend(), signals=())


def test_between_steps(backend: Backend) -> None:
    """Ctrl-C between steps is a plain KeyboardInterrupt in the caller's code; the dropped generator is closed (A10)."""
    script = """
def consume():
    for number in drive(rows(lambda: sleep(0)), **BACKEND):
        if number == 3:
            say("now")
            while True:
                pass

try:
    consume()
except KeyboardInterrupt as exc:
    frames = []
    traceback = exc.__traceback__
    while traceback:
        frames.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert frames[:2] == ["<module>", "consume"], frames
    assert not {"steps", "rows"} & {*frames}, frames
assert events == ["GeneratorExit", "cleaned up"], events
assert settled()
"""
    check(script, backend)


def test_between_steps_of_one_that_goes_on(backend: Backend) -> None:
    """A caller that catches KeyboardInterrupt between steps may go on with the same generator (A10)."""
    script = """
generator = drive(rows(lambda: sleep(0)), **BACKEND)
assert next(generator) == 0
with interrupted():
    say("now")
    while True:
        pass
assert [next(generator) for _ in range(200)] == list(range(1, 201))
generator.close()
assert events == ["GeneratorExit", "cleaned up"], events
assert settled()
"""
    check(script, backend)


def test_runner_is_usable(backend: Backend) -> None:
    """After Ctrl-C in a step the runner runs and drives on, its neighbours too, and nothing is left running (A10)."""
    script = """
with Runner(**BACKEND) as runner:
    neighbour = runner.drive(rows(lambda: sleep(0)))
    assert next(neighbour) == 0
    for wait in (sleeping, computing, suspended_then_computing):
        generator = runner.drive(rows(wait))
        assert next(generator) == 0
        with interrupted():
            next(generator)
        finished(generator)
        assert events[-1] == "cleaned up"
        assert next(neighbour) >= 1
    neighbour.close()
    usable(runner)
assert settled()
"""
    check(script, backend, signals=[signal.SIGINT] * 3)


def test_runner_can_be_closed(backend: Backend) -> None:
    """After Ctrl-C in a step the runner can be closed, which closes the other generators (A10)."""
    script = """
runner = Runner(**BACKEND)
neighbour, generator = runner.drive(rows(lambda: sleep(0))), runner.drive(rows(sleeping))
assert next(neighbour) == next(generator) == 0
with interrupted():
    next(generator)
runner.close()
assert events == [CANCELLED, "cleaned up", "GeneratorExit", "cleaned up"], events
finished(neighbour)
assert settled()
"""
    check(script, backend)


@pytest.mark.parametrize("wait", ["sleeping", "computing", "suspended_then_computing"])
def test_run(backend: Backend, wait: str) -> None:
    """Ctrl-C during Runner.run cancels the function, awaits its cleanup, and leaves the runner usable (A10)."""
    script = f"""
async def work():
    try:
        await {wait}()
    finally:
        await cleanup()
        events.append("cleaned up")

with Runner(**BACKEND) as runner:
    with interrupted():
        runner.run(work)
    assert events == ["cleaned up"], events
    usable(runner)
assert settled()
"""
    check(script, backend)


def test_close_of_a_runner(backend: Backend) -> None:
    """Ctrl-C while a runner closes a generator cancels that wait; all are closed, and KeyboardInterrupt comes out
    (A10).
    """
    script = """
async def slow():
    try:
        yield 0
    finally:
        try:
            await sleeping()
        finally:
            await cleanup()
            events.append("cleaned up")

runner = Runner(**BACKEND)
first, second = runner.drive(rows(lambda: sleep(0))), runner.drive(slow())
assert next(first) == next(second) == 0
with interrupted():
    runner.close()
assert events == ["cleaned up", "GeneratorExit", "cleaned up"], events
finished(first)
finished(second)
runner.close()
assert settled()
"""
    check(script, backend)


@pytest.mark.parametrize("endless", [False, True])
def test_shutdown_of_a_runner(backend: Backend, endless: bool) -> None:
    """Ctrl-C while a closing runner waits for a background task: it ends, by the second at last, without noise
    (A10).
    """
    script = f"""
async def background():
    try:
        await sleep_forever()
    finally:
        say_when_idle("now")
        if BACKEND["backend"] != "trio":
            await asyncio.sleep(60 if {endless} else 0.2)
            while {endless}:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)
        else:
            with trio.CancelScope(shield=True):
                await trio.sleep(60 if {endless} else 0.2)

async def begin():
    if BACKEND["backend"] == "trio":
        trio.lowlevel.spawn_system_task(background)
    else:
        tasks.append(asyncio.create_task(background()))
    await sleep(0)

tasks = []
runner = Runner(**BACKEND)
runner.run(begin)
with interrupted():
    runner.close()
signal.signal(signal.SIGINT, signal.SIG_IGN)
say("interrupted")
assert "closed" in repr(runner)
runner.close()
assert traces() == []
"""
    check(script, backend, signals=[signal.SIGINT] * (2 if endless else 1), out=["interrupted"], patience=0.5)


@pytest.mark.parametrize("where", ["step", "turn"])
def test_background_task_that_computes(backend: Backend, where: str) -> None:
    """A background task that never gives the loop back is left by the second Ctrl-C, or the third (A10)."""
    script = f"""
async def busy():
    say("now")
    while True:
        pass

async def begin():
    if BACKEND["backend"] == "trio":
        trio.lowlevel.spawn_system_task(busy)
    else:
        tasks.append(asyncio.create_task(busy()))

async def waiting():
    await begin()
    if {where!r} == "step":
        await sleep_forever()
    while True:
        yield

tasks = []
generator = drive(waiting(), **BACKEND)
try:
    while True:
        next(generator)
except KeyboardInterrupt:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    say("interrupted")
    assert traces() == [], traces()
os._exit(0)  # what is left of such a loop is no concern of this test
"""
    check(script, backend, signals=[signal.SIGINT] * 3, out=["interrupted"], patience=0.3)


def test_handler_of_the_application(backend: Backend) -> None:
    """An application's own SIGINT handler is called and never replaced; the step waits on (A10)."""
    script = """
received = []
def handler(number, frame):
    received.append(number)
    say("now" if len(received) < 3 else "three")
signal.signal(signal.SIGINT, handler)

async def waiting():
    await sleep(0.001)
    say("now")
    while len(received) < 3:
        await sleep(0.001)
    assert signal.getsignal(signal.SIGINT) is handler
    yield len(received)

assert list(drive(waiting(), **BACKEND)) == [3]
assert signal.getsignal(signal.SIGINT) is handler
signal.signal(signal.SIGINT, signal.default_int_handler)
assert settled()
"""
    check(script, backend, signals=[signal.SIGINT] * 3, out=["three"])


def test_handler_that_raises(backend: Backend) -> None:
    """A handler that raises, as one of SIGTERM that exits, cancels the step, awaits its cleanup, and arrives (A10)."""
    script = """
def handler(number, frame):
    raise SystemExit(7)
signal.signal(signal.SIGTERM, handler)
async def idling():
    say_when_idle("now")
    await sleep_forever()
generator = drive(rows(idling), **BACKEND)
assert next(generator) == 0
try:
    next(generator)
except SystemExit as exc:
    assert exc.code == 7
else:
    raise AssertionError
assert events == [CANCELLED, "cleaned up"], events
finished(generator)
assert settled()
"""
    check(script, backend, signals=[signal.SIGTERM])


def test_handler_installed_by_the_body(backend: Backend) -> None:
    """A handler that the body installs while its step waits stays, as in any program (A10)."""
    script = """
handled = []
def handler(number, frame):
    handled.append(number)
async def installing():
    await sleep(0.001)
    signal.signal(signal.SIGINT, handler)
    await sleep(0.001)
    yield 1
    yield 2
generator = drive(installing(), **BACKEND)
assert next(generator) == 1
assert signal.getsignal(signal.SIGINT) is handler
assert list(generator) == [2]
assert signal.getsignal(signal.SIGINT) is handler
say("now")
while not handled:
    pass
"""
    check(script, backend)


def test_handler_put_back_by_the_body(backend: Backend) -> None:
    """A body that sets SIGINT aside in one step and puts it back in a later one, as trio.open_signal_receiver does,
    has Python's own handler back: at the generator's end, and for Ctrl-C between its steps or in a later one (A10,
    A13).
    """
    script = """
async def setting_aside():
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield 1
    yield 2
    signal.signal(signal.SIGINT, old)
    yield 3

assert list(drive(setting_aside(), **BACKEND)) == [1, 2, 3]
assert settled(), traces()

generator = drive(setting_aside(), **BACKEND)
assert [next(generator), next(generator), next(generator)] == [1, 2, 3]
with interrupted():
    say("now")
    while True:
        pass
generator.close()

generator = drive(setting_aside(), **BACKEND)
assert [next(generator), next(generator), next(generator)] == [1, 2, 3]
later = drive(rows(sleeping), **BACKEND)
assert next(later) == 0
with interrupted():
    next(later)
assert events == [CANCELLED, "cleaned up"], events
generator.close()
assert settled(), traces()
"""
    check(script, backend, signals=[signal.SIGINT] * 2)


def test_step_in_another_thread(backend: Backend) -> None:
    """Ctrl-C is the main thread's: a step that waits in another one is not disturbed (A10)."""
    script = """
async def waiting():
    say("now")
    while not stop.is_set():
        await sleep(0.001)
    yield "undisturbed"

def target():
    results.extend(drive(waiting(), **BACKEND))
    done.set()

stop, done = threading.Event(), threading.Event()  # before 3.13, a join() that was interrupted is no use afterwards
results = []
try:
    threading.Thread(target=target).start()
    while not done.wait(0.05):  # CPython may overlook a signal that comes just when it begins to wait for a lock
        pass
except KeyboardInterrupt:
    stop.set()
done.wait()
assert results == ["undisturbed"]
assert settled()
"""
    check(script, backend)


def test_uncaught(backend: Backend) -> None:
    """A KeyboardInterrupt that nobody catches ends the process as Ctrl-C ends any, cleanup done, with one traceback
    (A10).
    """
    script = """
try:
    for _ in drive(rows(sleeping), **BACKEND):
        pass
finally:
    say(*events)
"""
    child = interrupt_child(SCRIPT + script, backend)
    cancelled = "Cancelled" if backend.name == "trio" else "CancelledError"
    assert (child.status, child.out) == (-signal.SIGINT, [f"{cancelled} cleaned up"])
    assert child.err[-1] == "KeyboardInterrupt"
    assert not any("never awaited" in line or "was destroyed" in line or "Warning" in line for line in child.err)


def test_traceback_shows_where(backend: Backend) -> None:
    """The KeyboardInterrupt of a step that waited tells, by its cause, where in the body that was (A10)."""
    script = """
import traceback
generator = drive(rows(sleeping), **BACKEND)
next(generator)
try:
    next(generator)
except KeyboardInterrupt as exc:
    text = "".join(traceback.format_exception(exc))
    assert "in rows" in text and "in sleeping" in text, text
else:
    raise AssertionError
"""
    check(script, backend)


@pytest.mark.parametrize("suspend", [False, True])
def test_any_moment(backend: Backend, suspend: bool) -> None:
    """At whatever moment of a fast loop Ctrl-C comes: one KeyboardInterrupt, cleanup once, a clean thread (A10)."""
    script = f"""
import random

suspend = {suspend}
state = dict(open=0, closed=0)

async def source():
    state["open"] += 1
    number = 0
    try:
        while True:
            if suspend:
                await sleep(0)
            yield number
            number += 1
    finally:
        state["closed"] += 1

def alarm(number, frame):
    os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGALRM, alarm)
def consume(generator):  # a function of its own: CPython leaves the jump back of a loop out of the `try` around it
    signal.setitimer(signal.ITIMER_REAL, generator_of_moments.uniform(0.0001, 0.004))
    for _ in generator:
        pass
    raise AssertionError("ended without an interrupt")

unraisable = []
sys.unraisablehook = unraisable.append
generator_of_moments = random.Random(42)
for moment in range(150):
    generator = drive(source(), **BACKEND)
    try:
        consume(generator)
    except KeyboardInterrupt:
        pass
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert not generator.gi_running
    generator.close()
    assert generator.gi_frame is None, moment
    del generator
    assert state["open"] == state["closed"], (moment, state)
    assert settled(), (moment, traces(), sys.get_asyncgen_hooks())
    assert unraisable == [], (moment, unraisable)
    assert list(drive(two(), **BACKEND)) == [1, 2] if moment % 10 == 0 else True
say("survived")
"""
    before = """
async def two():
    yield 1
    await sleep(0)
    yield 2
"""
    check_survival(before + script, backend)


def test_any_moment_of_opening_and_closing(backend: Backend) -> None:
    """At whatever moment while generators are opened and closed Ctrl-C comes, the thread is clean afterwards (A10)."""
    script = """
import random, warnings
warnings.simplefilter("ignore", ResourceWarning)
state = dict(open=0, closed=0)

async def source():
    state["open"] += 1
    try:
        yield 1
        await sleep(0)
        yield 2
    finally:
        state["closed"] += 1

def alarm(number, frame):
    os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGALRM, alarm)
def open_and_close():  # a function of its own, as above
    global generator
    signal.setitimer(signal.ITIMER_REAL, moments.uniform(0.0001, 0.004))
    while not unraisable:
        generator = drive(source(), **BACKEND)
        assert list(generator) == [1, 2]
        generator = drive(source(), **BACKEND)
        assert next(generator) == 1
        generator.close()

generator = None
unraisable = []
sys.unraisablehook = unraisable.append
moments = random.Random(43)
assert list(drive(source(), **BACKEND)) == [1, 2]  # imports what is imported late: an interrupted import may warn
for moment in range(150):
    try:
        open_and_close()
    except KeyboardInterrupt:
        pass
    signal.setitimer(signal.ITIMER_REAL, 0)
    if generator is not None:
        generator.close()
    generator = None
    assert traces() == [], (moment, traces())
    assert state["open"] == state["closed"], (moment, state)
    # An interrupt that strikes inside a finalizer is reported and not raised: that is CPython's way.
    assert {args.exc_type for args in unraisable} <= {KeyboardInterrupt}, (moment, unraisable)
    unraisable.clear()
assert list(drive(source(), **BACKEND)) == [1, 2]
assert settled()
say("survived")
"""
    check_survival(script, backend)


@pytest.mark.parametrize("hooks", [False, True])
def test_any_moment_on_a_runner(backend: Backend, hooks: bool) -> None:
    """At whatever moment Ctrl-C comes, the runner is usable afterwards and nothing is left running in it, also where
    the caller has asyncgen hooks of its own, so that every step is a careful one (A10).
    """
    script = f"""
import random

hooks = (lambda agen: None, lambda agen: None) if {hooks} else (None, None)
sys.set_asyncgen_hooks(*hooks)
state = dict(open=0, closed=0)

async def source():
    state["open"] += 1
    number = 0
    try:
        while True:
            if number % 5 == 0:
                await sleep(0)
            yield number
            number += 1
    finally:
        state["closed"] += 1

def alarm(number, frame):
    os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGALRM, alarm)
moments = random.Random(44)
unraisable = []
sys.unraisablehook = unraisable.append

def consume(generator):
    signal.setitimer(signal.ITIMER_REAL, moments.uniform(0.0001, 0.003))
    for _ in generator:
        pass

with Runner(**BACKEND) as runner:
    neighbour = runner.drive(source())
    assert next(neighbour) == 0
    for moment in range(1, 101):
        generator = runner.drive(source())
        try:
            consume(generator)
        except KeyboardInterrupt:
            pass
        signal.setitimer(signal.ITIMER_REAL, 0)
        generator.close()  # the interrupt may have come between two steps
        assert generator.gi_frame is None, moment
        assert next(neighbour) == moment
        assert state["open"] == state["closed"] + 1, (moment, state)
        assert runner.run(double, moment) == 2 * moment
        assert tasks_of(runner) == 1, moment
        assert unraisable == [], (moment, unraisable)
        assert sys.get_asyncgen_hooks() == hooks if hooks[0] else traces() == []
    neighbour.close()
    if not hooks[0]:
        usable(runner)
assert sys.get_asyncgen_hooks() == hooks
say("survived")
"""
    check_survival(script, backend)
