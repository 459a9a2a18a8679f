"""The state of the house: sizes, density, annotations, import cycles, places a new system touches.

    python benchmarks/house.py

Run it in the repository root. It reads the files that git tracks and imports nothing of them.
Density is syntax nodes per line of code, without docstrings, comments and blank lines.
"""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGE = "omics_jax"
SHOWN = 5  # of the longest functions and the densest files
SMALL_FILE = 20  # lines of code below which a density says little

Function = ast.FunctionDef | ast.AsyncFunctionDef
DOCUMENTED = ast.Module | ast.ClassDef | Function


@dataclass(frozen=True)
class Source:
    """A Python file and its syntax tree."""

    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(ast.parse(self.text)))

    @cached_property
    def functions(self) -> list[Function]:
        return [node for node in self.nodes if isinstance(node, Function)]

    @cached_property
    def code_lines(self) -> int:
        """Lines that are not blank, comment or docstring."""
        documented = {line for node in self.nodes for line in docstring_lines(node)}
        numbered = enumerate(self.text.splitlines(), start=1)
        code = [line.strip() for number, line in numbered if number not in documented]
        return sum(bool(line) and not line.startswith("#") for line in code)

    @property
    def room(self) -> str:
        """omics_jax/NAME within the package, otherwise the folder at the top."""
        parts = self.path.with_suffix("").parts
        return "/".join(parts[:2]) if parts[0] == PACKAGE else parts[0]

    @property
    def module(self) -> str:
        return ".".join(self.path.with_suffix("").parts).removesuffix(".__init__")


Sources = Sequence[Source]


def docstring_lines(node: ast.AST) -> range:
    """Numbers of the lines of the node's docstring, none where it has none."""
    if not isinstance(node, DOCUMENTED) or ast.get_docstring(node) is None:
        return range(0)
    docstring = node.body[0]
    return range(docstring.lineno, docstring.end_lineno + 1)


def length(function: Function) -> int:
    return function.end_lineno - function.lineno + 1


def lines_of(sources: Sources) -> int:
    return sum(len(source.text.splitlines()) for source in sources)


def density(sources: Sources) -> float:
    """Syntax nodes per line of code over all these files."""
    nodes = sum(len(source.nodes) for source in sources)
    code_lines = sum(source.code_lines for source in sources)
    return nodes / max(code_lines, 1)


def parameters(function: Function) -> list[ast.arg]:
    """All parameters, except the self or cls of a method."""
    a = function.args
    every = [*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg]
    return [arg for arg in every if arg and arg.arg not in ("self", "cls")]


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True)
    paths = map(Path, listed.stdout.splitlines())
    return [path for path in paths if path.is_file()]


def by_room(sources: Sources) -> dict[str, list[Source]]:
    """Room -> its files; the package's rooms first."""
    rooms = defaultdict(list)
    for source in sources:
        rooms[source.room].append(source)
    package = sorted(room for room in rooms if room.startswith(PACKAGE))
    return {room: rooms[room] for room in (*package, *sorted(set(rooms) - set(package)))}


def percent(hits: Sequence[bool]) -> str:
    return f"{100 * sum(hits) / len(hits):.0f} %" if hits else "-"


def room_row(room: str, sources: Sources) -> list[str]:
    functions = [function for source in sources for function in source.functions]
    lengths = [length(function) for function in functions] or [0]
    arguments = [arg for function in functions for arg in parameters(function)]
    return [
        room,
        str(len(sources)),
        f"{lines_of(sources):,}",
        f"{density(sources):.1f}",
        str(len(functions)),
        f"{statistics.median(lengths):.0f}",
        str(percentile_90(lengths)),
        str(max(lengths)),
        percent([bool(arg.annotation) for arg in arguments]),
        percent([bool(f.returns) for f in functions if f.name != "__init__"]),
    ]


def percentile_90(lengths: Sequence[int]) -> int:
    """The smallest length that at least nine tenths of the functions do not exceed."""
    ordered = sorted(lengths)
    return ordered[-(-9 * len(ordered) // 10) - 1]


def room_table(rooms: Mapping[str, Sources]) -> Iterator[str]:
    """A line per room and one for the package."""
    package = [name for name in rooms if name.startswith(PACKAGE)]
    head = "room files lines density functions median p90 longest parameters returns".split()
    rows = [head, *(room_row(room, part) for room, part in rooms.items())]
    rows.append(room_row(f"{PACKAGE}, all", [source for name in package for source in rooms[name]]))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        right = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        yield "  ".join([name.ljust(widths[0]), *right])


def longest_functions(sources: Sources) -> Iterator[str]:
    places = [(length(f), f, source) for source in sources for f in source.functions]
    places.sort(key=lambda place: -place[0])
    for lines, function, source in places[:SHOWN]:
        yield f"{lines:4d} lines  {source.path}:{function.lineno} {function.name}"


def densest_files(sources: Sources) -> Iterator[str]:
    large = [source for source in sources if source.code_lines >= SMALL_FILE]
    large.sort(key=lambda source: -density([source]))
    for source in large[:SHOWN]:
        yield f"{density([source]):5.1f}  {source.path}"


def imports(source: Source, modules: set[str]) -> set[str]:
    """The package's modules that a file imports, at its top or inside a function."""
    names = set()
    for node in source.nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in modules else node.module for name in members}
    return names & modules


def reachable(start: str, graph: Mapping[str, set[str]]) -> set[str]:
    """All modules that importing `start` imports in turn."""
    seen, waiting = set(), [*graph[start]]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += graph[module]
    return seen


def import_cycles(sources: Sources) -> list[list[str]]:
    """Groups of modules that all reach each other by imports."""
    modules = {source.module for source in sources}
    graph = {source.module: imports(source, modules) for source in sources}
    reached = {module: reachable(module, graph) for module in graph}
    groups = set()
    for module in graph:
        group = [other for other in reached[module] if module in reached[other]]
        groups |= {tuple(sorted(group))} if group else set()
    return [list(group) for group in sorted(groups)]


def belongs_to(path: Path, system: str) -> bool:
    """Whether a file is the system's own: its code, its config, its tests, or documentation."""
    own = (f"{PACKAGE}/systems/{system}/", f"{PACKAGE}/systems/{system}.py", f"configs/{system}.py")
    name = path.as_posix()
    tested = name.startswith("tests/systems/") and system in name
    return tested or name.startswith((*own, "docs/"))


def places_of(system: str, paths: Iterable[Path]) -> list[str]:
    """Files of others that mention the system, in their name or text."""
    mention = re.compile(rf"(?<![a-z]){system}(?![a-z])", re.IGNORECASE)
    others = [path for path in paths if not belongs_to(path, system)]
    texts = {path: f"{path}\n{path.read_text(errors='replace')}" for path in others}
    return [str(path) for path, text in texts.items() if mention.search(text)]


def systems(paths: Iterable[Path]) -> list[str]:
    """The names of all systems: the files and folders of the package's systems/."""
    parts = [path.with_suffix("").parts for path in paths if path.suffix == ".py"]
    names = {names[2] for names in parts if names[:2] == (PACKAGE, "systems")}
    return sorted(names - {"__init__"})


def print_part(title: str, lines: Iterable[str]) -> None:
    print(f"\n{title}")
    for line in lines:
        print(f"  {line}")


def main() -> None:
    paths = tracked_files()
    sources = [Source(path) for path in paths if path.suffix == ".py"]
    rooms = by_room(sources)
    package = [source for source in sources if source.room.startswith(PACKAGE)]
    ratio = lines_of(rooms["tests"]) / lines_of(package)
    print_part("Rooms", room_table(rooms))
    print_part("Longest functions of the package", longest_functions(package))
    print_part("Densest files of the package", densest_files(package))
    print_part("Tests", [f"{ratio:.2f} lines of tests to a line of source"])
    print_part("Import cycles", map(" <-> ".join, import_cycles(package) or [["none"]]))
    for system in systems(paths):
        places = places_of(system, paths)
        print_part(f"Places outside of {system} that mention it: {len(places)}", places)


if __name__ == "__main__":
    main()
