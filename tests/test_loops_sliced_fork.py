"""What is held over a fork: an error in the child, unharmed in the parent (SEMANTICS A14)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.children import run_child

if TYPE_CHECKING:
    from tests.conftest import Backend

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

# From 3.12 on, fork warns where another thread lives, if only an idle one of trio or of an executor.
FLAGS = ("-Wignore::DeprecationWarning",)

#: A generator whose later steps wait for a thread, and so need what wakes the loop up, and for a socket that the loop
#: has watched since before the fork.
SCRIPT = """
import socket

near, far = socket.socketpair()
near.setblocking(False)

async def rows():
    try:
        yield "first"
        await sleep(0.001)
        yield "second"
        while True:
            far.send(b"third")
            if BACKEND["backend"] == "trio":
                await trio.lowlevel.wait_readable(near)
                data = near.recv(10)
                number = await trio.to_thread.run_sync(lambda: 4)
            else:
                with near.dup() as watched:
                    data = await asyncio.get_running_loop().sock_recv(near, 10)
                number = await asyncio.to_thread(lambda: 4)
            yield data, number
    finally:
        await sleep(0)
        say("closed in the parent" if os.getpid() == PARENT else "closed in the child")

async def fresh():
    await sleep(0.001)
    yield 1
    if BACKEND["backend"] == "trio":
        yield await trio.to_thread.run_sync(lambda: 2)
    else:
        yield await asyncio.to_thread(lambda: 2)

async def double(number):
    await sleep(0.001)
    return 2 * number

def refused(misuse):
    try:
        misuse()
    except ForkError as error:
        assert isinstance(error, RuntimeError)
        assert str(PARENT) in str(error) and str(os.getpid()) in str(error) and "after the fork" in str(error), error
    else:
        raise AssertionError("was not refused")

def works():
    assert settled()
    assert list(drive(fresh(), **BACKEND)) == [1, 2]
    assert settled()
    with Runner(**BACKEND) as runner:
        assert runner.run(double, 21) == 42

def goes_on(generator, steps):
    assert {next(generator) for _ in range(steps)} <= {"second", (b"third", 4)}

PARENT = os.getpid()
generator = drive(rows(), **BACKEND)
assert next(generator) == "first"
"""


def check(script: str, backend: Backend, out: list[str], *, flags: tuple[str, ...] = FLAGS) -> None:
    """Run the script after SCRIPT; it must end well, write what is given, and be silent on stderr."""
    child = run_child(SCRIPT + script, backend, flags=flags, forked=True)
    assert "\n".join(child.err) == ""
    assert (child.status, child.out) == (0, out)


@pytest.mark.parametrize("suspended", [False, True])
def test_generator_in_the_child(backend: Backend, suspended: bool) -> None:
    """In the child each operation is ForkError and a fresh drive works; the parent's generator goes on after it
    (A14).
    """
    script = f"""
suspended = {suspended}
if suspended:
    goes_on(generator, 1)
    goes_on(generator, 2)

def body():
    for _ in range(2):
        refused(lambda: next(generator))
        refused(lambda: generator.send(None))
        refused(lambda: generator.throw(KeyError))
        refused(generator.close)
        works()

assert [fork(body), fork(body)] == [0, 0]
goes_on(generator, 2 if suspended else 3)
assert fork(body) == 0
goes_on(generator, 2)
generator.close()
assert settled()
"""
    check(script, backend, ["closed in the parent"])


def test_unstarted_generator_in_the_child(backend: Backend) -> None:
    """A generator made before the fork is refused in the child even if it was never started (A14)."""
    script = """
unstarted = drive(fresh(), **BACKEND)
assert fork(lambda: (refused(lambda: next(unstarted)), works())) == 0
assert list(unstarted) == [1, 2]
generator.close()
"""
    check(script, backend, ["closed in the parent"])


def test_runner_in_the_child(backend: Backend) -> None:
    """A runner made before the fork, used or not, is refused in the child; the parent's goes on (A14)."""
    script = """
runner, unused = Runner(**BACKEND), Runner(**BACKEND)
assert runner.run(double, 1) == 2
inner = runner.drive(rows())
next(inner)

def body():
    for held in (runner, unused):
        refused(lambda: held.run(double, 1))
        refused(lambda: next(held.drive(fresh())))
        refused(held.__enter__)
    refused(runner.close)
    unused.close()  # nothing to close
    refused(lambda: next(inner))
    works()

assert fork(body) == 0
goes_on(inner, 3)
goes_on(generator, 3)
assert (runner.run(double, 2), unused.run(double, 3)) == (4, 6)
runner.close()
unused.close()
generator.close()
assert settled()
"""
    check(script, backend, ["closed in the parent"] * 2)


@pytest.mark.parametrize("how", ["del", "close_of_cycle", "exit"])
def test_drop_in_the_child(backend: Backend, how: str) -> None:
    """Dropped in the child, whether at once, by the collector or at its exit, a generator blocks nothing (A14)."""
    script = f"""
def body():
    global generator
    match {how!r}:
        case "del":
            del generator
        case "close_of_cycle":
            cycle = [generator]
            cycle.append(cycle)
            del generator, cycle
            gc.collect()
    works()

assert fork(body) == 0
goes_on(generator, 3)
generator.close()
"""
    child = run_child(SCRIPT + script, backend, flags=FLAGS)
    assert (child.status, child.err) == (0, [])
    assert child.out[-1] == "closed in the parent"


def test_drop_in_the_child_is_told(backend: Backend) -> None:
    """Where warnings are shown, the child's drop is none, or a ResourceWarning that names the generator (A14)."""
    script = """
near.close()
far.close()
def body():
    global generator
    del generator
    works()

assert fork(body) == 0
generator.close()
"""
    child = run_child(SCRIPT + script, backend, flags=("-Walways", *FLAGS))
    assert (child.status, child.out[-1]) == (0, "closed in the parent")
    told = [line for line in child.err if not line.startswith(" ")]
    assert [line for line in told if "ResourceWarning: rows" not in line] == []


def test_runner_dropped_in_the_child(backend: Backend) -> None:
    """A runner without generators that is dropped in the child takes nothing out of the parent's event loop (A14)."""
    script = """
generator.close()
runner = Runner(**BACKEND)
assert runner.run(double, 1) == 2

def body():
    global runner
    del runner
    gc.collect()
    works()

assert fork(body) == 0
signal.alarm(50)  # a loop that another thread cannot wake any more would wait for ever, sooner or later
for _ in range(50):
    assert list(runner.drive(fresh())) == [1, 2]
runner.close()
assert settled()
"""
    check(script, backend, ["closed in the parent"])


def test_preload(backend: Backend) -> None:
    """As under a preloading server: two children at a time, each with drives of its own, beside what is held (A14)."""
    script = """
runner = Runner(**BACKEND)
assert runner.run(double, 1) == 2

def worker():
    for _ in range(5):
        works()
    refused(lambda: runner.run(double, 1))

children = []
for _ in range(2):
    process = os.fork()
    if process == 0:
        signal.alarm(50)
        worker()
        sys.exit(0)
    children.append(process)
goes_on(generator, 3)
assert [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in children] == [0, 0]
goes_on(generator, 2)
assert runner.run(double, 2) == 4
runner.close()
generator.close()
"""
    check(script, backend, ["closed in the parent"])


def test_multiprocessing(backend: Backend) -> None:
    """The same holds for children that multiprocessing forks (A14)."""
    script = """
import multiprocessing

def body(results):
    refused(lambda: next(generator))
    works()
    results.put("worked")

context = multiprocessing.get_context("fork")
results = context.SimpleQueue()
process = context.Process(target=body, args=(results,))
process.start()
process.join(15)
assert (process.exitcode, results.get()) == (0, "worked")
goes_on(generator, 3)
generator.close()
"""
    check(script, backend, ["closed in the parent"])


def test_fork_in_the_body_of_the_loop(backend: Backend) -> None:
    """A child forked in the body of a `for` loop may leave that: the loop's end there is a ForkError (A14)."""
    script = """
generator.close()
async def three():
    for number in range(3):
        await sleep(0.001)
        yield number

for number in drive(three(), **BACKEND):
    process = os.fork()
    if process == 0:
        signal.alarm(50)
        break
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
else:
    say("looped", number)
works()
"""
    check(script, backend, ["closed in the parent", "looped 2"])


def test_fork_in_a_thread(backend: Backend) -> None:
    """A child forked by another thread refuses what the main thread had, and drives its own (A14)."""
    script = """
statuses = []
def body():
    refused(lambda: next(generator))
    works()
def target():
    process = os.fork()
    if process == 0:
        signal.alarm(50)
        try:
            body()
        except BaseException:
            os._exit(1)
        os._exit(0)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
thread = threading.Thread(target=target)
thread.start()
thread.join()
assert statuses == [0]
goes_on(generator, 3)
generator.close()
"""
    check(script, backend, ["closed in the parent"])


def test_fork_in_a_step(backend: Backend) -> None:
    """A child forked by the body itself, in a step, ends quietly; the step goes on in the parent (A14)."""
    script = """
generator.close()
async def forking():
    yield 1
    await sleep(0)
    process = os.fork()
    if process == 0:
        os._exit(3)
    yield os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    await sleep(0.001)
    yield 2
assert list(drive(forking(), **BACKEND)) == [1, 3, 2]
"""
    check(script, backend, ["closed in the parent"])


def test_bare_in_the_child() -> None:
    """A generator on the bare backend is refused in the child, too, and goes on in the parent (A14)."""
    script = """
import os, sys
from asyncgen_tools import drive
from asyncgen_tools.errors import ForkError
async def rows():
    for number in range(5):
        yield number
generator = drive(rows(), backend="bare")
assert (next(generator), next(generator)) == (0, 1)
process = os.fork()
if process == 0:
    for misuse in (generator.__next__, generator.close):
        try:
            misuse()
        except ForkError:
            continue
        sys.exit("was not refused")
    assert list(drive(rows(), backend="bare")) == [0, 1, 2, 3, 4]
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
assert list(generator) == [2, 3, 4]
"""
    child = run_child(script)
    assert (child.status, child.out, child.err) == (0, [], [])
