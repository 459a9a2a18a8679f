"""Shows docstrings as they are written: plain text with lists of names, not HTML or Markdown.

Angle brackets, such as <cohort>_X, are text. Lines such as "name, other (unit): meaning" are
a list; inside the sections that mkdocstrings knows ("Args:") it makes the list itself.
"""

from __future__ import annotations

import re

import griffe

_CODE_OR_TAG = re.compile(r"(`[^`]*`)|<(?=[A-Za-z/!])")
_ENTRY = re.compile(r"(\s*)([a-z_*][\w.*/]*(?:, [\w.*/]+)*(?: \([^()]*\))?): (?=\S)")
_SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Examples?):\s*")
_LINE_BREAK = "  "  # of Markdown, at the end of a line


class PlainText(griffe.Extension):
    """Prepares every docstring for Markdown, outside of `code`."""

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        """Called for every module, class, function and attribute once its members are known."""
        if obj.docstring:
            text = _CODE_OR_TAG.sub(_escaped, obj.docstring.value)
            obj.docstring.value = "\n".join(_with_lists(text.split("\n")))


def _escaped(match: re.Match[str]) -> str:
    return match[1] or "&lt;"


def _with_lists(lines: list[str]) -> list[str]:
    """The lines, with every list of names as one that Markdown knows."""
    out: list[str] = []
    in_section, entry_indent = False, None  # of the entry that the line before belongs to
    for line in lines:
        indent = len(line) - len(line.lstrip())
        entry = _ENTRY.match(line)
        if line.strip() and indent == 0:
            in_section = bool(_SECTION.fullmatch(line))
        if in_section:
            if entry and out[-1].strip() and not out[-1].endswith(":"):
                out[-1] += _LINE_BREAK
            out.append(line)
        elif entry:
            out += [""] if entry_indent is None else []
            out.append(f"- `{entry[2]}`: {line[entry.end() :]}")
            entry_indent = indent
        else:
            if entry_indent is not None and line.strip() and indent <= entry_indent:
                out.append("")  # a new paragraph, not more of the entry
            inside = entry_indent is not None and indent > entry_indent
            # What is indented by four is a formula; by less, it goes on with the line before.
            text = line.strip() if indent < 4 else line
            out.append("  " + line.strip() if inside else text)
            entry_indent = entry_indent if inside else None
    return out
