"""Pages of the API: one for each room of the package, made from the docstrings of its modules.

They are made while the documentation is built, so that a new module appears without being listed.
"""

from __future__ import annotations

import ast
from pathlib import Path

from mkdocs.structure.files import File, Files

PACKAGE = Path(__file__).parent.parent / "omics_jax"


def on_config(config):
    """Adds the pages to the navigation."""
    pages = [{room.name: f"api/{room.name}.md"} for room in _rooms()]
    config.nav.append({"API": ["api/index.md", *pages]})
    return config


def on_files(files: Files, config) -> Files:
    """Adds the pages to the files."""
    files.append(File.generated(config, "api/index.md", content=_index()))
    for room in _rooms():
        page = File.generated(config, f"api/{room.name}.md", content=_page(room))
        files.append(page)
    return files


def _rooms() -> list[Path]:
    return sorted(folder for folder in PACKAGE.iterdir() if (folder / "__init__.py").exists())


def _index() -> str:
    """A list of the rooms with the first line of each, and the modules that stand alone."""
    lines = ["# API", "", "Every public function and class, by room of the package.", ""]
    for room in _rooms():
        lines.append(f"- [{room.name}]({room.name}.md){_summary(room / '__init__.py')}")
    lines.append("")
    for file in sorted(PACKAGE.glob("*.py")):
        if file.stem != "__init__":
            lines.append(f"::: {_dotted(file)}")
    return "\n".join(lines) + "\n"


def _summary(init: Path) -> str:
    """ ": " and the first line of a package's docstring; "" where it has none."""
    docstring = ast.get_docstring(ast.parse(init.read_text()))
    if not docstring:
        return ""
    return f": {docstring.splitlines()[0]}"


def _page(room: Path) -> str:
    """Every module of a room; an empty `__init__.py` has nothing to show."""
    modules = [file for file in sorted(room.rglob("*.py")) if file.read_text().strip()]
    blocks = [f"# {room.name}"] + [f"::: {_dotted(file)}" for file in modules]
    return "\n\n".join(blocks) + "\n"


def _dotted(file: Path) -> str:
    """omics_jax/nn/dense.py -> omics_jax.nn.dense; a package's `__init__.py` is the package."""
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts)
