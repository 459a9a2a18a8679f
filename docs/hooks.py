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
    rooms = [room.name for room in _rooms()]
    config.nav.append({"API": ["api/index.md", *({name: f"api/{name}.md"} for name in rooms)]})
    return config


def on_files(files: Files, config) -> Files:
    """Adds the pages to the files."""
    files.append(File.generated(config, "api/index.md", content=_index()))
    for room in _rooms():
        files.append(File.generated(config, f"api/{room.name}.md", content=_page(room)))
    return files


def _rooms() -> list[Path]:
    return sorted(folder for folder in PACKAGE.iterdir() if (folder / "__init__.py").exists())


def _index() -> str:
    """A list of the rooms with the first sentence of each, and the modules that stand alone."""
    alone = [file for file in sorted(PACKAGE.glob("*.py")) if file.stem != "__init__"]
    lines = ["# API", "", "Every public function and class, by room of the package.", ""]
    lines += [f"- [{room.name}]({room.name}.md){_said(room / '__init__.py')}" for room in _rooms()]
    return "\n".join([*lines, "", *(f"::: {_dotted(file)}" for file in alone), ""])


def _said(init: Path) -> str:
    """": " and the first line of a package's docstring; "" where it has none."""
    docstring = ast.get_docstring(ast.parse(init.read_text()))
    return f": {docstring.splitlines()[0]}" if docstring else ""


def _page(room: Path) -> str:
    modules = [file for file in sorted(room.rglob("*.py")) if _has_text(file)]
    return "\n\n".join([f"# {room.name}", *(f"::: {_dotted(file)}" for file in modules)]) + "\n"


def _has_text(file: Path) -> bool:
    """Whether there is something to show: an empty `__init__.py` has nothing."""
    return bool(file.read_text().strip())


def _dotted(file: Path) -> str:
    """omics_jax/nn/dense.py -> omics_jax.nn.dense; a package's `__init__.py` is the package."""
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
