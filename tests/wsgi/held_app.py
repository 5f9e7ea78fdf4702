"""A plain WSGI application that makes a generator and a runner when it is loaded, and tries them in its workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncgen_tools import Portal, Runner, drive
from tests.wsgi.streams import numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

held_runner = Runner()
held_runner.__enter__()
held_generator = drive(numbers(3))
loaded = next(held_generator)


def generator() -> Iterable[bytes]:
    """What is left of the generator."""
    return list(held_generator)


def runner() -> Iterable[bytes]:
    """Another generator on the runner."""
    return list(held_runner.drive(numbers(3)))


def fresh() -> Iterable[bytes]:
    """A generator of this request's own."""
    return drive(numbers(3))


def shared() -> Iterable[bytes]:
    """A generator on the portal that all requests of a worker share."""
    return Portal.shared().drive(numbers(3))


VIEWS: dict[str, Callable[[], Iterable[bytes]]] = {
    "/generator": generator,
    "/runner": runner,
    "/fresh": fresh,
    "/shared": shared,
}


def application(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]) -> Any:
    """Answer with the lines, or with the error."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        return VIEWS[environ["PATH_INFO"]]()
    except RuntimeError as exc:
        return [f"{type(exc).__name__}: {exc}".encode()]
