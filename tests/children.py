"""Scripts run in a process of their own, because they are interrupted, fork, or watch how an interpreter ends.

Starting an interpreter and importing trio takes ten times as long as most scripts do. So what does not watch the end of
an interpreter runs in the fork of a template, a process that has executed the prelude and waits for scripts.
"""

from __future__ import annotations

import atexit
import functools
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

    from tests.conftest import Backend


__all__ = ("Child", "interrupt_child", "run_child")

CHECKOUT = Path(__file__).parent.parent

#: What every script begins with. SIGINT may have been inherited as ignored: so shells start what they put behind.
PRELUDE = '''
import contextlib, gc, os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from asyncgen_tools import Portal, Runner, drive
from asyncgen_tools.errors import *
from tests.thread_state import settled, traces
if BACKEND["backend"] == "trio":
    import trio
    sleep, sleep_forever = trio.sleep, trio.sleep_forever
elif BACKEND["backend"] == "asyncio":
    import asyncio
    sleep, sleep_forever = asyncio.sleep, asyncio.Event().wait
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # whole, even if a signal handler says something, too
def say_when_idle(*words):
    """Say it from another thread, as soon as the main thread waits for something, out of any callback."""
    def place():
        frame = sys._current_frames()[threading.main_thread().ident]
        return id(frame), frame.f_lasti
    def target():
        last, times = None, 0
        while times < 20:
            now = place()
            times = times + 1 if now == last else 0
            last = now
            time.sleep(0.001)
        say(*words)
    threading.Thread(target=target, daemon=True).start()
def fork(body):
    """Run body in a forked child, which then ends by sys.exit with all that this brings; give its exit status."""
    process = os.fork()
    if process == 0:
        signal.alarm(50)
        body()
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
'''

#: What a template does after the prelude; its child returns from `serve` with the script, and ends as any interpreter.
SERVE = """
def serve(connection):
    import socket
    while True:
        header, files, _, _ = socket.recv_fds(connection, 4, 2)
        if not header:
            os._exit(0)
        script = connection.recv(int.from_bytes(header, "big"), socket.MSG_WAITALL)
        process = os.fork()
        if not process:
            connection.close()
            os.setsid()
            for number, file in enumerate(files, start=1):
                os.dup2(file, number)
                os.close(file)
            return script
        for file in files:
            os.close(file)
        connection.sendall(process.to_bytes(4, "big", signed=True))
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        connection.sendall(status.to_bytes(4, "big", signed=True))

with Runner(**BACKEND):
    pass  # imports what is imported late
exec(compile(serve(__import__("socket").socket(fileno=int(sys.argv[1]))), "<string>", "exec"))
"""


@final
class Forked:
    """A script that runs in the fork of a template, as far as it is used like a subprocess.Popen."""

    def __init__(self, script: str, connection: socket.socket) -> None:
        self.connection: socket.socket = connection
        self.stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by communicate()
        reading, writing = os.pipe()
        self.stdout: IO[bytes] | None = os.fdopen(reading, "rb", buffering=0)
        data = script.encode()
        socket.send_fds(connection, [len(data).to_bytes(4, "big")], [writing, self.stderr.fileno()])
        os.close(writing)
        connection.sendall(data)
        self.pid: int = self.reply()
        self.returncode: int = 0

    def reply(self) -> int:
        """The next number that the template sends."""
        return int.from_bytes(self.connection.recv(4, socket.MSG_WAITALL), "big", signed=True)

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def communicate(self) -> tuple[bytes, bytes]:
        """Wait for its end; the rest of what it has written, and what it wrote to stderr."""
        assert self.stdout is not None
        with self.stdout, self.stderr:
            rest = self.stdout.read()
            self.returncode = self.reply()
            self.stderr.seek(0)
            return rest, self.stderr.read()


@functools.cache
def template(environment: tuple[str, ...], *arguments: str) -> socket.socket:
    """The connection to a template, which is started when it is first asked for, and ends with this process."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [*arguments, str(theirs.fileno())],
            env=dict(variable.split("=", 1) for variable in environment),
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


@final
@dataclass(frozen=True, slots=True)
class Child:
    """What came of a script: its exit status and the lines that it wrote."""

    status: int
    out: list[str]
    err: list[str]


def prelude(backend: Backend) -> str:
    """What a script for a backend begins with."""
    chosen = {"backend": backend.name, "backend_options": dict(backend.options)}
    return f"BACKEND = {chosen!r}\n{PRELUDE}"


def run_child(
    script: str,
    backend: Backend | None = None,
    *,
    flags: Sequence[str] = (),
    seconds: float = 50,
    forked: bool = False,
) -> Child:
    """Run a script to its end.

    Args:
        script: the code; with a backend it finds the names of `PRELUDE`.
        backend: what the script's `BACKEND` means.
        flags: for the interpreter, such as "-Walways".
        seconds: how long it may take.
        forked: whether it may run in the fork of a template, which takes a backend.
    """
    return interrupt_child(script, backend, signals=(), flags=flags, seconds=seconds, forked=forked)


def interrupt_child(
    script: str,
    backend: Backend | None = None,
    *,
    signals: Sequence[signal.Signals] = (signal.SIGINT,),
    flags: Sequence[str] = (),
    seconds: float = 50,
    patience: float | None = None,
    forked: bool = False,
    measured: bool = True,
) -> Child:
    """Run a script, and send it the next signal each time it has written the line `now`.

    Args:
        script: the code; with a backend it finds the names of `PRELUDE`.
        backend: what the script's `BACKEND` means.
        signals: what to send.
        flags: for the interpreter.
        seconds: how long it may take; then it is killed, which the exit status tells.
        patience: after so many seconds without a line, send the next signal all the same, as somebody would who
            presses Ctrl-C again because nothing happens. Never the first one.
        forked: whether it may run in the fork of a template, which takes a backend.
        measured: whether coverage, where it measures this process, measures the script, too. Signals that come at any
            moment would strike inside of its tracer.

    Returns:
        What came of it, without those lines.
    """
    left_out = ("PYTHON",) if measured else ("PYTHON", "COVERAGE_PROCESS_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
    environment["PYTHONPATH"] = str(CHECKOUT)
    script = textwrap.dedent(script)
    begin = "" if backend is None else prelude(backend)
    interpreter = (sys.executable, *flags, "-c")
    if forked:
        variables = tuple(f"{key}={value}" for key, value in environment.items() if key != "PYTEST_CURRENT_TEST")
        return attend(Forked(script, template(variables, *interpreter, begin + SERVE)), signals, seconds, patience)
    with subprocess.Popen(
        [*interpreter, begin + script],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # so that it can be killed together with what it forks
    ) as process:
        return attend(process, signals, seconds, patience)


def attend(
    process: subprocess.Popen[bytes] | Forked,
    signals: Sequence[signal.Signals],
    seconds: float,
    patience: float | None,
) -> Child:
    """See a process through to its end, as `interrupt_child` says."""
    assert process.stdout is not None

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    killer = threading.Timer(seconds, kill)
    killer.start()
    try:
        out = b""
        for index, number in enumerate(signals):
            while not out.endswith(b"now\n"):
                ready = select.select([process.stdout], [], [], patience if index else None)[0]
                data = os.read(process.stdout.fileno(), 1) if ready else b""
                out += data
                if not data:
                    break
            else:
                out = out.removesuffix(b"now\n")
            process.send_signal(number)
        rest, err = process.communicate()
    finally:
        killer.cancel()
    return Child(process.returncode, (out + rest).decode().splitlines(), err.decode().splitlines())
