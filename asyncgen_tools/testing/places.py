"""Places in a user's code, for reports: where a generator was first iterated, and where it is suspended.

A place is a line that the user can change: frames of this package, of contextlib and of unittest, are none. Looking
takes no step of the generator.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import opcode
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from asyncgen_tools.host import PACKAGE

if TYPE_CHECKING:
    from types import CodeType, FrameType

__all__ = ("Place", "is_ours", "line_at", "name_of", "suspended_at", "user_frame")

RETURN_GENERATOR: Final = opcode.opmap["RETURN_GENERATOR"]
#: The helpers of the standard library that step others' generators: contextlib, and `enterAsyncContext` of unittest.
HELPERS: Final = (os.sep + "contextlib.py", os.sep + os.path.join("unittest", "async_case.py"))  # noqa: PTH118
#: Whether frames of a file are of no interest: looking that up is several times faster than finding it out.
SKIPPED: Final[dict[str, bool]] = {}


@final
@dataclass(frozen=True, slots=True)
class Place:
    """A line of code, and the function that it is in."""

    filename: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.filename}:{self.line} in {self.function}"


def is_ours(generator: object) -> bool:
    """Whether it is a generator of this package itself, such as the one in which a runner calls a function."""
    code: CodeType | None = getattr(generator, "ag_code", None)
    return code is not None and code.co_filename.startswith(PACKAGE)


def user_frame() -> FrameType:
    """The innermost frame that is neither this package's nor a helper's, or else the caller's."""
    caller = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]  # as warnings.warn does
    frame: FrameType | None = caller
    while frame is not None:
        filename = frame.f_code.co_filename
        skip = SKIPPED.get(filename)
        if skip is None:
            skip = SKIPPED[filename] = filename.startswith(PACKAGE) or filename.endswith(HELPERS)
        if not skip:
            return frame
        frame = frame.f_back
    return caller  # pragma: no cover  # a thread of this package's own


def line_at(code: CodeType, instruction: int) -> int:
    """The line of an instruction, as `frame.f_lineno` has it for `frame.f_lasti`, which is faster to note."""
    for start, end, line in code.co_lines():
        if start <= instruction < end and line is not None:
            return line
    return code.co_firstlineno  # pragma: no cover  # an instruction without a line


def suspended_at(generator: object) -> Place | None:
    """Where a generator or coroutine, sync or async, stands: the innermost line of what it runs or awaits.

    Returns:
        The place, or None if it has not begun, has ended, or does not tell.
    """
    found = None
    seen: set[int] = set()
    awaited: object | None = generator
    while awaited is not None and id(awaited) not in seen:
        seen.add(id(awaited))
        frame = attribute(awaited, "ag_frame", "cr_frame", "gi_frame")
        if frame is not None and has_begun(awaited, frame) and not frame.f_code.co_filename.startswith(PACKAGE):
            found = Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname)
        awaited = attribute(awaited, "ag_await", "cr_await", "gi_yieldfrom")
    return found


def has_begun(generator: object, frame: FrameType) -> bool:
    """Whether a generator or coroutine with this frame has taken its first step."""
    suspended = attribute(generator, "ag_suspended", "cr_suspended", "gi_suspended")
    if suspended is None:  # pragma: no cover  # an async generator on Python 3.11, where the tests run this
        return frame.f_code.co_code[frame.f_lasti] != RETURN_GENERATOR
    return bool(suspended or attribute(generator, "ag_running", "cr_running", "gi_running"))


def attribute(generator: object, *names: str) -> Any:
    """The first of some attributes that an object has, or None."""
    for name in names:
        if hasattr(generator, name):
            return getattr(generator, name)
    return None


def name_of(generator: object) -> str:
    """The qualified name of a generator, or of its class, with its module."""
    name: str = getattr(generator, "__qualname__", None) or type(generator).__qualname__
    frame = attribute(generator, "ag_frame", "gi_frame")
    module = type(generator).__module__ if frame is None else frame.f_globals.get("__name__", "?")
    return f"{module}.{name}"
