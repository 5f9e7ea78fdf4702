"""Flask and Django under gunicorn with two preloaded sync workers: views stream async generators through `drive`."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

pytest.importorskip("gunicorn", reason="gunicorn is not installed")

CHECKOUT = Path(__file__).parent.parent
SECONDS = 20  # until something that should have happened is held to have failed


@final
@dataclass(frozen=True, slots=True)
class Server:
    """A running gunicorn: where it listens, the process id of its master, and the file with what it has written."""

    port: int
    pid: int
    log: Path

    @contextmanager
    def get(self, path: str) -> Generator[HTTPResponse]:
        """Send a request, and give the response as soon as its head has arrived; the connection ends with the block."""
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)) as connection:
            connection.request("GET", path)
            with connection.getresponse() as response:
                yield response


@contextmanager
def gunicorn(application: str, log: Path) -> Generator[Server]:
    """Two sync workers that were forked after the application was loaded, on a free port of the loopback interface.

    Every warning in them is an error. No process of them is left when the block is.
    """
    # The socket is bound here and handed over, so requests may be sent at once: they wait until a worker takes them.
    with socket.create_server(("127.0.0.1", 0)) as listener, log.open("wb") as output:
        command = [sys.executable, "-W", "error", "-m", "gunicorn", "--workers=2", "--worker-class=sync", "--preload"]
        master = subprocess.Popen(
            [*command, "--no-control-socket", f"--bind=fd://{listener.fileno()}", "--graceful-timeout=5", application],
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            start_new_session=True,
        )
        try:
            yield Server(listener.getsockname()[1], master.pid, log)
        finally:
            master.terminate()
            with suppress(subprocess.TimeoutExpired):
                master.wait(SECONDS)
            with suppress(ProcessLookupError):
                os.killpg(master.pid, signal.SIGKILL)
            master.wait()
            sys.stdout.write(log.read_text(encoding="utf-8"))  # shown if a test fails


@pytest.fixture(name="framework", scope="module", params=["flask", "django"])
def framework_fixture(request: pytest.FixtureRequest) -> str:
    """The web framework of the application."""
    framework: str = request.param
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    return framework


@pytest.fixture(name="server", scope="module")
def server_fixture(framework: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """The application of a framework under gunicorn."""
    log = tmp_path_factory.mktemp(framework) / "log"
    with gunicorn(f"tests.wsgi.{framework}_app:application", log) as server:
        yield server


@final
class Gate:
    """Where the story of a worker waits to be let through, and tells how it ended."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(SECONDS)
        self.path = f"/story?gate={self._listener.getsockname()[1]}"

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._listener.close()

    @contextmanager
    def visitor(self) -> Generator[Any]:
        """The story that has come to the gate: a file to write to and read from."""
        connection, _ = self._listener.accept()
        connection.settimeout(SECONDS)
        with connection, connection.makefile("rw", encoding="ascii", newline="\n") as visitor:
            yield visitor


def let_through(visitor: Any, how: str) -> None:
    """Say to a story that waits how it should go on."""
    visitor.write(f"{how}\n")
    visitor.flush()


def worker_of(response: HTTPResponse) -> int:
    """The process id of the worker that answered."""
    return int(response.headers["Worker"])


def test_first_chunk_arrives_before_the_end(server: Server) -> None:
    """The client has the first chunk while the generator still waits; its cleanup runs after the last one."""
    with Gate() as gate, server.get(gate.path) as response, gate.visitor() as visitor:
        assert response.headers["Transfer-Encoding"] == "chunked"
        assert response.readline() == b"first\n"
        let_through(visitor, "the end")
        assert response.read() == b"last\n"
        assert visitor.read() == f"ended in {worker_of(response)}\n"
        assert worker_of(response) != server.pid


def test_client_goes_away(server: Server) -> None:
    """A client that goes away after the first chunk makes the worker close the generator, awaits included."""
    with Gate() as gate, ExitStack() as stack:
        with server.get(gate.path) as response:
            visitor = stack.enter_context(gate.visitor())
            assert response.readline() == b"first\n"
            worker = worker_of(response)
        let_through(visitor, "many more")
        assert visitor.read() == f"was closed in {worker}\n"
    with server.get("/numbers") as response:
        assert response.read().count(b"\n") == 100


def test_generator_raises(server: Server) -> None:
    """Before the first chunk an error is answered by 500, after it the response breaks off; both are in the log."""
    with server.get("/broken?after=0") as response:
        assert response.status == 500
    with server.get("/broken?after=1") as response:
        assert response.status == 200
        assert response.readline() == b"0\n"
        with pytest.raises(HTTPException):
            response.read()
    log = server.log.read_text(encoding="utf-8")
    assert "RuntimeError: broken after 0" in log
    assert "RuntimeError: broken after 1" in log
    with server.get("/numbers") as response:
        assert response.read().count(b"\n") == 100


def test_nothing_grows(server: Server) -> None:
    """A hundred requests to each of the two workers leave no thread, descriptor, memory or object behind (A18)."""

    def report() -> dict[str, int]:
        with server.get("/report") as response:
            answer: dict[str, int] = json.load(response)
            return answer

    def hundred_requests() -> tuple[set[int], dict[str, int], dict[str, int]]:
        workers: set[int] = set()
        warm: dict[str, int] = {}
        for number in range(100):
            if number == 20:
                report()  # the first one is part of the warming up
                warm = report()
            with server.get("/numbers") as response:
                assert response.read().count(b"\n") == 100
                workers.add(worker_of(response))
        return workers, warm, report()

    with Gate() as gate:
        # A worker whose story waits takes no other request, so each hundred goes to the other one.
        with server.get(gate.path) as first, gate.visitor() as first_visitor:
            hundreds = [hundred_requests()]
            with server.get(gate.path) as second, gate.visitor() as second_visitor:
                let_through(first_visitor, "the end")
                assert first.read() == b"first\nlast\n"
                hundreds.append(hundred_requests())
                let_through(second_visitor, "the end")
                assert second.read() == b"first\nlast\n"

    assert [workers for workers, _, _ in hundreds] == [{worker_of(second)}, {worker_of(first)}]
    for _, warm, after in hundreds:
        assert warm["threads"] == after["threads"] == 1
        assert warm["descriptors"] == after["descriptors"]
        # 80 requests: a single object of each would be more than this, and so would be 25 KiB of each.
        assert after["objects"] - warm["objects"] < 40
        assert after["resident"] - warm["resident"] < 2000


def test_django_warns_without_drive(tmp_path: Path) -> None:
    """The async generator itself makes Django warn, and so fail here; the same through `drive` does not."""
    pytest.importorskip("django", reason="django is not installed")
    with gunicorn("tests.wsgi.django_app:application", tmp_path / "log") as server:
        with server.get("/numbers") as response:
            assert response.read().count(b"\n") == 100
        log = server.log.read_text(encoding="utf-8")
        assert "must consume asynchronous iterators" not in log
        with server.get("/undriven") as response:
            assert response.status == 500
        log = server.log.read_text(encoding="utf-8")
        assert "must consume asynchronous iterators" in log


def test_held_over_the_fork(tmp_path: Path) -> None:
    """A generator or runner of the master is a clear error in a worker; its own, and its shared portal, work (A14)."""
    with gunicorn("tests.wsgi.held_app:application", tmp_path / "log") as server:
        for _ in range(2):
            for path in "/generator", "/runner":
                with server.get(path) as response:
                    answer = response.read().decode()
                    assert answer.startswith("ForkError: ")
            for path in "/fresh", "/shared":
                with server.get(path) as response:
                    assert response.read() == b"0\n1\n2\n"
