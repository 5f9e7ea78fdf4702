"""Stream tokens of a language model, as server-sent events through httpx, into a plain `for` loop.

    python docs/examples/llm_tokens.py [--delay 0.02]

The "model" is a thread of this process on a free loopback port, which speaks the protocol that model servers speak.
Leaving the loop early closes the response at once, so the model stops writing; the client goes on with the next prompt.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle, islice
from typing import TYPE_CHECKING

import httpx

from asyncgen_tools import Runner

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

TOKENS = ["An", " async", " generator", " yields", " what", " arrives", ".", " A", " loop", " takes", " it", "."]


class ModelServer(ThreadingHTTPServer):
    """The server of a model that has one answer; leaving its `with` block waits for its threads."""

    daemon_threads = False
    delay = 0.0


class ModelHandler(BaseHTTPRequestHandler):
    """Answers `POST {"prompt": ..., "max_tokens": ...}` with an event for each token."""

    def do_POST(self) -> None:
        """Write as many tokens as were asked for, or without end as long as the client is there."""
        assert isinstance(self.server, ModelServer)
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            for token in islice(cycle(TOKENS), request.get("max_tokens")):
                time.sleep(self.server.delay)  # the model thinks
                self.wfile.write(f"data: {json.dumps({'token': token})}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")
        except ConnectionError:
            pass  # the client had enough

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
        """Write no log."""


@contextmanager
def model_server(delay: float) -> Generator[ModelServer]:
    """A running server; its threads have ended when the block is left."""
    with ModelServer(("127.0.0.1", 0), ModelHandler) as server:
        server.delay = delay
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


async def tokens(client: httpx.AsyncClient, prompt: str, max_tokens: int | None = None) -> AsyncGenerator[str, None]:
    """The tokens of the model's answer, each as soon as it arrives. The response is held open over every yield."""
    body = {"prompt": prompt, "max_tokens": max_tokens, "stream": True}
    async with client.stream("POST", "/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line == "data: [DONE]":
                return
            if line.startswith("data: "):
                token: str = json.loads(line.removeprefix("data: "))["token"]
                yield token


def main() -> None:
    """Print an answer as it comes, leave an endless one after its first sentence, and ask again."""
    parser = argparse.ArgumentParser(description="Stream server-sent tokens through httpx into a plain for loop.")
    parser.add_argument("--delay", type=float, default=0.02, help="seconds for each token (default: %(default)s)")
    options = parser.parse_args()

    with model_server(options.delay) as server, Runner() as runner:
        # The server is in this process: no proxy leads to it.
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.server_address[1]}", trust_env=False)
        with runner.wrap_async_context_manager(client):
            start = time.perf_counter()
            first = None
            for token in runner.drive(tokens(client, "What is it?", max_tokens=len(TOKENS)), timeout=30):
                first = first or time.perf_counter() - start
                print(token, end="", flush=True)
            print(f"\nfirst token after {first:.3f} s, the last after {time.perf_counter() - start:.3f} s")

            sentence = ""
            for token in runner.drive(tokens(client, "Go on for ever."), timeout=30):
                sentence += token
                if sentence.endswith("."):
                    break
            print(f"left an endless answer after {sentence!r}")

            again = list(runner.drive(tokens(client, "Once more?", max_tokens=3), timeout=30))
            print(f"the same client asked again: {again}")
    print("the model has stopped, because its client went away")


if __name__ == "__main__":
    main()
