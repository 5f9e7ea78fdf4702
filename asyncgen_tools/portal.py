"""Portal: async generators in synchronous code, over an event loop in a thread of its own.

The face is `Runner`'s. The loop runs whether or not a step does, so it works where a loop already runs in the calling
thread (a notebook), background tasks go on between two items, and any thread may use it. Each generator still has one
task and one context for its whole life. How it is done is in `asyncgen_tools.loops.background`.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import os
import threading
import warnings
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final, overload

from asyncgen_tools.arguments import checked_count, named_options
from asyncgen_tools.base_driver import BaseDriver, new_host
from asyncgen_tools.errors import ArgumentTypeError
from asyncgen_tools.loops import make_background_loop
from asyncgen_tools.loops.admission import callers_context
from asyncgen_tools.loops.background_hosts import Line
from asyncgen_tools.loops.primitives import State
from asyncgen_tools.sync_generator import SyncGenerator

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Mapping
    from contextvars import Context
    from typing import Self

    from asyncgen_tools.protocols import ReturningAsyncGenerator, ReturnT, SendT, YieldT

    Key: TypeAlias = tuple[str, frozenset[tuple[str, Any]]]

__all__ = ("Portal",)


@final
class Portal(BaseDriver):
    """An event loop in a thread of its own, for generators, calls and context managers of any thread.

    The thread starts on first use (or on `with`). `close`, or the end of the `with` block, ends everything that was
    started with the portal, and the thread. It may be opened, used and closed in a thread that runs an event loop: each
    step blocks that loop while it lasts. Used from its own loop's thread it is an error (RunningLoopError).

    Args:
        backend: "asyncio" or "trio".
        backend_options: as for `drive`, with anyio's names and meaning.
        name: of the thread.

    Raises:
        UnknownBackendError: there is no such backend (LookupError).
        MissingLibraryError: trio or uvloop is not installed (ImportError).
        ArgumentTypeError: the backend has no such option (TypeError).

    >>> async def double(number):
    ...     return 2 * number
    >>> async def numbers():
    ...     yield 1
    ...     yield 2
    >>> with Portal() as portal:
    ...     print(portal.run(double, 21), sum(portal.drive(numbers())))
    42 3
    """

    def __init__(
        self, *, backend: str = "asyncio", backend_options: Mapping[str, Any] | None = None, name: str | None = None
    ) -> None:
        self._backend = backend
        self._loop = make_background_loop(backend, backend_options, name=name)

    def __repr__(self) -> str:
        return f"<Portal backend={self._backend!r}, {self._loop.state.value}>"

    def __enter__(self) -> Self:
        refusal = self._loop.refusal()
        if refusal is not None:
            raise refusal
        self._loop.open()
        return self

    @classmethod
    def shared(cls, backend: str = "asyncio", *, backend_options: Mapping[str, Any] | None = None) -> Portal:
        """The portal of this process for a backend, the same at every call: for libraries that offer a sync face.

        Its thread starts on first use. It is closed at the exit of the interpreter, together with what is still open
        then; a forked child gets a new one. Nobody should close it: that would close the generators of other
        libraries. If somebody does, the next call gives a new one.

        Args:
            backend: "asyncio" or "trio".
            backend_options: as for `Portal`; each set of options has a portal of its own. They must be hashable.

        Returns:
            A portal. Close the generators that it drives, and not the portal.

        Raises:
            ArgumentTypeError: the options are not hashable (TypeError); else as for `Portal`.

        >>> async def numbers():
        ...     yield 1
        >>> list(Portal.shared().drive(numbers()))
        [1]
        """
        options = named_options(backend_options)
        try:
            key: Key = (backend, frozenset(options.items()))
        except TypeError as exc:
            raise ArgumentTypeError(
                f"backend_options={options!r} cannot be hashed, and a shared portal is found by its options. Give "
                "values that can, or make a Portal of your own."
            ) from exc
        with _shared.lock:
            portal = _shared.portals.get(key)
            if portal is None or portal._loop.state in {State.CLOSED, State.DISOWNED}:
                _shared.portals.pop(key, None)
                portal = cls(backend=backend, backend_options=backend_options, name=f"asyncgen_tools shared {backend}")
                portal = _shared.portals.setdefault(key, portal)  # a finalizer may have made one meanwhile
            return portal

    @overload
    def drive(
        self,
        source: ReturningAsyncGenerator[YieldT, SendT, ReturnT],
        /,
        *,
        context: Context | None = None,
        timeout: float | None = None,
        prefetch: int = 0,
    ) -> SyncGenerator[YieldT, SendT, ReturnT]: ...
    @overload
    def drive(
        self,
        source: AsyncGenerator[YieldT, SendT],
        /,
        *,
        context: Context | None = None,
        timeout: float | None = None,
        prefetch: int = 0,
    ) -> SyncGenerator[YieldT, SendT, None]: ...
    @overload
    def drive(
        self,
        source: AsyncIterable[YieldT],
        /,
        *,
        context: Context | None = None,
        timeout: float | None = None,
        prefetch: int = 0,
    ) -> SyncGenerator[YieldT, None, None]: ...
    def drive(
        self, source: Any, /, *, context: Context | None = None, timeout: float | None = None, prefetch: int = 0
    ) -> Any:
        """A sync generator over an async one, whose steps run in the portal's loop; the calling thread waits for each.

        Any thread may take any step; two at a time are ValueError ("generator already executing"). `close()` while
        another thread waits for a step cancels that: there it is ClosedError. The source is cancelled just once, and
        its cleanup may await what it likes. So on trio what it is cancelled with is no trio.Cancelled, which would come
        again at each checkpoint, but an exception of its own: `finally` and `except BaseException` see it, and
        `except trio.Cancelled` does not.

        Args:
            source: an async generator, async iterator or async iterable. Closing the result closes it.
            context: where all steps run; by default a copy of the caller's, taken now.
            timeout: how many seconds one step may take; it is then cancelled, its cleanup awaited, and the generator
                is finished.
            prefetch: how many items the source may be ahead of its consumer. A fast source then costs far less for
                each item; but `send` and `throw` are refused (PrefetchError). 0 is lock step: the source runs only
                while a step does.

        Returns:
            A sync generator, which the portal closes if it is still open then. One that is dropped is closed at once,
            its cleanup awaited, also where another event loop runs. In the portal's own thread, and by the cyclic
            garbage collector, it is closed without waiting, and a ResourceWarning says so.

        Raises:
            SourceTypeError: the source is not async-iterable (TypeError).
            ClosedError: the portal is closed (RuntimeError).
            ArgumentTypeError: timeout or prefetch is no number, or the context no context (TypeError).
            ArgumentValueError: timeout or prefetch is negative (ValueError).

        Ctrl-C while the main thread waits for a step cancels that, lets its cleanup finish, and raises
        KeyboardInterrupt; a second one stops waiting.
        """
        host = new_host(source, context=callers_context() if context is None else context, timeout=timeout)
        host.line = Line(checked_count("prefetch", prefetch, least=0, otherwise="puts the source behind its consumer"))
        if self._loop.state is State.CLOSED:
            raise self._loop.closed_error()
        generator: SyncGenerator[Any, Any, Any] = SyncGenerator(host, self._loop)
        return generator

    def close(self) -> None:
        """Close open generators and context managers, last opened first, then the loop and its thread; idempotent.

        Steps that other threads wait for are cancelled; remaining tasks are cancelled and awaited, async generators and
        the default executor are shut down. Any thread may close it, but the loop's own, and those that the loop waits
        for: its worker threads, as of `asyncio.to_thread`, would wait for themselves.

        Raises:
            BaseException: what their cleanup raises; several come as a group.
            ForkError: this process was forked from the portal's (RuntimeError).
            RunningLoopError: this is the loop's own thread (RuntimeError).
        """
        self._loop.close()

    def __del__(self) -> None:
        loop = getattr(self, "_loop", None)  # __init__ may have raised
        if loop is None or loop.process != os.getpid():
            return
        if loop.state is State.NEW:
            loop.renounce()
        if loop.state is not State.OPEN:
            return
        try:
            warnings.warn(
                f"unclosed {self!r}: use it as `with Portal() as portal:`, or call its close().",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
        finally:
            loop.soon(loop.stop)


class Shared:
    """The portals that `Portal.shared` gives, one set for each process."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin anew, in a forked child: a thread of the parent may have held the lock."""
        self.lock: threading.RLock = threading.RLock()  # a finalizer may want it where this thread has it
        self.portals: dict[Key, Portal] = {}


_shared: Final = Shared()
if hasattr(os, "register_at_fork"):  # pragma: no branch  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_shared.renew)
