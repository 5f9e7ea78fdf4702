"""What to await next in a step of a delegating generator: the rules of PEP 828, event by event.

`Advance` is the whole of a step but for the awaiting, which is done in `delegation_step`. Its methods answer to what
came of an awaitable with the next one; SEMANTICS.md, part B, has the rules.

While generators are closed from the innermost outwards, `Advance.closing` is the position in the chain of the one that
is being closed (0 is the stepped generator itself). An item from there or below is an ignored GeneratorExit (B16).

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any, final

from asyncgen_tools.delegation_chain import ASKED, DELEGATED, IGNORED_EXIT, Level, RaiseAtDelegation, already_running
from asyncgen_tools.steps import stop_value

if TYPE_CHECKING:
    from asyncgen_tools.delegation_chain import Chain

__all__ = ("Advance", "return_from")


def return_from(level: Level, stop: StopAsyncIteration) -> None:
    """Put the return value of the ended generator on the StopAsyncIteration that tells of its end (B12, B15)."""
    if stop.args:
        # That of a body's end has none: this one was thrown in before the first step, and comes out as it is (3.12 on).
        level.fail()
        return
    value = level.finish()
    stop.args = () if value is None else (value,)
    stop.value = value  # type: ignore[attr-defined, unused-ignore]  # typeshed has it with PEP 828 (3.16)


# --- what is asked of a subgenerator; awaiting it raises whatever the lookup or the call raises


@final
class _NoAthrow:
    """The answer of a subgenerator that has no `athrow`; it carries the exception back."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def _send(sub: Any, value: object) -> Any:
    if value is None:
        return await anext(sub)
    return await sub.asend(value)  # B5: an absent one is an AttributeError in the generator


async def _throw(sub: Any, error: BaseException) -> Any:
    athrow = getattr(sub, "athrow", None)
    if athrow is None:
        return _NoAthrow(error)
    thrown = [athrow(error)]
    del error  # a local would keep it, and its traceback this frame; so would one that keeps the awaitable
    return await thrown.pop()


async def _close(sub: Any) -> None:
    aclose = getattr(sub, "aclose", None)
    if aclose is not None:
        await aclose()


def _send_to(sub: Any, value: object) -> Any:
    if type(sub) is AsyncGeneratorType:
        asend: Any = sub.asend
        return asend(value)
    return _send(sub, value).__await__()


# --- the step


@final
class Advance:
    """What to await next in a step of `root`, event by event; None says that the step has ended."""

    __slots__ = ("chain", "closes", "closing", "error", "exiting_sub", "first", "root", "stepped")

    def __init__(self, root: Level, *, closes: bool = False) -> None:
        self.root: Level = root
        #: The step is an `aclose()`: an item is refused, and GeneratorExit is its normal end.
        self.closes: bool = closes
        self.closing: int = 0
        #: The `aclose()` of a subgenerator outside of the chain is awaited.
        self.exiting_sub: bool = False
        self.error: BaseException | None = None
        #: What `run` begins with; a local of its caller's would live on in tracebacks.
        self.first: Any = None
        self.chain: Chain = root.settled_chain()
        self.stepped: Level = self.chain[-1] if self.chain else root

    def start(self, method: str, value: object, error: BaseException | None) -> Any:
        """Begin a step: send `value`, or throw `error` if there is one."""
        if self.stepped.busy:
            return self.refuse(already_running(method), error)
        self.stepped.stepper = self.root
        if error is None:
            return self.send(value)
        if isinstance(error, GeneratorExit):
            self.closing = len(self.chain)
            self.error = error
            return self.exit()
        stepped = self.stepped
        return self.throw(error) if stepped.sub is None else _throw(stepped.sub, error).__await__()

    def refuse(self, refusal: RuntimeError, error: BaseException | None) -> Any:
        """Raise the refusal where the running generator was to be used: at the caller, or in who delegates to it."""
        running = self.stepped.stepper or self.stepped
        in_use = {id(level) for level in (running, *running.settled_chain())}
        position = next(i for i, level in enumerate((self.root, *self.chain)) if id(level) in in_use)
        if position == 0:
            raise refusal
        del self.chain[position - 1 :]
        self.stepped = self.chain[-1] if self.chain else self.root
        self.stepped.stepper = self.root
        self.unlink()
        if isinstance(error, GeneratorExit):
            self.closing = len(self.chain)
            self.error = error
        return self.raise_here(refusal)

    def delegated(self, level: Level) -> Any:
        """`level`, which was being stepped, has just begun to delegate: the first step is always a next (B2).

        Without a link it has only asked which level it is (`ASKED`).
        """
        sub = level.sub
        if sub is None:
            self.move_to(level)
            return level.native.asend(level)
        if not isinstance(sub, Level):
            self.move_to(level)
            return level.first_anext() if type(sub) is AsyncGeneratorType else self.send(None)
        self.chain = self.root.settled_chain()
        self.move_to(self.chain[-1])
        return self.send(None)

    def handed_out(self, item: object) -> Any:
        """What was awaited has given `item`, which may be an item of the step, or a sign."""
        stepped = self.stepped
        if item is DELEGATED:
            stepped.delegate()
            return self.delegated(stepped)
        if item is ASKED:
            return self.delegated(stepped)
        if type(item) is _NoAthrow:
            self.unlink()
            return self.raise_here(item.error)
        if self.exiting_sub:
            self.exiting_sub = False
            self.unlink()
            return self.exit_from_delegation()
        if self.closing > 0 or (self.closing == 0 and self.closes):
            return self.ignored_exit()
        return None

    def stopped(self, stop: StopAsyncIteration) -> Any:
        """StopAsyncIteration came out: a native generator has ended, or a subgenerator says that it has."""
        stepped = self.stepped
        if stepped.sub is not None:
            if self.exiting_sub:
                return self.failed(stop)
            self.unlink()
            return self.send(stop_value(stop))
        if not self.chain:
            return_from(stepped, stop)
            return None
        return self.ended(stepped.finish())

    def failed(self, error: BaseException) -> Any:
        """What was awaited has raised another exception."""
        stepped = self.stepped
        if stepped.sub is not None:
            self.exiting_sub = False
            self.unlink()
        else:
            stepped.fail()
            if not self.chain:
                return None
            if self.closing == len(self.chain):
                if isinstance(error, GeneratorExit):
                    return self.ended(None)
                self.closing -= 1
            self.pop()
        assert error.__traceback__ is not None  # the frame of `run` at least, which caught it
        error.__traceback__ = error.__traceback__.tb_next
        return self.raise_here(error)

    def ended(self, value: object) -> Any:
        """The innermost generator has ended; go on with the one above it, which is sent the value or closed in turn."""
        closed = self.closing == len(self.chain)
        self.pop()
        if not closed:
            return self.send(value)
        self.closing -= 1
        return self.exit_from_delegation()

    def exit(self) -> Any:
        """Close the innermost generator, or first what it delegates to outside of the chain (B7)."""
        stepped = self.stepped
        if stepped.sub is not None:
            self.exiting_sub = True
            return _close(stepped.sub).__await__()
        if self.chain and stepped.finished:
            return self.ended(None)
        return self.throw(self.exit_error())

    def exit_from_delegation(self) -> Any:
        """Raise GeneratorExit in the innermost generator, whose subgenerator has just been closed."""
        return self.raise_here(self.exit_error())

    def exit_error(self) -> BaseException:
        """What is raised in the innermost generator to close it; in the outermost one what the caller has thrown."""
        if self.chain or self.error is None:
            return GeneratorExit()
        error, self.error = self.error, None
        return error

    def ignored_exit(self) -> Any:
        """A generator that is being closed has yielded: an error in who closes it, the one above it or the caller."""
        if self.closing == 0:
            raise RuntimeError(IGNORED_EXIT)
        self.closing -= 1
        del self.chain[self.closing :]
        self.move_to(self.chain[-1] if self.chain else self.root)
        self.unlink()
        return self.raise_here(RuntimeError(IGNORED_EXIT))

    def send(self, value: object) -> Any:
        """Send a value to the innermost generator, or to what it delegates to outside of the chain."""
        stepped = self.stepped
        return stepped.first_call("asend", value) if stepped.sub is None else _send_to(stepped.sub, value)

    def throw(self, error: BaseException) -> Any:
        """Throw an exception into the innermost generator, which does not delegate."""
        return self.stepped.first_call("athrow", error)

    def raise_here(self, error: BaseException) -> Any:
        """Raise an exception in the innermost generator, at the delegation that has just been given up."""
        return self.stepped.native.asend(RaiseAtDelegation(error))

    def pop(self) -> None:
        """Leave the innermost generator for the one above it."""
        self.chain.pop()
        self.move_to(self.chain[-1] if self.chain else self.root)
        self.unlink()

    def unlink(self) -> None:
        """The innermost generator delegates no more; nothing here may keep the subgenerator alive."""
        self.stepped.delegate_no_more()
        self.chain.asend = self.chain.innermost = None

    def move_to(self, level: Level) -> None:
        """Step `level` from now on."""
        self.stepped.stepper = None
        self.stepped = level
        level.stepper = self.root
