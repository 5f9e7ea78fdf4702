"""The event loops that are compared, each with its native way to run a coroutine and the three kinds of source."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator, Mapping

T = TypeVar("T")

# Answers each byte by a byte, in a process of its own, so that the measured one really waits.
ECHO = """
import socket, sys
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    while True:
        client, _ = server.accept()
        with client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := client.recv(1):
                client.sendall(data)
"""


@contextmanager
def echo_server() -> Generator[int]:
    """The port of an echo server on loopback; it has ended when the block is left."""
    with subprocess.Popen([sys.executable, "-c", ECHO], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def connected(port: int) -> Generator[socket.socket]:
    """A connection to the echo server."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.settimeout(0)
        yield client


async def at_once(count: int, _port: int) -> AsyncGenerator[int, None]:
    """Items that need no waiting, as a buffered source gives them."""
    for number in range(count):
        yield number


async def after_sleep(count: int, _port: int) -> AsyncGenerator[int, None]:
    """Items that suspend once each."""
    for number in range(count):
        await asyncio.sleep(0)
        yield number


async def after_socket(count: int, port: int) -> AsyncGenerator[int, None]:
    """Items that wait for an answer from a loopback socket."""
    loop = asyncio.get_running_loop()
    with connected(port) as client:
        for number in range(count):
            await loop.sock_sendall(client, b"?")
            await loop.sock_recv(client, 1)
            yield number


async def after_trio_checkpoint(count: int, _port: int) -> AsyncGenerator[int, None]:
    """Items that suspend once each, on trio."""
    import trio

    for number in range(count):
        await trio.lowlevel.checkpoint()
        yield number


async def after_trio_socket(count: int, port: int) -> AsyncGenerator[int, None]:
    """Items that wait for an answer from a loopback socket, on trio."""
    import trio

    with connected(port) as plain:
        client = trio.socket.from_stdlib_socket(plain)
        for number in range(count):
            await client.send(b"?")
            await client.recv(1)
            yield number


@dataclass(frozen=True, slots=True)
class Library:
    """An event loop: the words by which this library and anyio know it, and its own way to run a coroutine."""

    name: str
    backend: Literal["asyncio", "trio"]
    run: Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]
    sources: Mapping[str, Callable[[int, int], AsyncGenerator[int, None]]]
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None


ASYNCIO_SOURCES = {"no suspension": at_once, "one suspension": after_sleep, "socket": after_socket}
TRIO_SOURCES = {"no suspension": at_once, "one suspension": after_trio_checkpoint, "socket": after_trio_socket}


def _on(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Callable[[Callable[[], Coroutine[Any, Any, T]]], T]:
    def run(function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(function())

    return run


def installed_libraries() -> Iterator[Library]:
    """The libraries that are installed."""
    new_loop = asyncio.new_event_loop
    yield Library("asyncio", "asyncio", _on(new_loop), ASYNCIO_SOURCES, new_loop=new_loop)
    if importlib.util.find_spec("uvloop"):
        import uvloop

        new_loop = uvloop.new_event_loop
        options = {"use_uvloop": True}
        yield Library("uvloop", "asyncio", _on(new_loop), ASYNCIO_SOURCES, options, new_loop=new_loop)
    if importlib.util.find_spec("trio"):
        import trio

        yield Library("trio", "trio", trio.run, TRIO_SOURCES)
