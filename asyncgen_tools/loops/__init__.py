"""Running an event loop, in slices from the calling thread or in a thread of its own: a module for each kind of loop.

`sliced.py` has what all have in common: the hot and the careful way to take a step, and what comes of it;
`sliced_life.py` how a loop is opened and closed, `primitives.py` what each kind must bring along, `admission.py` who
may step when. `asyncio_loop.py`, `trio_loop.py` and `bare_loop.py` say how a host gets its task there and how a
suspended step is carried on. `hooks.py` keeps the thread's asyncgen hooks straight, `interrupts.py` its Ctrl-C.

`background*.py` have an event loop in a thread of its own, for portals, with `asyncio_background.py` and
`trio_background.py`. `asyncio_hosts.py` and `trio_hosts.py` are what both have in common: hosts as tasks.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncgen_tools.arguments import named_options
from asyncgen_tools.errors import MissingLibraryError, UnknownBackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncgen_tools.loops.background import BackgroundLoop
    from asyncgen_tools.loops.sliced import SlicedLoop

__all__ = ("make_background_loop", "make_loop")


def make_loop(backend: str, options: Mapping[str, Any] | None, *, private: bool) -> SlicedLoop:
    """Make the loop of a backend; it opens on its first use, in the thread that uses it.

    Args:
        backend: "asyncio", "trio" or "bare".
        options: the backend's options, with anyio's names and meaning.
        private: whether the loop belongs to one generator and closes with it.

    Raises:
        UnknownBackendError: there is no such backend.
        MissingLibraryError: the backend's library is not installed.
        ArgumentTypeError: the backend has no such option.
    """
    options = named_options(options)
    match backend:
        case "asyncio":
            from asyncgen_tools.loops.asyncio_loop import AsyncioLoop

            return AsyncioLoop(options, private=private)
        case "trio":
            try:
                from asyncgen_tools.loops.trio_loop import TrioLoop
            except ModuleNotFoundError as exc:
                raise missing_trio() from exc
            return TrioLoop(options, private=private)
        case "bare":
            from asyncgen_tools.loops.bare_loop import BareLoop

            return BareLoop(options, private=private)
        case _:
            raise UnknownBackendError(
                f"There is no backend {backend!r}. Write backend='asyncio', 'trio' or 'bare'; uvloop is "
                "backend='asyncio' with backend_options={'use_uvloop': True}."
            )


def make_background_loop(backend: str, options: Mapping[str, Any] | None, *, name: str | None) -> BackgroundLoop:
    """Make the loop of a backend in a thread of its own, which starts on its first use.

    Args:
        backend: "asyncio" or "trio".
        options: the backend's options, with anyio's names and meaning.
        name: of the thread.

    Raises:
        UnknownBackendError: there is no such backend.
        MissingLibraryError: the backend's library is not installed.
        ArgumentTypeError: the backend has no such option.
    """
    options = named_options(options)
    match backend:
        case "asyncio":
            from asyncgen_tools.loops.asyncio_background import AsyncioBackground

            return AsyncioBackground(options, name=name)
        case "trio":
            try:
                from asyncgen_tools.loops.trio_background import TrioBackground
            except ModuleNotFoundError as exc:
                raise missing_trio() from exc
            return TrioBackground(options, name=name)
        case _:
            raise UnknownBackendError(
                f"There is no backend {backend!r} for a portal. Write backend='asyncio' or 'trio'; uvloop is "
                "backend='asyncio' with backend_options={'use_uvloop': True}; what never waits needs only drive()."
            )


def missing_trio() -> MissingLibraryError:
    """The error where trio is not installed."""
    return MissingLibraryError("backend='trio' needs trio, which is not installed. Install asyncgen_tools[trio].")
