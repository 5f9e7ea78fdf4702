"""What is refused at the call, before anything has begun: arguments that could not work later.

Nothing is lost by a refusal. What was handed over stays usable, except a coroutine: nobody else would close it, so it
is closed. The messages have three parts, see `errors`.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Mapping
from contextvars import Context
from types import TracebackType
from typing import TYPE_CHECKING, Final, cast

from asyncgen_tools.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    CopyError,
    SourceTypeError,
    UnsupportedStepError,
)

if TYPE_CHECKING:
    from typing import Any

__all__ = (
    "check_context",
    "check_send",
    "check_source",
    "checked_count",
    "checked_seconds",
    "close_refused",
    "copy_error",
    "describe",
    "exception_of",
    "named_options",
    "short",
)

LONGEST: Final = 60


def short(value: object) -> str:
    """The repr of a value, cut at 60 characters; of one that has none, its type."""
    try:
        text = repr(value)
    except Exception as exc:
        text = f"<{type(value).__qualname__} whose repr raises {type(exc).__qualname__}>"
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def describe(value: object) -> str:
    """The value and its type, short enough for a message."""
    return f"{short(value)} of type {type(value).__qualname__}"


def close_refused(value: object) -> None:
    """Close what is refused if it is a coroutine, which would complain that it was never awaited."""
    if inspect.iscoroutine(value):
        value.close()


def check_source(source: object, *, user: str, sync: bool = False) -> None:
    """Refuse what is not async-iterable.

    Args:
        source: what was handed over; a coroutine is closed, since nobody else will.
        user: the function that takes it, for the message.
        sync: whether it takes sync iterables, too.

    Raises:
        SourceTypeError: says what was given and what to write instead.
    """
    kind = type(source)
    if hasattr(kind, "__aiter__") or (sync and hasattr(kind, "__iter__")):
        return
    name = getattr(source, "__name__", kind.__name__)
    close_refused(source)
    if inspect.iscoroutine(source):
        hint = (
            f"Only await can run a coroutine: if {name}() is to stream, give it a `yield`; if it returns an async "
            f"generator, get that first with Runner().run({name}, ...)."
        )
    elif inspect.isasyncgenfunction(source) or (sync and inspect.isgeneratorfunction(source)):
        hint = f"It was not called: write {user}({name}(...))."
    elif hasattr(kind, "__iter__"):
        hint = "It is a sync iterable, which a plain `for` loop takes as it is."
    else:
        hint = f"Its class has no __aiter__ {'or __iter__ ' if sync else ''}method."
    raise SourceTypeError(
        f"{user}() takes an async generator, async iterator or async iterable{', or a sync iterable' if sync else ''}, "
        f"not {describe(source)}. {hint}"
    )


def check_send(source: Any) -> None:
    """Refuse a value that the source could not take, before anything is lost.

    Raises:
        UnsupportedStepError: the source has no `asend`.
    """
    if not hasattr(source, "asend"):
        raise UnsupportedStepError(
            f"{type(source).__qualname__!r} object has no attribute 'asend': it is an async iterator, not an async "
            "generator, and takes no values. Use next(), or wrap it in an async generator that does.",
            name="asend",
            obj=source,
        )


def check_context(context: object) -> None:
    """Refuse what is no context.

    Raises:
        ArgumentTypeError: says what was given and what to write instead.
    """
    if not isinstance(context, Context):
        raise ArgumentTypeError(
            f"context={describe(context)} is no context that steps could run in. Give a contextvars.Context, such as "
            "contextvars.copy_context(), or leave it out."
        )


def is_number(value: object, conversion: str) -> bool:
    """Whether a value has this conversion, and is not a bool, which has them all."""
    return not isinstance(value, bool) and hasattr(type(value), conversion)


def checked_seconds(name: str, value: Any) -> float:
    """A number of seconds, from 0 on; infinity is one.

    Args:
        name: of the argument, for the message.
        value: what was given.

    Raises:
        ArgumentTypeError: it is no number.
        ArgumentValueError: it is negative, or not a number in the sense of `math.nan`.
    """
    if not is_number(value, "__float__"):
        raise ArgumentTypeError(
            f"{name}={describe(value)} is no number of seconds, and nothing could be timed by it. Give an int or float "
            "from 0 on, or leave it out."
        )
    seconds = float(value)
    if not seconds >= 0:  # which nan is not, either
        raise ArgumentValueError(
            f"{name}={value!r} is no time that could pass. Give a number of seconds from 0 on, or leave it out."
        )
    return seconds


def checked_count(name: str, value: Any, *, least: int, otherwise: str) -> int:
    """A whole number that is large enough.

    Args:
        name: of the argument, for the message.
        value: what was given.
        least: the smallest one that means something.
        otherwise: what a smaller one does, or is.

    Raises:
        ArgumentTypeError: it is no whole number.
        ArgumentValueError: it is too small.
    """
    if not is_number(value, "__index__"):
        raise ArgumentTypeError(
            f"{name}={describe(value)} is no whole number, and counts nothing. Give an int from {least} on."
        )
    count = operator.index(value)
    if count < least:
        raise ArgumentValueError(f"{name}={count} {otherwise}. Give an int from {least} on.")
    return count


def named_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The `backend_options` as a dict; none for None.

    Raises:
        ArgumentTypeError: they are no mapping.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers need not be typed
        raise ArgumentTypeError(
            f"backend_options={describe(options)} is no mapping, and options have names. Write them as a dict, such as "
            "backend_options={'debug': True}."
        )
    return dict(options)


def copy_error(thing: object, instead: str) -> CopyError:
    """The error of copying or pickling something that exists once; `instead` says what to write."""
    return CopyError(f"cannot copy or pickle {type(thing).__name__!r} object: {instead}")


def exception_of(typ: Any, val: Any = None, tb: Any = None) -> BaseException:
    """The exception that `throw(typ, val, tb)` throws in, by CPython's rules and with its messages.

    Args:
        typ: an exception or its class.
        val: the instance, or what the class is called with.
        tb: the traceback.

    Raises:
        TypeError: nothing can be thrown, and the generator is left as it is.
    """
    if tb is not None and not isinstance(tb, TracebackType):
        raise TypeError("throw() third argument must be a traceback object")
    error: BaseException
    if isinstance(typ, BaseException):
        if val is not None:
            raise TypeError("instance exception may not have a separate value")
        error = typ
    elif not isinstance(typ, type) or not issubclass(typ, BaseException):
        name = type(cast("object", typ)).__name__
        raise TypeError(f"exceptions must be classes or instances deriving from BaseException, not {name}")
    elif isinstance(val, typ):
        error = val
    else:
        error = made_of(typ, val)
    return error if tb is None else error.with_traceback(tb)


def made_of(kind: type[BaseException], val: object) -> BaseException:
    """The exception of a class that was thrown; if it cannot be made, the error, which CPython then throws instead."""
    arguments = cast("tuple[object, ...]", val) if isinstance(val, tuple) else () if val is None else (val,)
    try:
        made = cast("object", kind(*arguments))
    except BaseException as error:
        return error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)  # without this frame
    if isinstance(made, BaseException):
        return made
    return TypeError(f"calling {kind} should have returned an instance of BaseException, not {type(made).__name__}")
