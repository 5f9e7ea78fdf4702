"""The chain of generators that delegate to one another, and how its innermost one is found and told from the others.

Theory of operation. A generator that delegates takes no part in a step until its subgenerator ends, so nothing needs to
pass through it: whoever steps the outermost generator steps the innermost one directly, at the same cost for any depth.

* **How a delegation is noticed.** An awaitable inside an async generator can suspend it as `yield` does, if what it
  hands out is the wrapper in which CPython marks the items of async generators. `yield_from` hands out one such item,
  `DELEGATED`. If it arrives, and is not kept by something that took the first step of the `await` for itself, the
  generator is linked to its subgenerator. It is suspended like after any item, so CPython itself sends the result into
  it. (A marker that is not wrapped would do too, but each native awaitable must then be resumed by hand.)
* **How a delegation finds its generator.** The frame that steps a generator stands right above its body's in the stack,
  and knows the level. Not so while an exception is thrown in where the body waits, as asyncio does to cancel: CPython
  leaves that frame out then. So `yield_from` asks: it hands out `ASKED`, and the level is sent in.
* **Links and the chain.** What a generator delegates to is `Level.sub`, the truth. The list of levels from the stepped
  generator down to its innermost one is only a cache (`Chain`), because a subgenerator may be shared and moved on by
  somebody else. While no link anywhere has changed, it is right as it is. Otherwise one comparison shows whether it
  still is: a level goes on delegating until its subgenerator ends, so if the last link holds, all those above hold. A
  subgenerator that is given up unfinished (it was in use elsewhere, or refused to close) breaks that reasoning; these
  rare events outdate every cache. (Walking the links in each step would be simpler, and cost O(depth) per item.)
* **Who runs.** A step marks the innermost level with its root (`Level.stepper`) and moves the mark along. Whether any
  generator is running is asked of the innermost level of its chain.
* **Finalisation.** The native generators never meet the hooks of the event loop: `first_call` keeps them away, and the
  outermost delegating object is registered instead. What is delegated to is left to whoever delegates (`Level.held`),
  so that it is closed first and only once, also when the garbage collector finds all of them together.

This module steps nothing and knows no event loop. The step is in `delegation_step`, the object that users get in
`delegating_generator`.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import contextlib
import sys
import types
import weakref
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from typing import TYPE_CHECKING, Any, Final, final

from asyncgen_tools.errors import MissingLibraryError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from typing import ParamSpec

    Parameters = ParamSpec("Parameters")

__all__ = (
    "ASKED",
    "DELEGATED",
    "IGNORED_EXIT",
    "Chain",
    "Level",
    "RaiseAtDelegation",
    "already_running",
    "delegating_codes",
    "enclosing_level",
    "link_changes",
    "steps_generators",
    "wrapped",
)

ASKED: Final = object()
DELEGATED: Final = object()

IGNORED_EXIT: Final = "async generator ignored GeneratorExit"


@final
class RaiseAtDelegation:
    """Sent into a generator instead of a result: the exception to raise where it delegates.

    Thrown by `athrow()`, its context would be replaced by what the generator is handling there (B11).
    """

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error: BaseException | None = error

    def taken(self) -> BaseException:
        """The exception, once: CPython keeps what was sent for as long as the awaitable lives."""
        error, self.error = self.error, None
        assert error is not None
        return error


def wrapped(item: object) -> object:
    """The form in which an async generator's frame hands out an item, so that an `await` can hand one out too.

    CPython wraps the items of async generators to tell them from what an `await` hands to the event loop. The wrapper
    has no constructor; the frame of an async generator that is run as a plain one gives it.
    """

    async def template() -> AsyncGenerator[object, None]:
        yield item

    code = template.__code__
    flags = code.co_flags & ~CO_ASYNC_GENERATOR | CO_GENERATOR
    plain = types.FunctionType(code.replace(co_flags=flags), {}, closure=template.__closure__)
    value: object = next(plain())
    if type(value).__name__ != "async_generator_wrapped_value":  # pragma: no cover  # another interpreter
        raise MissingLibraryError(
            f"delegation does not know this interpreter: the frame of an async generator hands out {value!r}, where "
            "CPython's hands out an async_generator_wrapped_value. Use CPython, or PEP 828's own `yield from` (3.16)."
        )
    return value


def already_running(method: str) -> RuntimeError:
    """CPython's refusal to use an async generator that is running; `method` is anext, athrow or aclose."""
    return RuntimeError(f"{method}(): asynchronous generator is already running")


def _left_to_owner(_native: AsyncGenerator[Any, Any]) -> None:
    """The finalizer hook of a native generator inside a delegating one: the delegating one sees to it."""


def _register(generator: Any) -> None:
    """Let the event loop know of a generator, as CPython does when one is first iterated."""
    firstiter = sys.get_asyncgen_hooks().firstiter
    if firstiter is not None:
        firstiter(generator)


@final
class _Hold:
    """The finalizer hook of a native subgenerator: the event loop's own, unless somebody delegates to it."""

    __slots__ = ("active", "finalizer", "met")

    def __init__(self, finalizer: Callable[[Any], object] | None) -> None:
        self.finalizer: Callable[[Any], object] | None = finalizer
        self.active: bool = True
        #: Whether the generator has this hook; it has the event loop's own if somebody has iterated it before.
        self.met: bool = False

    def meet(self, _native: AsyncGenerator[Any, Any]) -> None:
        """The firstiter hook that goes with it."""
        self.met = True

    def __call__(self, native: AsyncGenerator[Any, Any]) -> None:
        if self.active:
            return
        if self.finalizer is not None:
            self.finalizer(native)
            return
        # without a loop CPython closes it on the spot
        closing: Any = native.aclose()
        with contextlib.suppress(StopIteration):
            closing.send(None)
            raise RuntimeError(IGNORED_EXIT)


#: Another object after each change of a link, and after each subgenerator that was given up unfinished.
link_changes: object = object()
_given_up: object = object()


@final
class Chain(list["Level"]):
    """The levels below the generator that is stepped, innermost last: a cache over their links."""

    __slots__ = ("asend", "innermost", "made_after", "settled_after")

    def __init__(self) -> None:
        self.made_after: object = _given_up
        self.settled_after: object | None = None
        #: The last level; None if there is none, which says the root without a cycle.
        self.innermost: Level | None = None
        #: `asend` of the native generator that a step of the root reaches, when the root delegates, has met the hooks,
        #: and the step does reach a native one.
        self.asend: Callable[[Any], Any] | None = None

    def settle(self, root: Level) -> None:
        """Bring it up to date; this costs what has changed since the last time."""
        while self and (self[-2] if len(self) > 1 else root).sub is not self[-1]:
            self.pop()
        inner = self[-1] if self else root
        sub = inner.sub
        while isinstance(sub, Level):
            self.append(sub)
            inner, sub = sub, sub.sub
        self.innermost = inner if self else None
        if root.sub is None or not root.registered:
            self.asend = None
        elif sub is None:
            self.asend = inner.native.asend
        else:
            self.asend = sub.asend if type(sub) is types.AsyncGeneratorType else None
        self.settled_after = link_changes


class Level:
    """What delegation knows of one generator: its native generator, what it delegates to, and how it ended."""

    __slots__ = (
        "chain",
        "closed",
        "direct",
        "failed",
        "finalizer",
        "held",
        "hold",
        "native",
        "pending",
        "recorded",
        "registered",
        "returned",
        "stepper",
        "sub",
        "touched",
    )

    def __init__(self, native: types.AsyncGeneratorType[Any, Any]) -> None:
        self.native: types.AsyncGeneratorType[Any, Any] = native
        #: The native generator, while a step may go straight to it: registered and not delegating.
        self.direct: Any = None
        #: An async iterator, which may be a level; None while nothing is delegated to.
        self.sub: Any = None
        #: What a `yield_from` that has begun is going to delegate to; one that is never handed on leaves it here.
        self.pending: Any = None
        self.chain: Chain | None = None
        self.stepper: Level | None = None
        self.finalizer: Callable[[Any], object] | None = None
        self.hold: _Hold | None = None
        self.held: int = 0
        self.recorded: object = None
        self.touched: bool = False
        self.registered: bool = False
        self.closed: bool = False
        self.returned: bool = False
        self.failed: bool = False

    @property
    def stepped(self) -> Level:
        """Itself: a step that goes straight to the native generator has this level as its innermost."""
        return self

    # --- the hooks

    def first_call(self, method: str, argument: object) -> Any:
        """Call a method of the native generator, which meets the asyncgen hooks only the first time."""
        call = getattr(self.native, method)
        if self.touched:
            return call(argument)
        hooks = sys.get_asyncgen_hooks()
        self.finalizer = hooks.finalizer
        sys.set_asyncgen_hooks(None, _left_to_owner)
        try:
            self.touched = True
            return call(argument)
        finally:
            sys.set_asyncgen_hooks(*hooks)

    def first_anext(self) -> Any:
        """Start on a native subgenerator; one that nobody has iterated yet is kept from the hooks."""
        hooks = sys.get_asyncgen_hooks()
        hold = _Hold(hooks.finalizer)
        sys.set_asyncgen_hooks(hold.meet, hold)
        try:
            return anext(self.sub)
        finally:
            sys.set_asyncgen_hooks(*hooks)
            if hold.met:
                self.hold = hold

    def register(self) -> None:
        """Meet the hooks of the event loop, as a native generator does when it is first iterated."""
        self.registered = True
        self.chain = None  # which may hold that it was not
        _register(self)

    # --- the links

    def go_direct(self) -> None:
        """Let steps go straight to the native generator: it has met no hooks, this has, and nothing is delegated to."""
        self.direct = self.native

    def delegate(self) -> None:
        """Link this generator to its subgenerator: `DELEGATED` has arrived."""
        global link_changes  # noqa: PLW0603  # one word that every cache compares
        link_changes = object()
        iterator, self.pending = self.pending, None
        self.sub = iterator
        self.direct = None
        if isinstance(iterator, Level):
            iterator.held += 1

    def delegate_no_more(self) -> None:
        """Take the link away, because the subgenerator has ended or was given up."""
        global link_changes, _given_up  # noqa: PLW0603  # as above
        link_changes = object()
        sub, self.sub = self.sub, None
        self.direct = self.native if self.registered else None
        hold, self.hold = self.hold, None
        if isinstance(sub, Level):
            sub.held -= 1
            if not sub.finished:
                _given_up = object()
                if not sub.held and not sub.registered:
                    sub.register()  # nobody sees to it any more
        elif hold is not None:
            hold.active = False
            if sub.ag_frame is not None:
                _register(sub)

    def settled_chain(self) -> Chain:
        """The chain below this level, up to date."""
        chain = self.chain
        if chain is None or chain.made_after is not _given_up:
            chain = self.chain = Chain()
        if chain.settled_after is not link_changes:
            chain.settle(self)
        return chain

    @property
    def innermost(self) -> Level:
        """The level that a step of this generator reaches."""
        chain = self.settled_chain()
        return chain[-1] if chain else self

    # --- how it stands

    @property
    def finished(self) -> bool:
        """Whether the body has ended, in whatever way."""
        return self.native.ag_frame is None

    @property
    def busy(self) -> bool:
        """Whether a step is under way at this very level."""
        return self.stepper is not None or self.native.ag_running

    def finish(self) -> object:
        """Note that the body has ended normally; gives its return value, the first time only."""
        if self.returned or self.failed:
            return None
        self.returned = True
        return self.recorded

    def fail(self) -> None:
        """Note that an exception has come out of the native generator, which ends it, unless it was a refusal."""
        if not self.returned and self.finished:
            self.failed = True


#: The frames that step native generators; each has a local `stepping` whose `stepped` is the level being stepped.
_stepping_codes: set[types.CodeType] = set()


def steps_generators(
    function: Callable[Parameters, Generator[Any, Any, Any]],
) -> Callable[Parameters, Generator[Any, Any, Any]]:
    """Mark a function whose frame steps native generators and has a local `stepping`."""
    _stepping_codes.add(function.__code__)
    return function


#: The bodies of `@delegating` functions, by id: equal code objects may be several, and not live as long.
delegating_codes: weakref.WeakValueDictionary[int, types.CodeType] = weakref.WeakValueDictionary()


def enclosing_level() -> Level | str | None:
    """The delegating generator in whose body the caller is awaited, or what stands there instead.

    None if it is one, but the stack does not tell which: hand out `ASKED`, and the level is sent in.

    Only frames that an `await` goes through may lie between: coroutines, and the `send` or `throw` of an awaitable
    written in Python. Anything else, such as an event loop, would never hand the delegation on.
    """
    # Mostly the caller is awaited by the body itself. Looking past that frame saves memory for as long as the
    # generator lives: a frame that has been looked at becomes an object.
    try:
        stepping = sys._getframe(3)  # pyright: ignore[reportPrivateUsage]  # documented, for CPython
    except ValueError:  # pragma: no cover  # so few frames, nothing can stand above; in a thread that is not traced
        return "no async generator"
    if stepping.f_code in _stepping_codes:
        level: Level = stepping.f_locals["stepping"].stepped
        # the frame of `run` is left out after a throw, and the one above it may have stepped an inner level that ended
        if level.sub is None and level.native.ag_running:
            return level
    frame: types.FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:  # pragma: no branch  # None is below a thread that is not traced
        code = frame.f_code
        if code.co_flags & CO_ASYNC_GENERATOR:
            back = frame.f_back
            if back is not None and back.f_code in _stepping_codes:
                level = back.f_locals["stepping"].stepped
                if level.native.ag_frame is frame:
                    return level
            if id(code) in delegating_codes:
                return None
            return f"the async generator {code.co_qualname}(), which is not decorated with @delegating"
        if not code.co_flags & (CO_COROUTINE | CO_GENERATOR) and code.co_name not in ("send", "throw", "__next__"):
            break
        frame = frame.f_back
    return "no async generator"
