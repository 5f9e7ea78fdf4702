"""The examples in README.md and docs/: where they are, and how they are told apart."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("BLOCK", "CHECKOUT", "PAGES", "README", "SHOWN", "TEST_MODULE", "found")

CHECKOUT = Path(__file__).parent.parent
README = CHECKOUT / "README.md"
PAGES = [README, *sorted((CHECKOUT / "docs").rglob("*.md"))]

#: A block of Python, perhaps indented in a list; a block of text right after it is what it prints.
BLOCK = re.compile(
    r"^(?P<indent> *)```python\n(?P<code>.*?)^(?P=indent)```\n"
    r"(?:\s*^(?P=indent)```text\n(?P<output>.*?)^(?P=indent)```\n)?",
    re.MULTILINE | re.DOTALL,
)
#: A block that is a test module.
TEST_MODULE = re.compile(r"^```python test\n(?P<code>.*?)^```\n", re.MULTILINE | re.DOTALL)
#: A block of Python that is only shown: a reader may need what a machine that tests does not have.
SHOWN = re.compile(
    r"^(?:<!-- only shown: (?P<reason>.+) -->\n)?(?P<indent> *)```py\n(?P<code>.*?)^(?P=indent)```\n",
    re.MULTILINE | re.DOTALL,
)


def found(pattern: re.Pattern[str], page: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The matches in a page: the line after which the code begins, and the groups, without indentation."""
    text = page.read_text(encoding="utf-8")
    for match in pattern.finditer(text):
        groups = {name: value and textwrap.dedent(value) for name, value in match.groupdict().items()}
        yield text[: match.start("code")].count("\n"), groups
