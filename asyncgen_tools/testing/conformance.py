"""check_async_generator: does this behave as an async generator should, on each event loop?

It takes a factory, makes a fresh generator for each small, labelled experiment, each in a fresh event loop, and raises
plain AssertionErrors, in the manner of `trio.testing.check_one_way_stream`. The checks are in
`asyncgen_tools.testing.checks`.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, final

from asyncgen_tools.arguments import check_source, checked_count, close_refused, describe
from asyncgen_tools.errors import ArgumentValueError, ConformanceError, SourceTypeError, UncheckableError
from asyncgen_tools.steps import Outcome, Raised, Yielded
from asyncgen_tools.testing.backends import Backend, get_backend
from asyncgen_tools.testing.checks import CHECKS
from asyncgen_tools.testing.checks.trial import NotApplicable, Subject, Trial
from asyncgen_tools.testing.harness.bounds import make_harness, refuse_running_loop
from asyncgen_tools.testing.harness.watchdog import Watchdog
from asyncgen_tools.testing.harness.watching import definition_of, error_place

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

__all__ = ("CHECK_CODES", "Verdict", "Wording", "check_async_generator", "chosen_checks", "examine")

Factory: TypeAlias = Callable[[], AsyncIterable[Any]]

#: The code of every check; those that must be asked for are `wrong-task` and `no-checkpoint`.
CHECK_CODES: Final = tuple(CHECKS)
USER: Final = "check_async_generator"


@final
@dataclass(frozen=True, slots=True)
class Wording:
    """What messages call that through which the checks are run, and what they tell to write there.

    Attributes:
        user: its name.
        factory: how to hand over a generator that needs arguments; the name of the function takes the place of `{}`.
        backends: how to choose the backends.
    """

    user: str = USER
    factory: str = f"Write {USER}(lambda: {{}}(...)) with the call that makes a generator."
    backends: str = "Choose the backends by `backends=`."


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check says of one generator on one backend.

    Attributes:
        code: of the check.
        backend: the row of the kit.
        result: "passed", "failed", or "skipped" where there was nothing to look at.
        error: why it failed.
        reason: why it was skipped.
    """

    code: str
    backend: str
    result: Literal["passed", "failed", "skipped"]
    error: ConformanceError | None = None
    reason: str | None = None


def check_async_generator(
    make: Factory,
    /,
    *,
    backends: Sequence[str | Backend] = ("asyncio",),
    checks: Collection[str] | None = None,
    also: Collection[str] = (),
    skip: Collection[str] = (),
    max_yields: int = 4,
    timeout: float = 5.0,
) -> tuple[Verdict, ...]:
    """Check that what a factory gives behaves as an async generator should, on each of some backends.

    Args:
        make: gives a new, equal async generator, async iterator or async iterable each time. An async generator
            function without parameters is one; for others, write `lambda: function(...)`.
        backends: the rows to run on: "asyncio", "trio", "bare", "uvloop", "level".
        checks: the codes of the checks to run; by default, all but `wrong-task` and `no-checkpoint`.
        also: codes to run beside those.
        skip: codes not to run.
        max_yields: how many yields each check looks at. A generator that has more is closed after them.
        timeout: how many seconds one step may take. It is then cancelled and reported.

    Returns:
        A verdict for each check on each backend; none of them failed.

    Raises:
        ConformanceError: a check rejects the generator; it names the check, the step and the line (AssertionError).
        ExceptionGroup: of those, if there are several.
        HangError: a step took longer than `timeout`; says where it hangs (AssertionError, TimeoutError).
        UncheckableError: the generator yields nothing, its first step raises, or the next one is not like it
            (ValueError).
        SourceTypeError: `make` is no factory of async iterables (TypeError).
        ArgumentValueError: there is no such check, or a number leaves nothing to do (ValueError).
        UnknownBackendError: there is no such backend (LookupError).
        MissingLibraryError: its library is not installed (ImportError).
        RunningLoopError: an event loop is running in this thread (RuntimeError).

    >>> async def numbers():
    ...     yield 1
    ...     yield 2
    >>> verdicts = check_async_generator(numbers)
    >>> [verdict.code for verdict in verdicts if verdict.result == "skipped"]
    ['reentrancy']
    """
    if not backends:
        raise ArgumentValueError(
            f'{USER}() was given no backends, and would check nothing. Name some, as in backends=["asyncio", "trio"], '
            "or leave them out for asyncio."
        )
    verdicts = tuple(
        examine(
            make,
            backends=[get_backend(backend) if isinstance(backend, str) else backend for backend in backends],
            codes=chosen_checks(checks, also=also, skip=skip),
            max_yields=max_yields,
            timeout=timeout,
        )
    )
    errors = [verdict.error for verdict in verdicts if verdict.error is not None]
    if len(errors) > 1:
        raise ExceptionGroup(f"{len(errors)} checks reject the async generator", errors)
    if errors:
        raise errors[0]
    return verdicts


def chosen_checks(
    checks: Collection[str] | None, *, also: Collection[str] = (), skip: Collection[str] = ()
) -> tuple[str, ...]:
    """The codes of the checks to run, in their order.

    Raises:
        ArgumentValueError: there is no such check, or none is left (ValueError).
    """
    for code in (*(checks or ()), *also, *skip):
        if code not in CHECKS:
            raise ArgumentValueError(f"There is no check {code!r}. The checks are: {', '.join(CHECKS)}.")
    wanted = {code for code, check in CHECKS.items() if not check.opt_in} if checks is None else set(checks)
    chosen = tuple(code for code in CHECKS if code in (wanted | set(also)) - set(skip))
    if not chosen:
        raise ArgumentValueError(
            f"{USER}() would run nothing: checks, without those to skip, names no check. Name some of these, or leave "
            f"both out: {', '.join(CHECKS)}."
        )
    return chosen


def examine(
    make: Factory,
    *,
    backends: Sequence[Backend],
    codes: Sequence[str],
    max_yields: int,
    timeout: float,
    wording: Wording = Wording(),
) -> Iterator[Verdict]:
    """Run checks one after the other, and give each verdict as soon as it is known.

    Args:
        make: the factory.
        backends: the rows, each of them installed.
        codes: of the checks.
        max_yields: how many yields each check looks at.
        timeout: how many seconds one step may take.
        wording: of messages.

    Raises:
        HangError, UncheckableError, SourceTypeError, MissingLibraryError, RunningLoopError: as `check_async_generator`.
    """
    check_factory(make, wording)
    max_yields = checked_count("max_yields", max_yields, least=1, otherwise="lets no yield be looked at")
    refuse_running_loop(USER)
    for backend in backends:
        with Watchdog(timeout) as watchdog:
            subject = surveyed(make, backend, watchdog, max_yields, wording)
            for code in codes:
                check = CHECKS[code]
                trial = Trial(subject, code, check.advice)
                try:
                    check.function(trial)
                except ConformanceError as error:
                    yield Verdict(code, backend.id, "failed", error)
                except NotApplicable as reason:
                    yield Verdict(code, backend.id, "skipped", reason=str(reason))
                else:
                    yield Verdict(code, backend.id, "passed")


def check_factory(make: object, wording: Wording) -> None:
    """Refuse what gives no fresh async iterable at each call.

    Raises:
        SourceTypeError: says what was given and what to write instead.
    """
    if inspect.iscoroutinefunction(make):
        raise SourceTypeError(
            f"{wording.user}() takes a function that gives an async generator, not the coroutine function "
            f"{describe(make)}: it gives a coroutine, and has no `yield`. If it returns an async generator, write an "
            "async generator function that iterates that."
        )
    if callable(make):
        return
    close_refused(make)
    name = getattr(make, "__name__", type(make).__name__)
    raise SourceTypeError(
        f"{USER}() takes a function that makes the generator, not {describe(make)}, because each experiment needs a "
        f"new one. Write {USER}({name}) or {USER}(lambda: {name}(...)), with the function instead of what it gave."
    )


def surveyed(make: Factory, backend: Backend, watchdog: Watchdog, max_yields: int, wording: Wording) -> Subject:
    """What there is to know of the generators of a factory before the checks begin.

    Raises:
        UncheckableError: there is nothing to check.
        SourceTypeError: the factory gives something else, or the same object twice.
    """
    first, second = made(make, wording), made(make, wording)
    if first is second:
        raise SourceTypeError(
            f"{wording.user}(): make() gave the same {describe(first)} twice, and each experiment needs a new one. "
            "Make the generator inside of the function."
        )
    name = getattr(first, "__qualname__", None) or type(first).__qualname__
    subject = Subject(make, name, backend, make_harness(backend), watchdog, max_yields, defined=definition_of(first))
    iterator = aiter(first)
    subject.methods = frozenset(method for method in ("asend", "athrow", "aclose") if hasattr(iterator, method))
    trial = Trial(subject, "survey", "The checks cannot begin.")
    trial.kept += [iterator, aiter(second)]
    del first, second, iterator
    trial.run(partial(survey, trial, wording))
    return subject


def made(make: Factory, wording: Wording) -> Any:
    """What the factory gives.

    Raises:
        SourceTypeError: it is not async-iterable, or the factory cannot be called without arguments.
        UncheckableError: the factory raised something else.
    """
    try:
        source: Any = make()
    except TypeError as exc:
        name = getattr(make, "__name__", "")
        raise SourceTypeError(
            f"{wording.user}() calls the factory without arguments, which raised {exc!r}. "
            + wording.factory.format(name if name.isidentifier() else "function")
        ) from exc
    except Exception as exc:
        raise UncheckableError(
            f"The factory raised {exc!r}, so that there is nothing to check. Let it do its work in the generator's "
            "body."
        ) from exc
    check_source(source, user=wording.user)
    return source


async def survey(trial: Trial, wording: Wording) -> None:
    """Step a generator through its yields."""
    subject = trial.subject
    source = trial.kept[0]
    ending: Outcome | None = None
    while ending is None and subject.yields <= subject.max_yields:
        taken = await trial.step(source)
        subject.suspensions.append(taken.watch.suspensions)
        if isinstance(taken.outcome, Yielded):
            subject.yields += 1
        else:
            ending = taken.outcome
    await trial.finish(source)
    subject.ended = ending is not None
    subject.yields = min(subject.yields, subject.max_yields)
    if subject.yields:
        return
    if isinstance(ending, Raised):
        error = ending.error
        raise UncheckableError(
            f"The first step of {subject.name} raised {error!r} on {subject.backend.id}, at {error_place(error)}, so "
            f"that no check can begin. Is it written for another event loop? {wording.backends}"
        ) from error
    raise UncheckableError(
        f"{subject.name} ended without yielding anything on {subject.backend.id}, so that there is nothing to check. "
        "Let the factory call it with arguments with which it yields."
    )
