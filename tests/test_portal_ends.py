"""Portals and Ctrl-C, fork, and the exit of the interpreter, each in a process of its own (SEMANTICS A8, A10, A14)."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.children import interrupt_child, run_child
from tests.conftest import BACKENDS

if TYPE_CHECKING:
    from tests.conftest import Backend

ASYNCIO = BACKENDS[0]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")

NUMBERS = """
async def numbers():
    try:
        for number in range(1_000_000):
            await sleep(0)
            yield number
    finally:
        await sleep(0)
        say("closed")
"""


# Ctrl-C ---------------------------------------------------------------------------------------------------------------


def test_interrupt(backend: Backend) -> None:
    """Ctrl-C during a step cancels it, lets its cleanup finish, and raises KeyboardInterrupt; the portal is usable, and
    the thread as it was (A10, A13).
    """
    script = """
    async def waiting():
        try:
            yield 1
            say_when_idle("now")
            await sleep_forever()
        except BaseException as exc:
            say(type(exc).__name__)
            raise
        finally:
            say("cleanup")
    async def double(number):
        await sleep(0)
        return 2 * number
    with Portal(**BACKEND) as portal:
        for prefetch in 0, 2:
            generator = portal.drive(waiting(), prefetch=prefetch)
            next(generator)
            try:
                next(generator)
            except KeyboardInterrupt as exc:
                say("interrupted", type(exc.__cause__).__name__)
            say(list(generator), portal.run(double, 21), traces())
    """
    child = interrupt_child(script, backend, signals=[signal.SIGINT, signal.SIGINT])
    cancelled = "Cancelled" if backend.name == "trio" else "CancelledError"
    assert child.out == [cancelled, "cleanup", f"interrupted {cancelled}", "[] 42 []"] * 2
    assert (child.status, child.err) == (0, [])


def test_second_interrupt(backend: Backend) -> None:
    """A second Ctrl-C stops waiting for a cleanup that does not end (A10)."""
    script = """
    shield = contextlib.nullcontext
    if BACKEND["backend"] == "trio":
        shield = lambda: trio.CancelScope(shield=True)
    async def waiting():
        try:
            say_when_idle("now")
            await sleep_forever()
            yield 1
        finally:
            with shield():
                say_when_idle("now")
                await sleep_forever()
    portal = Portal(**BACKEND)
    generator = portal.drive(waiting())
    try:
        next(generator)
    except KeyboardInterrupt:
        say("interrupted")
    say(list(generator))
    async def one():
        return 1
    say(portal.run(one))
    os._exit(0)
    """
    child = interrupt_child(script, backend, signals=[signal.SIGINT, signal.SIGINT], patience=5)
    assert (child.status, child.out, child.err) == (0, ["interrupted", "[]", "1"], [])


def test_interrupt_of_run(backend: Backend) -> None:
    """Ctrl-C during `run` cancels the call and awaits its cleanup (A10, A16)."""
    script = """
    async def call():
        try:
            say_when_idle("now")
            await sleep_forever()
        finally:
            say("cleanup")
    with Portal(**BACKEND) as portal:
        try:
            portal.run(call)
        except KeyboardInterrupt:
            say("interrupted")
    say(settled())
    """
    child = interrupt_child(script, backend)
    assert (child.status, child.out, child.err) == (0, ["cleanup", "interrupted", "True"], [])


def test_interrupt_while_the_loop_starts() -> None:
    """Ctrl-C while the first use waits for the loop to start leaves a portal that can be used, and closed (A10)."""
    script = """
    def make_loop():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        goes_on.wait(10)
        return asyncio.new_event_loop()
    async def double(number):
        return 2 * number
    for uses in 1, 0:
        goes_on = threading.Event()
        portal = Portal(backend_options={"loop_factory": make_loop})
        try:
            portal.run(double, 1)
        except KeyboardInterrupt:
            say("interrupted", portal)
        timer = threading.Timer(0.05, goes_on.set)
        timer.start()
        for number in range(uses):
            say(portal.run(double, 21))
        portal.close()
        timer.join()
        say(portal)
    say(settled())
    """
    child = run_child(script, ASYNCIO, forked=True)
    closed = "<Portal backend='asyncio', closed>"
    assert child.err == []
    interrupted = "interrupted <Portal backend='asyncio', not opened yet>"
    assert child.out == [interrupted, "42", closed, interrupted, closed, "True"]


def test_drop_while_the_loop_starts() -> None:
    """A portal that is dropped because Ctrl-C struck while its loop started ends its thread, without noise (A10)."""
    script = """
    def make_loop():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        goes_on.wait(10)
        return asyncio.new_event_loop()
    goes_on = threading.Event()
    try:
        with Portal(backend_options={"loop_factory": make_loop}):
            say("not interrupted")
    except KeyboardInterrupt:
        say("interrupted")
    thread, = set(threading.enumerate()) - {threading.current_thread()}
    goes_on.set()
    thread.join(10)
    say(thread.is_alive(), settled())
    """
    child = run_child(script, ASYNCIO, forked=True)
    assert (child.err, child.out) == ([], ["interrupted", "False True"])


def test_exception_of_a_signal_handler(backend: Backend) -> None:
    """An exception of an application's own handler cancels the step like Ctrl-C, and comes out (A10)."""
    script = """
    class Stop(Exception):
        pass
    def stop(*_):
        raise Stop
    signal.signal(signal.SIGTERM, stop)
    async def waiting():
        try:
            say_when_idle("now")
            await sleep_forever()
            yield 1
        finally:
            say("cleanup")
    with Portal(**BACKEND) as portal:
        generator = portal.drive(waiting())
        try:
            next(generator)
        except Stop:
            say("stopped")
        say(list(generator))
    """
    child = interrupt_child(script, backend, signals=[signal.SIGTERM])
    assert (child.status, child.out, child.err) == (0, ["cleanup", "stopped", "[]"], [])


def test_second_exception_of_a_signal_handler() -> None:
    """The second exception of an application's own handler stops the waiting, too; what goes on is ended by `close()`
    of the portal (A10, A16).
    """
    script = """
    class Stop(Exception):
        pass
    def stop(*_):
        raise Stop
    signal.signal(signal.SIGTERM, stop)
    async def waiting():
        try:
            say_when_idle("now")
            await sleep_forever()
            yield 1
        finally:
            try:
                say_when_idle("now")
                await sleep_forever()
            finally:
                say("cut short")
    portal = Portal()
    generator = portal.drive(waiting())
    try:
        next(generator)
    except Stop:
        say("stopped")
    say(list(generator))
    portal.close()
    say(traces())
    """
    child = interrupt_child(script, ASYNCIO, signals=[signal.SIGTERM, signal.SIGTERM], forked=True)
    assert (child.status, child.out, child.err) == (0, ["stopped", "[]", "cut short", "[]"], [])


def test_interrupted_cleanup_that_fails(backend: Backend) -> None:
    """What the cleanup of an interrupted step raises is the context of the KeyboardInterrupt (A10)."""
    script = """
    async def waiting():
        try:
            say_when_idle("now")
            await sleep_forever()
            yield 1
        finally:
            raise LookupError
    with Portal(**BACKEND) as portal:
        generator = portal.drive(waiting())
        try:
            next(generator)
        except KeyboardInterrupt as exc:
            say(type(exc.__context__).__name__)
        say(list(generator))
    """
    child = interrupt_child(script, backend, forked=True)
    assert (child.status, child.out, child.err) == (0, ["LookupError", "[]"], [])


def test_interrupts_at_any_moment(backend: Backend) -> None:
    """Wherever Ctrl-C strikes, it is raised once, the generator is closed, and the portal can be used (A10)."""
    script = """
    import itertools
    begun = closed = 0
    async def numbers():
        global begun, closed
        begun += 1
        try:
            for number in itertools.count():
                if number % 3:
                    await sleep(0)
                yield number
        finally:
            closed += 1
    async def double(number):
        return 2 * number
    main = threading.get_ident()
    with Portal(**BACKEND) as portal:
        for turn in range(42):
            timer = threading.Timer(0.0005 * (turn % 7), signal.pthread_kill, [main, signal.SIGINT])
            struck = False
            try:
                timer.start()
                for _ in portal.drive(numbers(), prefetch=turn % 3):
                    pass
            except KeyboardInterrupt:
                struck = True
            timer.join()
            assert struck and portal.run(double, turn) == 2 * turn, turn
    say(begun == closed, traces())
    """
    child = run_child(script, backend)
    assert (child.status, child.out, child.err) == (0, ["True []"], [])


# Fork -----------------------------------------------------------------------------------------------------------------


@needs_fork
def test_fork(backend: Backend) -> None:
    """In a forked child the parent's portal and generators are ForkError at once, and a new portal works; the parent
    goes on undisturbed (A14).
    """
    script = f"""
    {NUMBERS.replace(chr(10), chr(10) + "    ")}
    async def double(number):
        await sleep(0)
        return 2 * number
    from asyncgen_tools.portal import _shared as portals
    portal = Portal(**BACKEND)
    generator = portal.drive(numbers())
    ahead = portal.drive(numbers(), prefetch=4)
    assert next(generator) == next(ahead) == 0
    shared = Portal.shared(**{{"backend": BACKEND["backend"]}})
    assert shared.run(double, 4) == 8
    def body():
        global generator, ahead
        for use in (lambda: next(generator), lambda: next(ahead), lambda: portal.run(double, 1), portal.close,
                    generator.close, portal.__enter__, lambda: shared.run(double, 1)):
            try:
                use()
            except ForkError as exc:
                assert "Make a new Portal" in str(exc)
            else:
                say("not refused", use)
        del generator, ahead
        gc.collect()
        with Portal(**BACKEND) as own:
            assert own.run(double, 1) == 2
        fresh = Portal.shared(BACKEND["backend"])
        assert fresh is not shared and fresh.run(double, 3) == 6
    with portals.lock:  # as another thread might that asks for a shared portal at this moment
        say(fork(body))
    assert next(generator) == 1 and next(ahead) == 1
    ahead.close()
    generator.close()
    portal.close()
    """
    child = run_child(script, backend, flags=["-Wignore::DeprecationWarning"])
    assert (child.status, child.out, child.err) == (0, ["0", "closed", "closed"], [])


@needs_fork
def test_fork_with_a_generator_of_the_loop(backend: Backend) -> None:
    """A child that drops an async generator which the parent's loop has begun leaves it to that (A7, A14)."""
    script = """
    kept = []
    async def rows():
        try:
            yield 1
        finally:
            say("closed in", "parent" if os.getpid() == parent else "child")
    async def begin():
        kept.append(rows())
        return await anext(kept[0])
    parent = os.getpid()
    portal = Portal(**BACKEND)
    assert portal.run(begin) == 1
    say(fork(kept.clear))
    portal.close()
    """
    child = run_child(script, backend, flags=["-Wignore::DeprecationWarning"])
    assert (child.status, child.out, child.err) == (0, ["0", "closed in parent"], [])


@needs_fork
def test_fork_during_steps(backend: Backend) -> None:
    """A fork while other threads take steps hangs neither the child nor the parent (A14)."""
    script = f"""
    {NUMBERS.replace(chr(10), chr(10) + "    ")}
    portal = Portal(**BACKEND)
    stop = threading.Event()
    def consume():
        generator = portal.drive(numbers())
        while not stop.is_set():
            next(generator)
        generator.close()
    threads = [threading.Thread(target=consume) for _ in range(3)]
    async def double(number):
        return 2 * number
    assert portal.run(double, 1) == 2  # and so everything is imported, which a fork in the middle would break
    for thread in threads:
        thread.start()
    def body():
        try:
            portal.run(double, 1)
        except ForkError:
            with Portal(**BACKEND) as own:
                assert own.run(double, 1) == 2
            assert Portal.shared(BACKEND["backend"]).run(double, 1) == 2
    say([fork(body) for _ in range(3)])
    stop.set()
    for thread in threads:
        thread.join()
    portal.close()
    """
    child = run_child(script, backend, flags=["-Wignore::DeprecationWarning"])
    assert (child.status, child.err) == (0, [])
    assert child.out == ["[0, 0, 0]", "closed", "closed", "closed"]


# Exit -----------------------------------------------------------------------------------------------------------------


def test_exit_with_an_open_portal(backend: Backend) -> None:
    """At the exit of the interpreter what is open is closed, and a ResourceWarning is all that is heard (A8)."""
    script = f"""
    {NUMBERS.replace(chr(10), chr(10) + "    ")}
    portal = Portal(**BACKEND)
    generator, ahead = portal.drive(numbers()), portal.drive(numbers(), prefetch=4)
    next(generator), next(ahead)
    """
    child = run_child(script, backend, flags=["-Walways::ResourceWarning"])
    assert child.status == 0
    assert child.out == ["closed", "closed"]
    assert any("numbers was still open at the exit of the interpreter" in line for line in child.err)
    assert [line for line in child.err if "Warning" not in line and not line.startswith("  ")] == []


def test_exit_where_warnings_are_errors(backend: Backend) -> None:
    """Where warnings are errors, those of one portal do not keep the next one from being closed (A8)."""
    script = f"""
    {NUMBERS.replace(chr(10), chr(10) + "    ")}
    portals = [Portal(**BACKEND), Portal(**BACKEND)]
    generators = [portal.drive(numbers()) for portal in portals]
    say(*map(next, generators))
    """
    child = run_child(script, backend, flags=["-Werror::ResourceWarning"])
    assert (child.status, child.out) == (0, ["0 0", "closed", "closed"])
    assert sum(line.startswith("ResourceWarning: numbers was still open") for line in child.err) == 2


def test_exit_with_a_step_that_waits(backend: Backend) -> None:
    """A daemon thread that waits for a step does not keep the interpreter from exiting (A8)."""
    script = """
    begun = threading.Event()
    async def waiting():
        try:
            begun.set()
            await sleep_forever()
            yield 1
        finally:
            say("cleanup")
    portal = Portal(**BACKEND)
    def consume():
        with contextlib.suppress(ClosedError):
            next(portal.drive(waiting()))
    threading.Thread(target=consume, daemon=True).start()
    begun.wait()
    """
    child = run_child(script, backend)
    assert (child.status, child.out, child.err) == (0, ["cleanup"], [])


def test_exit_does_not_wait_for_ever(backend: Backend) -> None:
    """A cleanup that does not end is given up at exit, without noise (A8)."""
    script = """
    async def stubborn():
        try:
            yield 1
        finally:
            await sleep_forever()
    portal = Portal(**BACKEND)
    generator = portal.drive(stubborn())
    next(generator)
    """
    child = run_child(script, backend)
    assert (child.status, child.out, child.err) == (0, [], [])


def test_exit_closes_shared_portals(backend: Backend) -> None:
    """A shared portal is closed at exit: its tasks are cancelled, its generators closed, without a warning (A16)."""
    script = """
    async def numbers():
        try:
            yield 1
        finally:
            await sleep(0)
            say("closed")
    for _ in Portal.shared(BACKEND["backend"]).drive(numbers()):
        pass
    sys.keep = kept = Portal.shared(BACKEND["backend"]).drive(numbers())
    next(kept)
    """
    child = run_child(script, backend)
    assert (child.status, child.out, child.err) == (0, ["closed", "closed"], [])
