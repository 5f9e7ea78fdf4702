"""The life of an event loop in a thread of its own: its start, its end, and where it may be used.

The thread runs `main` with `anyio.run`, which gives backends and options anyio's meaning. It is not anyio's blocking
portal that owns the thread: that is a context manager which waits for its thread when it is finalised, and so hangs in
a forked child and at the exit of the interpreter, where the thread is no more.

Whatever ends the loop, those who wait for a step get an answer.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import sys
import threading
from abc import abstractmethod
from contextvars import Context
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar

import anyio

from asyncgen_tools.errors import ClosedError, ForkError, RunningLoopError
from asyncgen_tools.host import Marker
from asyncgen_tools.loops.background_ends import COLLECTING, LIVE
from asyncgen_tools.loops.background_hosts import BackgroundHosts, Result
from asyncgen_tools.loops.outcomes import Refused, raise_all
from asyncgen_tools.loops.primitives import State
from asyncgen_tools.steps import Raised

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncgen_tools.host import Host

__all__ = ("BackgroundThread", "error_in")


class BackgroundThread(BackgroundHosts):
    """An event loop in a thread of its own, which starts on its first use.

    Args:
        options: the backend's, checked.
        name: of the thread.
    """

    backend: ClassVar[str]

    # Declared by the base as well; repeated because this class assigns them (pyright --verifytypes).
    stopping: bool

    def __init__(self, options: dict[str, Any], *, name: str | None) -> None:
        super().__init__()
        self.options: dict[str, Any] = options
        self.process: int = os.getpid()
        self.state: State = State.NEW
        # Held while the thread is started; a signal handler that strikes in this thread may want it, too.
        self.lock: threading.RLock = threading.RLock()
        self.ready: threading.Event = threading.Event()
        self.ident: int | None = None
        self.thread: threading.Thread = threading.Thread(
            target=self.run, name=name or f"asyncgen_tools {self.backend}", daemon=True
        )
        self.stopped: anyio.Event | None = None
        self.errors: list[BaseException] = []  # what went wrong at the end
        self.crash: BaseException | None = None  # what has ended the loop, if not `close`
        self.finalizer: Callable[[Any], object] | None = None

    # The thread ------------------------------------------------------------------------------------------------

    @abstractmethod
    def attach(self) -> None:
        """Take notice of the loop that runs now in this thread."""

    @abstractmethod
    async def dropped_generators(self) -> None:
        """Wait until async generators that were dropped have been closed, unless the loop itself does at its end."""

    @abstractmethod
    def forsake(self, *, forked: bool) -> None:
        """Keep what is left of the loop quiet: its thread is no more, or will not be for long."""

    def open(self) -> None:
        """Start the thread, unless it was started, and wait until its loop runs.

        Raises:
            BaseException: what kept the loop from starting.
        """
        with self.lock:
            if self.state is State.NEW:
                if self.thread.ident is None:  # else Ctrl-C struck while somebody waited here
                    self.thread.start()
                self.ready.wait()
                if self.errors:
                    raise self.errors.pop()

    def run(self) -> None:
        """What the thread does."""
        try:
            run = partial(anyio.run, self.main, backend=self.backend, backend_options=self.options)
            Context().run(run)  # in a Python whose threads inherit one, the caller's may tell of its own event loop
        except BaseException as exc:
            self.crash = exc
            self.errors.append(exc)
        finally:
            self.state = State.CLOSED
            LIVE.discard(self)
            self.ready.set()
            for host in list(self.waiting):
                self.answer(host, Raised(self.closed_error()))

    async def main(self) -> None:
        """What the loop does: serve until told to stop, then close the generators, last opened first."""
        self.ident = get_ident()
        self.attach()
        self.finalizer = sys.get_asyncgen_hooks().finalizer
        sys.set_asyncgen_hooks(finalizer=self.finalized)
        self.stopped = anyio.Event()
        self.state = State.OPEN
        LIVE.add(self)
        self.ready.set()
        try:
            if not self.stopping:  # else it was renounced meanwhile
                await self.stopped.wait()
            while self.hosts:
                await self.finish(next(reversed(self.hosts)))
            await self.dropped_generators()
        finally:
            self.stopping = self.crashed = True
            for host in list(self.hosts):
                self.vacate(host)

    def finalized(self, agen: Any) -> None:
        """The asyncgen finalizer: the loop's, as long as there is a loop."""
        if self.state is State.OPEN and self.finalizer is not None:
            self.finalizer(agen)

    async def finish(self, host: Host) -> None:
        """Close the generator of a host; what goes wrong is for `close` to raise."""
        gone = anyio.Event()
        results: list[Result] = []

        def then(result: Result) -> None:
            results.append(result)
            gone.set()

        self.soon(partial(self.end, host, then))
        await gone.wait()
        error = error_in(results.pop())
        if error is not None:
            self.errors.append(error)
        if host in self.hosts:
            host.body.close()
            self.dismiss(host)

    def stop(self) -> None:
        """Tell `main` to come to its end."""
        self.stopping = True
        assert self.stopped is not None
        self.stopped.set()

    def renounce(self) -> None:
        """Have a loop that was never open not be opened: nobody would end its thread.

        Ctrl-C may have kept `open` from waiting for a thread that it has started. That ends when it has.
        """
        self.stopping = True
        self.state = State.CLOSED
        if self.ready.is_set():  # by now; else it has yet to look at `stopping`
            self.soon(self.stop)

    def close(self, patience: float | None = None) -> None:
        """Close the open generators, last opened first, then the loop, and wait for that; idempotent.

        Args:
            patience: wait so many seconds at most.

        Raises:
            AsyncgenToolsError: it cannot be closed here, see `refusal`.
            BaseException: what the generators and the loop raised; several come as a group.
        """
        refusal = self.refusal()
        if refusal is not None and not isinstance(refusal, ClosedError):
            raise refusal
        with self.lock:
            if self.thread.ident is None:
                self.renounce()
                return
        self.ready.wait()  # Ctrl-C may have kept `open` from it
        faces = [host.face() for host in list(self.hosts)]
        if self.state is State.OPEN:
            self.soon(self.stop)
        self.thread.join(patience)
        if self.thread.is_alive():
            self.state = State.DISOWNED
            self.forsake(forked=False)
            return
        for face in faces:
            if face is not None and face.gi_suspended:
                face.close()  # the source is closed; this is for the face to know
        errors, self.errors = self.errors, []
        raise_all(errors, "errors while closing a portal")

    # Admission -------------------------------------------------------------------------------------------------

    def refusal(self) -> Exception | None:
        """Why nothing can be done with this loop here and now, or None."""
        if self.process != os.getpid():
            return ForkError(
                f"This generator or portal was made in process {self.process} and is used in its forked child "
                f"{os.getpid()}: its thread and its event loop are the parent's. Make a new Portal after the fork; "
                "Portal.shared() does so by itself."
            )
        if self.state in {State.CLOSED, State.DISOWNED}:
            return self.closed_error()
        if self.ident == get_ident():
            return RunningLoopError(
                "This is the thread of the portal's own event loop: a call would wait for a step that this thread "
                "itself has to take. In async code write `async for` over the async generator, and await coroutines; "
                "from a worker thread (asyncio.to_thread) the portal may be called."
            )
        return None

    def closed_error(self) -> ClosedError:
        """The error of using the loop after its end, with what has ended it if that was not `close`."""
        error = ClosedError(
            "The portal is closed, or was dropped, and its event loop ended with it. Make a new Portal, and keep it as "
            "long as its generators."
        )
        error.__cause__ = self.crash
        return error

    def cannot_wait(self) -> str | None:
        """Why a generator that is dropped here should not wait until it is closed, or None."""
        if sys.is_finalizing():  # pragma: no cover  # coverage has ended by then; see test_exit_with_an_open_portal
            return "the interpreter exits"
        if self.ident == get_ident():
            return "this is the portal's own thread"
        if get_ident() in COLLECTING:
            return "the garbage collector runs here, and whatever was interrupted by it may hold a lock"
        return None  # also where an event loop runs: a drop may take as long there as the steps before it


def error_in(result: Result) -> BaseException | None:
    """What went wrong with closing a generator, or None."""
    if isinstance(result, Marker):
        return RuntimeError("generator ignored GeneratorExit")
    return result.error if isinstance(result, (Raised, Refused)) else None
