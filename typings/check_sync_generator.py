"""A SyncGenerator is a Generator of the same three types, whatever it is used for."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from types import CodeType, FrameType
from typing import Any, assert_type

from asyncgen_tools import SyncGenerator


def is_a_generator(items: SyncGenerator[int, str, bytes]) -> None:
    """Each operation has the type that it has on a Generator, and so has each attribute."""
    assert_type(next(items), int)
    assert_type(iter(items), Generator[int, str, bytes])
    assert_type(items.send("value"), int)
    assert_type(items.throw(ValueError), int)
    assert_type(items.throw(ValueError("value")), int)
    assert_type(items.gi_running, bool)
    assert_type(items.gi_suspended, bool)
    assert_type(items.gi_frame, FrameType | None)
    assert_type(items.gi_code, CodeType)
    assert_type(items.gi_yieldfrom, object)
    assert_type(list(items), list[int])
    items.close()


def passes_for_one(items: SyncGenerator[int, str, bytes]) -> None:
    """It may be handed to whoever wants a generator, an iterator, an iterable, or something to close."""
    taken: tuple[
        Generator[int, str, bytes],
        Iterator[int],
        Iterable[int],
        AbstractContextManager[SyncGenerator[int, str, bytes], None],
    ] = (items, items, items, items)
    print(taken)


def delegates(items: SyncGenerator[int, str, bytes]) -> Generator[int, str, None]:
    """`yield from` gives the return value."""
    result = yield from items
    assert_type(result, bytes)


def closes_itself(items: SyncGenerator[int, None, None]) -> None:
    """A `with` block gives the generator itself, and swallows no exception."""
    with items as same:
        assert_type(same, SyncGenerator[int, None, None])
        raise ValueError
    print("never reached")  # type: ignore[unreachable]


def refused(items: SyncGenerator[int, str, bytes]) -> None:
    """What a Generator refuses is refused."""
    items.send(1)  # type: ignore[arg-type]
    items.throw("error")  # type: ignore[arg-type]
    items.gi_running = True  # type: ignore[misc]
    passes_for_strings(items)  # type: ignore[arg-type]


class Longer(SyncGenerator[int, None, None]):  # type: ignore[misc]  # final
    """A SyncGenerator cannot be subclassed."""


def passes_for_strings(iterable: Iterable[str]) -> None:
    """Takes what it is not."""
    print(iterable)


def not_async(items: SyncGenerator[int, None, None]) -> Any:
    """It is for synchronous code: an async generator that is driven is no longer one."""
    return aiter(items)  # type: ignore[arg-type]
