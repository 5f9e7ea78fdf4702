"""Lines that httpx streams from a loopback server, in plain `for` loops, with its timeouts and ours."""

from __future__ import annotations

import select
import socket
import socketserver
import threading
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any, final

import pytest

from asyncgen_tools.errors import StepTimeoutError
from tests.thread_state import settled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    import httpx

    from tests.conftest import Backend
else:
    httpx = pytest.importorskip("httpx", reason="httpx is not installed")

# httpx leaves the generators inside `aiter_lines` to the collector, of which trio warns, driven by us or not.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning")

SECONDS = 20  # until something that should have happened is held to have failed
PATIENCE = 2  # seconds that a client waits for a line that does not come; the first ones must come sooner
BEFORE, AFTER = 3, 5_000  # how many lines a response has before the server waits to be told, and after that


@final
class LineServer(socketserver.ThreadingTCPServer):
    """Sends some lines, and others once it has been told to go on; notices a client that goes away meanwhile."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), LineHandler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"
        self.client_left = threading.Event()
        self.told, self._teller = socket.socketpair()

    def go_on(self) -> None:
        """Let this response, and those to come, go on."""
        self._teller.send(b"!")

    def server_close(self) -> None:
        """Wait for the handlers."""
        super().server_close()
        self.told.close()
        self._teller.close()


@final
class LineHandler(socketserver.StreamRequestHandler):
    """One response, whatever is asked for; its lines end with the connection."""

    def handle(self) -> None:
        """Send lines, and the rest of them if a word comes before the client goes away."""
        server = self.server
        assert isinstance(server, LineServer)
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n")
        self.wfile.writelines(b"%d\n" % number for number in range(BEFORE))
        # The client sends nothing more, so what could be read of it is the end.
        ready, _, _ = select.select([self.connection, server.told], [], [], SECONDS)
        if server.told in ready:
            self.wfile.write(b"".join(b"%d\n" % number for number in range(BEFORE, BEFORE + AFTER)))
        elif ready and not self.connection.recv(1):
            server.client_left.set()


@contextmanager
def running_server() -> Generator[LineServer]:
    """A server in threads, which have ended when the block is left."""
    with LineServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(name="server")
def server_fixture() -> Generator[LineServer]:
    """A server that waits to be told."""
    with running_server() as server:
        yield server


def new_client(*, read: float = SECONDS) -> httpx.AsyncClient:
    """A client; no proxy leads to a loopback server.

    Args:
        read: how many seconds it waits for the next chunk.
    """
    return httpx.AsyncClient(trust_env=False, timeout=httpx.Timeout(SECONDS, read=read))


async def lines(client: httpx.AsyncClient, url: str) -> AsyncGenerator[int, None]:
    """The lines of a response, as they arrive."""
    async with client.stream("GET", url) as response:
        async for text in response.aiter_lines():
            yield int(text)


async def lines_of_own(url: str, *, read: float = SECONDS) -> AsyncGenerator[int, None]:
    """The same with a client of its own, open as long as the generator is."""
    async with new_client(read=read) as client:
        async with aclosing(lines(client, url)) as numbers:
            async for number in numbers:
                yield number


def test_lines_arrive_as_they_are_sent(backend: Backend, server: LineServer) -> None:
    """The first lines are there while the server holds the others back; then these come, too (A6)."""
    with backend.drive(lines_of_own(server.url)) as numbers:
        assert [next(numbers) for _ in range(BEFORE)] == list(range(BEFORE))
        server.go_on()
        assert list(numbers) == list(range(BEFORE, BEFORE + AFTER))
    assert not server.client_left.is_set()
    assert settled()


@pytest.mark.asyncgen_leaks("off")  # httpx's own, see test_real_libraries.py
def test_leaving_early(backend: Backend, server: LineServer) -> None:
    """Leaving the loop closes response and client at once: the server sees the connection go (A8)."""
    for number in backend.drive(lines_of_own(server.url)):
        if number == BEFORE - 1:
            break
    assert server.client_left.wait(SECONDS)
    assert settled()


def test_read_timeout(backend: Backend, server: LineServer) -> None:
    """The timeout of httpx comes out as httpx raises it, and the client goes on in the same runner (A4, A9)."""
    with backend.runner() as runner, runner.wrap_async_context_manager(new_client(read=PATIENCE)) as client:
        numbers = runner.drive(lines(client, server.url))
        assert [next(numbers) for _ in range(BEFORE)] == list(range(BEFORE))
        with pytest.raises(httpx.ReadTimeout):
            next(numbers)
        assert list(numbers) == []
        assert server.client_left.wait(SECONDS)
        server.go_on()
        assert len(list(runner.drive(lines(client, server.url)))) == BEFORE + AFTER


def test_read_timeout_can_be_handled(backend: Backend, server: LineServer) -> None:
    """The generator may catch httpx's timeout and yield on, and try again (A4)."""

    async def patient(client: httpx.AsyncClient) -> AsyncGenerator[Any, None]:
        try:
            async with aclosing(lines(client, server.url)) as numbers:
                async for number in numbers:
                    yield number
        except httpx.ReadTimeout:
            yield "again"
        async with aclosing(lines(client, server.url)) as numbers:
            async for number in numbers:
                yield number

    with backend.runner() as runner, runner.wrap_async_context_manager(new_client(read=PATIENCE)) as client:
        items = runner.drive(patient(client))
        assert [next(items) for _ in range(BEFORE + 1)] == [*range(BEFORE), "again"]
        server.go_on()
        assert list(items) == list(range(BEFORE + AFTER))


def test_timeout_of_drive(backend: Backend, server: LineServer) -> None:
    """`timeout=` ends the step that waits for a line: response and client are closed before the error comes (A11)."""
    with backend.runner() as runner:
        numbers = runner.drive(lines_of_own(server.url), timeout=PATIENCE)
        assert [next(numbers) for _ in range(BEFORE)] == list(range(BEFORE))
        with pytest.raises(StepTimeoutError, match="lines_of_own took longer"):
            next(numbers)
        assert list(numbers) == []
        assert server.client_left.wait(SECONDS)
        server.go_on()
        assert len(list(runner.drive(lines_of_own(server.url)))) == BEFORE + AFTER


def test_responses_in_turns(backend: Backend, server: LineServer) -> None:
    """Two responses of one client are read in turns, each by a generator of its own (A4)."""
    server.go_on()
    with backend.runner() as runner, runner.wrap_async_context_manager(new_client()) as client:
        pairs = zip(*(runner.drive(lines(client, server.url)) for _ in range(2)), strict=True)
        assert list(pairs) == [(number, number) for number in range(BEFORE + AFTER)]
