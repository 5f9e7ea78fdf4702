"""Questions, contenders, and the answer of one contender to one question."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class NotOfferedError(Exception):
    """The library has nothing for it."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One table of the page.

    Attributes:
        title: of the table.
        about: the sentence above it.
        contenders: the way of each library, by its name; "anyio: portal.call" needs anyio.
        questions: what is asked, by the words of the page; each answers by True or False, or by an exception.
    """

    title: str
    about: str
    contenders: Mapping[str, Any]
    questions: Mapping[str, Callable[[Any], bool]]


def library(name: str) -> Any:
    """A module of a library that is compared; untyped, because type checkers need not have it."""
    return importlib.import_module(name)


def is_installed(contender: str) -> bool:
    """Whether the library that a contender is named after can be imported."""
    return importlib.util.find_spec(contender.partition(":")[0].replace("-", "_")) is not None


def answer(topic: Topic, question: str, contender: str) -> str:
    """One cell: "yes", "no", "no: the exception", or "-" where the library has nothing for it."""
    try:
        return "yes" if topic.questions[question](topic.contenders[contender]) else "no"
    except NotOfferedError:
        return "-"
    except BaseException as error:  # a contender may raise anything
        return f"no: {type(error).__name__}"
