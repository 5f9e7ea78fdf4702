"""Stream lines from a TCP server through trio into a plain `for` loop.

    python docs/examples/trio_lines.py [--lines 100000]

The server is a thread of this process on a free loopback port. Leaving the loop early closes the generator, and with it
the connection, at once: the server sees its client go away, and the runner connects again for the next request.
"""

from __future__ import annotations

import argparse
import socketserver
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from asyncgen_tools import Runner

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

LEVELS = (b"DEBUG", b"INFO", b"INFO", b"INFO", b"WARNING", b"ERROR")


class LineServer(socketserver.ThreadingTCPServer):
    """One thread for each connection; leaving its `with` block waits for them."""


class LineHandler(socketserver.StreamRequestHandler):
    """Answers a request `COUNT` with that many log lines."""

    def handle(self) -> None:
        """Send what was asked for, or as much of it as the client waits for."""
        count = int(self.rfile.readline())
        try:
            for first in range(0, count, 100):
                numbers = range(first, min(first + 100, count))
                self.wfile.write(b"".join(b"%s request %d\n" % (LEVELS[n % len(LEVELS)], n) for n in numbers))
        except ConnectionError:
            pass  # the client had enough


@contextmanager
def line_server() -> Generator[LineServer]:
    """A running server; its threads have ended when the block is left."""
    with LineServer(("127.0.0.1", 0), LineHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


async def lines(port: int, count: int) -> AsyncGenerator[str, None]:
    """The lines that the server sends, one by one. The connection, and a time limit, are held over every yield."""
    with trio.fail_after(60):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"%d\n" % count)
            rest = b""
            async for chunk in stream:
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield line.decode()


def main() -> None:
    """Count log levels, look for the first error, and print what came out and how long it took."""
    parser = argparse.ArgumentParser(description="Stream lines over TCP through trio into a plain for loop.")
    parser.add_argument("--lines", type=int, default=100_000, help="lines to send (default: %(default)s)")
    options = parser.parse_args()

    with line_server() as server, Runner(backend="trio") as runner:
        port: int = server.server_address[1]
        start = time.perf_counter()
        levels = Counter(line.partition(" ")[0] for line in runner.drive(lines(port, options.lines)))
        seconds = time.perf_counter() - start
        print(", ".join(f"{level}: {count:,}" for level, count in sorted(levels.items())))
        print(f"{levels.total():,} lines in {seconds:.3f} s")

        for line in runner.drive(lines(port, 1_000_000_000)):
            if line.startswith("ERROR"):
                print(f"first error: {line!r}; left the loop there")
                break
    print("the server has stopped, because its client went away")


if __name__ == "__main__":
    main()
