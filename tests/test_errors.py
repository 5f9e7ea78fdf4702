"""Every error of the library can be caught as the built-in that it is, carried over to another process, and read."""

from __future__ import annotations

import pickle

import pytest

from asyncgen_tools import drive, errors
from asyncgen_tools.errors import AsyncgenToolsError, UnsupportedStepError
from tests.ways import numbers

ERRORS: list[type[AsyncgenToolsError]] = [getattr(errors, name) for name in errors.__all__]
BUILTINS: dict[str, type[Exception]] = {
    "ArgumentTypeError": TypeError,
    "ArgumentValueError": ValueError,
    "CopyError": TypeError,
    "SourceTypeError": TypeError,
    "UnsupportedStepError": AttributeError,
    "RunningLoopError": RuntimeError,
    "WrongThreadError": RuntimeError,
    "ContextError": RuntimeError,
    "ForkError": RuntimeError,
    "ReusedError": RuntimeError,
    "ClosedError": RuntimeError,
    "UnknownBackendError": LookupError,
    "MissingLibraryError": ImportError,
    "BareSuspensionError": RuntimeError,
    "StepTimeoutError": TimeoutError,
    "DelegationError": RuntimeError,
    "NotReturnedError": RuntimeError,
    "NoEventLoopError": RuntimeError,
    "WrongLoopError": RuntimeError,
    "NotEnteredError": TypeError,
    "StepCancelledError": RuntimeError,
    "PrefetchError": RuntimeError,
    "TraceError": AssertionError,
    "FunctionTypeError": TypeError,
    "LeakError": AssertionError,
    "ConformanceError": AssertionError,
    "HangError": TimeoutError,
    "SweepError": AssertionError,
    "UncheckableError": ValueError,
}


@pytest.mark.parametrize("name", BUILTINS)
def test_errors_are_caught_as_builtins(name: str) -> None:
    """Each error is caught by the `except` clause that a caller would write without knowing the library (A14)."""
    error: type[AsyncgenToolsError] = getattr(errors, name)
    with pytest.raises(BUILTINS[name], match="what happened"):
        raise error("what happened")
    with pytest.raises(AsyncgenToolsError):
        raise error("what happened")


def test_errors_are_all_known() -> None:
    """The table of built-ins above names every error but the base."""
    assert set(BUILTINS) == set(errors.__all__) - {"AsyncgenToolsError"}


@pytest.mark.parametrize("error", ERRORS)
def test_errors_can_be_pickled(error: type[AsyncgenToolsError]) -> None:
    """An error crosses a process boundary with its type and message."""
    copy = pickle.loads(pickle.dumps(error("message")))  # noqa: S301  # our own
    assert type(copy) is error
    assert str(copy) == "message"


@pytest.mark.parametrize("error", ERRORS)
def test_errors_can_be_made_by_new(error: type[AsyncgenToolsError]) -> None:
    """An error can be made by its `__new__`, as tblib does for the errors that dask brings from its workers."""
    assert str(error.__new__(error, "message")) == "message"


def test_error_with_attributes_can_be_pickled() -> None:
    """The AttributeError of a missing method carries its name, and can be pickled where its object can."""
    error = UnsupportedStepError("message", name="asend", obj=1)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
    assert (str(copy), error.name, error.obj) == ("message", "asend", 1)


def test_messages_have_three_parts() -> None:
    """A message says what happened, with the value; why it cannot work; and what to write instead (A14)."""
    with pytest.raises(errors.SourceTypeError) as refused:
        drive(numbers)  # type: ignore[call-overload]
    message = str(refused.value)
    assert "takes an async generator" in message
    assert repr(numbers)[:20] in message
    assert "write drive(numbers(...))" in message
