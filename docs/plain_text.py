"""Docstrings are plain text, not HTML: what stands in angle brackets, such as <cohort>_X, is shown."""

from __future__ import annotations

import re

import griffe

_CODE_OR_TAG = re.compile(r"(`[^`]*`)|<(?=[A-Za-z/!])")


class PlainText(griffe.Extension):
    """Escapes the angle brackets of every docstring, except inside `code`."""

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        """Called for every module, class, function and attribute once its members are known."""
        if obj.docstring:
            obj.docstring.value = _CODE_OR_TAG.sub(_escaped, obj.docstring.value)


def _escaped(match: re.Match[str]) -> str:
    return match[1] or "&lt;"
