"""The options of a backend, with anyio's names and meaning.

A backend says which it has by the keyword-only parameters of one function; what is not among them is refused where the
options are given, and not when the loop opens.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from asyncgen_tools.errors import ArgumentTypeError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("checked_options",)

T = TypeVar("T")


def checked_options(factory: Callable[..., T], options: dict[str, Any], *, backend: str) -> T:
    """Call the factory, a function whose parameters are all keyword-only and optional, with the options.

    Raises:
        ArgumentTypeError: there is no such option.
    """
    # What inspect.signature() would tell, in half the time that it takes to open a loop.
    known: dict[str, Any] = getattr(factory, "__kwdefaults__", None) or {}
    for option in options:
        if option not in known:
            raise ArgumentTypeError(
                f"backend={backend!r} has no option {option!r}, which would be ignored. "
                + (f"Its options are: {', '.join(sorted(known))}." if known else "It has none: leave it out.")
            )
    return factory(**options)
