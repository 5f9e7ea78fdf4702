"""Hypothesis strategies: generator programs, operations on generators, and a state machine for generators of your own.

The values are those of `asyncgen_tools.testing.programs` and `asyncgen_tools.steps`. Hypothesis loads this module by
its entry point, so that `from_type` knows the library's types; nothing else of the library imports hypothesis.

PYTEST_DONT_REWRITE
"""

from __future__ import annotations

import functools
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, final

from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule

from asyncgen_tools.errors import TraceError
from asyncgen_tools.steps import CLOSE, NEXT, Operation, Step
from asyncgen_tools.testing.differences import assert_same_trace, is_refused
from asyncgen_tools.testing.programs import Program, Script
from asyncgen_tools.testing.statements import (
    Await,
    Body,
    Delegate,
    Loop,
    Raise,
    Return,
    Statement,
    TryExcept,
    TryFinally,
    With,
    Yield,
)
from asyncgen_tools.testing.traces import Failed, Tape, changes, finish

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence
    from contextvars import Context

    from hypothesis.strategies import SearchStrategy

    from asyncgen_tools.testing.traces import TraceStep

__all__ = ("GeneratorStateMachine", "Worked", "operations", "programs", "scripts")

#: What programs raise. StopIteration is StopAsyncIteration in async renderings.
RAISED = ("ValueError", "KeyError", "StopIteration", "GeneratorExit")
THROWN = (ValueError, KeyError, GeneratorExit)


def operations(
    *,
    values: SearchStrategy[Any] | None = None,
    errors: Sequence[type[BaseException] | BaseException] = THROWN,
) -> SearchStrategy[Step]:
    """Generates one operation on a generator: next, send, throw or close.

    Args:
        values: what is sent; by default, numbers from 0 to 3.
        errors: what is thrown, classes or instances; by default ValueError, KeyError and GeneratorExit; none for no
            throw. Classes are better, because an instance keeps what an earlier run has left on it.

    Shrinks towards next, then send, throw and close.
    """
    sends = st.builds(Step, st.just(Operation.SEND), st.integers(0, 3) if values is None else values)
    throws = [st.builds(Step, st.just(Operation.THROW), st.sampled_from(errors))] if errors else []
    return st.one_of(st.just(NEXT), sends, *throws, st.just(CLOSE))


@st.composite
def programs(
    draw: st.DrawFn,
    *,
    max_depth: int = 3,
    min_statements: int = 0,
    max_statements: int = 3,
    awaits: bool = True,
    delegates: bool = True,
    return_values: bool = True,
    errors: Sequence[str] = RAISED,
) -> Program:
    """Generates generator bodies, see `asyncgen_tools.testing.programs`.

    Args:
        draw: given by hypothesis.
        max_depth: how deep blocks and subgenerators may be nested.
        min_statements: how many statements the outermost block has at least.
        max_statements: how many statements a block has at most; a subgenerator's may end with a return beyond them.
        awaits: whether they await; in a sync rendering that is nothing.
        delegates: whether they delegate to subgenerators.
        return_values: whether they return something but None. A native async generator has no return value, so turn
            this off to compare one with a sync generator.
        errors: the names of the built-in errors that they raise and catch.

    Raises:
        InvalidArgument: depth or sizes are impossible; raised when the first example is drawn.

    Shrinks towards fewer statements, shallower ones, and `yield 0`.
    """
    if max_depth < 0 or not 0 <= min_statements <= max_statements:
        raise InvalidArgument(
            f"programs() was given max_depth={max_depth}, min_statements={min_statements} and "
            f"max_statements={max_statements}: depth and sizes cannot be negative, nor the least above the most. Write "
            "0 <= min_statements <= max_statements."
        )
    statements = _statements(
        max_depth,
        max_statements,
        awaits=awaits,
        delegates=delegates,
        return_values=return_values,
        errors=tuple(errors),
    )
    return Program(draw(_bodies(statements, min_statements, max_statements)))


def _bodies(statements: SearchStrategy[Statement], least: int, most: int) -> SearchStrategy[Body]:
    return st.lists(statements, min_size=least, max_size=most).map(tuple)


@functools.cache
def _statements(
    depth: int, most: int, *, awaits: bool, delegates: bool, return_values: bool, errors: tuple[str, ...]
) -> SearchStrategy[Statement]:
    """Statements in which others are nested this deep; each layer is a strategy of its own, made once."""
    values = st.sampled_from((None, 0, 1, 2, 3)) if return_values else st.none()
    leaves: list[SearchStrategy[Statement]] = [
        st.builds(Yield, st.integers(0, 3)),
        st.builds(Return, values),
        st.builds(Raise, st.sampled_from(errors)) if errors else st.nothing(),
        st.just(Await()) if awaits else st.nothing(),
    ]
    if not depth:
        return st.one_of(leaves)
    inner = _statements(depth - 1, most, awaits=awaits, delegates=delegates, return_values=return_values, errors=errors)
    bodies = _bodies(inner, 0, most)
    return st.one_of(
        *leaves,
        # Often, and often with a return value, because neither shows much unless the other does something, too.
        *([st.builds(Delegate, bodies), st.builds(_returning, bodies, values)] if delegates else ()),
        st.builds(TryFinally, bodies, bodies),
        st.builds(TryExcept, bodies, st.sampled_from((*errors, "BaseException")), bodies),
        st.builds(With, bodies),
        st.builds(Loop, st.integers(1, 3), bodies),
    )


def _returning(body: Body, value: int | None) -> Delegate:
    return Delegate((*body, Return(value)))


@st.composite
def scripts(
    draw: st.DrawFn,
    programs: SearchStrategy[Program] | None = None,
    /,
    *,
    operations: SearchStrategy[Step] | None = None,
    min_operations: int = 1,
    max_operations: int = 6,
) -> Script:
    """Generates a program together with what to do with its generator.

    Args:
        draw: given by hypothesis.
        programs: the programs; by default `programs()`.
        operations: each operation; by default `operations()`.
        min_operations: how many there are at least.
        max_operations: how many there are at most.

    Shrinks as both do.
    """
    steps = _OPERATIONS if operations is None else operations
    program = draw(_PROGRAMS if programs is None else programs)
    return Script(program, tuple(draw(st.lists(steps, min_size=min_operations, max_size=max_operations))))


_OPERATIONS, _PROGRAMS = operations(), programs()


# A module and no function of it is the entry point: this one may be half imported when hypothesis loads it.
st.register_type_strategy(Program, programs())
st.register_type_strategy(Script, scripts())
st.register_type_strategy(Step, operations())


@final
class Worked:
    """A generator that a state machine works, beside its model: what a rule gets from the bundle `opened`.

    Args:
        generator: a sync generator over the async one. A step that is taken of it alone leaves the model behind.
        model: does what it is to do, if there is one.
        context: the context in which the steps run, as they do in that of an async consumer.
    """

    def __init__(
        self, generator: Generator[Any, Any, Any], model: Generator[Any, Any, Any] | None, context: Context
    ) -> None:
        self.generator: Generator[Any, Any, Any] = generator
        self.model: Generator[Any, Any, Any] | None = model
        self.context: Context = context
        self._tape = Tape()
        self._model_tape = Tape()

    def work(self, operation: Step) -> TraceStep:
        """Take a step of both, such as `asyncgen_tools.steps.NEXT`, and compare.

        Args:
            operation: what to do.

        Returns:
            What came of it.

        Raises:
            TraceError: the generator did something that it must not (AssertionError).
        """
        before = self.context.copy()
        taken = self._tape.take(self.generator, operation)
        if self.model is not None:
            self._model_tape.take(self.model, operation)
            assert_same_trace(self._tape.trace(), self._model_tape.trace())
        elif isinstance(taken.outcome, Failed) and not (taken.outcome.error.thrown or is_refused(taken)):
            raise TraceError(
                f"An operation raised what was not thrown in, and there is no model to say that it should:\n{taken}\n"
                "Define model() if it should."
            )
        taken = replace(taken, context=taken.context or changes(before, self.context))
        if taken.context:
            raise TraceError(
                "An operation changed context variables; an async consumer, in whose context a generator runs, would "
                f"have them changed, too:\n{taken}"
            )
        return taken

    def finish(self) -> None:
        """Close both."""
        finish(self.generator)
        if self.model is not None:
            finish(self.model)


class GeneratorStateMachine(RuleBasedStateMachine):
    """Opens generators of your own on one event loop, works them in any order, and closes them; subclass it.

    Every generator is driven by one runner, so that their steps interleave in one thread. After each operation it must
    have done what its model does; one without a model must have raised nothing but what was thrown in. No operation
    may leave a context variable changed: the steps run in a context of their own here, but in that of an async consumer
    elsewhere. In the end all are closed, and no async generator may be left over.

    Attributes:
        backend: the name of the row on which they run, see `asyncgen_tools.testing.get_backend`.
        operations: the strategy of what is done to them.
        opened: the bundle of the generators, for rules of your own; each is a `Worked`.

    >>> class Numbers(GeneratorStateMachine):
    ...     backend = "bare"
    ...
    ...     async def make(self):
    ...         yield 1
    ...
    ...     def model(self):
    ...         yield 1
    >>> from hypothesis.stateful import run_state_machine_as_test
    >>> run_state_machine_as_test(Numbers)
    """

    backend: ClassVar[str] = "asyncio"
    operations: ClassVar[SearchStrategy[Step]] = operations()
    opened: ClassVar[Bundle[Worked]] = Bundle("opened")

    def __init__(self) -> None:
        from asyncgen_tools.testing.backends import get_backend
        from asyncgen_tools.testing.driving import TrackedDriver

        super().__init__()
        self._driver = TrackedDriver(get_backend(self.backend))
        self._driver.__enter__()
        self._worked: list[Worked] = []

    def make(self) -> AsyncGenerator[Any, Any]:
        """Give a new generator, which the machine closes; to be overridden."""
        raise NotImplementedError(
            f"{type(self).__name__} has no make(), so there is no generator to work. Define one that gives a new async "
            "generator each time."
        )

    def model(self) -> Generator[Any, Any, Any] | None:
        """Give a sync generator that does what one of `make` is to do; by default there is none."""
        return None

    @rule(target=opened)
    def open(self) -> Worked:
        """Begin another generator."""
        context = copy_context()
        worked = Worked(self._driver(self.make(), context=context), self.model(), context)
        self._worked.append(worked)
        return worked

    @rule(generator=opened, operation=st.runner().flatmap(lambda machine: machine.operations))
    def work(self, generator: Worked, operation: Step) -> None:
        """Do something to one of the generators.

        Raises:
            TraceError: it has done something else than its model (AssertionError).
        """
        generator.work(operation)

    def teardown(self) -> None:
        """Close all generators and the loop.

        Raises:
            LeakError: an async generator was left over (AssertionError).
        """
        for worked in self._worked:
            worked.finish()
        self._driver.close()
        self._driver.tracker.check()
