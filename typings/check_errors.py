"""Each error is caught as the built-in that a caller would think of, and as the library's own base."""

from __future__ import annotations

from asyncgen_tools import errors

base: list[type[errors.AsyncgenToolsError]] = [
    errors.ArgumentTypeError,
    errors.ArgumentValueError,
    errors.BareSuspensionError,
    errors.ClosedError,
    errors.CopyError,
    errors.ForkError,
    errors.MissingLibraryError,
    errors.RunningLoopError,
    errors.SourceTypeError,
    errors.StepTimeoutError,
    errors.UnknownBackendError,
    errors.UnsupportedStepError,
    errors.WrongThreadError,
]
runtime_errors: list[type[RuntimeError]] = [
    errors.BareSuspensionError,
    errors.ClosedError,
    errors.ForkError,
    errors.RunningLoopError,
    errors.WrongThreadError,
]
type_errors: list[type[TypeError]] = [errors.ArgumentTypeError, errors.CopyError, errors.SourceTypeError]
value_error: type[ValueError] = errors.ArgumentValueError
attribute_error: type[AttributeError] = errors.UnsupportedStepError
lookup_error: type[LookupError] = errors.UnknownBackendError
import_error: type[ImportError] = errors.MissingLibraryError
timeout_error: type[TimeoutError] = errors.StepTimeoutError

not_an_attribute_error: type[AttributeError] = errors.SourceTypeError  # type: ignore[assignment]
not_a_value_error: type[ValueError] = errors.UnknownBackendError  # type: ignore[assignment]
not_a_cancellation: type[TimeoutError] = errors.ClosedError  # type: ignore[assignment]
