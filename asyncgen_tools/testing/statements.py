"""Statements of generator bodies as data, and their source in three renderings.

The renderings do the same and write down the same notes, so that their traces can be compared:

* "sync": `def`, with `yield from`;
* "async": CPython's own async generators; a delegation is PEP 828's expansion of `yield from`, written out. Only the
  return values of subgenerators are seen, because a native async generator has none for others;
* "delegating": `@delegating` functions with `yield_from` and `set_return_value`.

What differs between them is in one table, `DIALECTS`. Nothing here runs a generator.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, final

__all__ = (
    "Await",
    "Body",
    "Delegate",
    "Loop",
    "Raise",
    "Rendering",
    "Return",
    "Statement",
    "TryExcept",
    "TryFinally",
    "With",
    "Yield",
    "source_of",
)

Rendering: TypeAlias = Literal["sync", "async", "delegating"]
#: The name under which programs raise and catch StopIteration, or in async renderings StopAsyncIteration.
STOP: Final = "StopIteration"


@final
@dataclass(frozen=True, slots=True)
class Yield:
    """Yield a value, and note what is sent."""

    value: int = 0


@final
@dataclass(frozen=True, slots=True)
class Await:
    """Await a checkpoint; in a sync rendering, nothing."""


@final
@dataclass(frozen=True, slots=True)
class Raise:
    """Raise an error, by the name of a built-in class; StopIteration is StopAsyncIteration in async renderings."""

    error: str = "ValueError"


@final
@dataclass(frozen=True, slots=True)
class Return:
    """Return a value."""

    value: int | None = None


@final
@dataclass(frozen=True, slots=True)
class TryExcept:
    """Catch errors of a class, named as for `Raise`, and note them."""

    body: Body = ()
    error: str = "ValueError"
    handler: Body = ()


@final
@dataclass(frozen=True, slots=True)
class TryFinally:
    """Note that cleanup begins, and clean up."""

    body: Body = ()
    cleanup: Body = ()


@final
@dataclass(frozen=True, slots=True)
class Loop:
    """Do it several times."""

    times: int = 2
    body: Body = ()


@final
@dataclass(frozen=True, slots=True)
class With:
    """Hold a context manager that notes its entry and its exit, with the error; `async with` in async renderings."""

    body: Body = ()


@final
@dataclass(frozen=True, slots=True)
class Delegate:
    """Delegate to a subgenerator with this body, and note its return value."""

    body: Body = ()


Statement: TypeAlias = Yield | Await | Raise | Return | TryExcept | TryFinally | Loop | With | Delegate
Body: TypeAlias = tuple[Statement, ...]


@final
@dataclass(frozen=True, slots=True)
class Dialect:
    """What is written differently in a rendering."""

    head: tuple[str, ...]
    keyword: str
    checkpoint: str
    stop: str
    returned: tuple[str, ...]
    nothing: tuple[str, ...]
    delegation: tuple[str, ...]


#: PEP 828's; a native generator leaves its return value in the list that it is called with.
EXPANSION: Final = """\
result = []
sub = {name}(result)
try:
    item = await anext(sub)
except StopAsyncIteration:
    pass
else:
    while True:
        try:
            sent = yield item
        except GeneratorExit as exit:
            await sub.aclose()
            raise exit
        except BaseException as error:
            try:
                item = await sub.athrow(error)
            except StopAsyncIteration:
                break
        else:
            try:
                item = await (anext(sub) if sent is None else sub.asend(sent))
            except StopAsyncIteration:
                break
note(result[0] if result else None)"""
DIALECTS: Final[dict[Rendering, Dialect]] = {
    "sync": Dialect(
        head=("def {name}():",),
        keyword="",
        checkpoint="checkpoint()",
        stop="StopIteration",
        returned=("return {value}",),
        nothing=("return",),
        delegation=("note((yield from {name}()))",),
    ),
    "async": Dialect(
        head=("async def {name}(returned):",),
        keyword="async ",
        checkpoint="await checkpoint()",
        stop="StopAsyncIteration",
        returned=("returned[:] = [{value}]", "return"),
        nothing=("returned.clear()", "return"),
        delegation=tuple(EXPANSION.splitlines()),
    ),
    "delegating": Dialect(
        head=("@delegating", "async def {name}():"),
        keyword="async ",
        checkpoint="await checkpoint()",
        stop="StopAsyncIteration",
        returned=("await set_return_value({value})", "return"),
        nothing=("await set_return_value(None)", "return"),
        delegation=("note(await yield_from({name}()))",),
    ),
}
INDENT: Final = "    "


@final
class Writer:
    """Writes the functions of a program, each subgenerator as one of its own."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect: Dialect = dialect
        self.functions: list[list[str]] = []

    def function(self, body: Body) -> str:
        """Write a function; give its name."""
        name = f"part{len(self.functions)}" if self.functions else "program"
        lines: list[str] = []
        self.functions.append(lines)
        block = list(self.block(body))
        if not any(re.search(r"\byield\b", line) for line in block):
            block.insert(0, f"{INDENT}if False: yield")
        if any(line.startswith(INDENT * 2) and line.endswith("return") for line in block):
            # A return that `finally` overrode, or an error on the way out, has left its value.
            block += [INDENT + line for line in self.dialect.nothing]
        lines += [*(line.format(name=name) for line in self.dialect.head), *block]
        return name

    def block(self, body: Body) -> list[str]:
        """The indented lines of some statements."""
        lines = [line for statement in body for line in self.statement(statement)]
        return [INDENT + line for line in lines or ["pass"]]

    def statement(self, statement: Statement) -> list[str]:
        """The lines of one statement."""
        dialect = self.dialect
        match statement:
            case Yield(value):
                return [f"note((yield {value}))"]
            case Await():
                return [dialect.checkpoint]
            case Raise(error):
                return [f"raise {self.error(error)}('raised')"]
            case Return(None):
                return [*dialect.nothing]
            case Return(value):
                return [line.format(value=value) for line in dialect.returned]
            case TryExcept(body, error, handler):
                caught = [f"{INDENT}note(error)", *(self.block(handler) if handler else ())]
                return ["try:", *self.block(body), f"except {self.error(error)} as error:", *caught]
            case TryFinally(body, cleanup):
                cleaning = [f"{INDENT}note('finally')", *(self.block(cleanup) if cleanup else ())]
                return ["try:", *self.block(body), "finally:", *cleaning]
            case Loop(times, body):
                return [f"for _ in range({times}):", *self.block(body)]
            case With(body):
                return [f"{dialect.keyword}with scope():", *self.block(body)]
            case Delegate(body):  # pragma: no branch  # there are no more
                name = self.function(body)
                return [line.format(name=name) for line in dialect.delegation]

    def error(self, name: str) -> str:
        """The name of an error class in this rendering."""
        return self.dialect.stop if name == STOP else name


def source_of(body: Body, rendering: Rendering) -> str:
    """The source of a function `program` with this body, and of its subgenerators."""
    writer = Writer(DIALECTS[rendering])
    writer.function(body)
    return "\n".join(line for function in writer.functions for line in function)
