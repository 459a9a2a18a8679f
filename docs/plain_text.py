"""Shows docstrings as they are written: plain text with lists of names, not HTML.

Angle brackets, such as <cohort>_X, are text. In a list of names each entry begins a line.
"""

from __future__ import annotations

import re

import griffe

_CODE_OR_TAG = re.compile(r"(`[^`]*`)|<(?=[A-Za-z/!])")
_ENTRY = re.compile(r"\s*[\w.*/]+(, [\w.*/]+)*( \([^()]*\))?: \S")  # "name, other (unit): meaning"
_LINE_BREAK = "  "  # of Markdown, at the end of a line


class PlainText(griffe.Extension):
    """Prepares every docstring for Markdown, outside of `code`."""

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        """Called for every module, class, function and attribute once its members are known."""
        if obj.docstring:
            text = _CODE_OR_TAG.sub(_escaped, obj.docstring.value)
            obj.docstring.value = _with_entries_apart(text)


def _escaped(match: re.Match[str]) -> str:
    return match[1] or "&lt;"


def _with_entries_apart(text: str) -> str:
    """The text with a line break before each entry of a list that follows another line."""
    lines = text.split("\n")
    for place in range(1, len(lines)):
        before = lines[place - 1].rstrip()
        # A line that ends with a colon may be the heading of a section, such as "Args:".
        if _ENTRY.match(lines[place]) and before and not before.endswith(":"):
            lines[place - 1] = before + _LINE_BREAK
    return "\n".join(lines)
