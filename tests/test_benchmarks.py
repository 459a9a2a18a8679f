"""What benchmarks, scripts and notebooks import of the package exists."""

import ast
import importlib
import json
import re

import pytest
from command import ROOT

SCRIPTS = sorted([*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "docs").glob("*.py")])
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def code_of(path) -> str:
    """A script, or the code cells of a notebook without the commands of its shell."""
    if path.suffix == ".py":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    without_continuations = code.replace("\\\n", " ")
    return re.sub(r"^\s*[!%].*$", "pass", without_continuations, flags=re.MULTILINE)


def imported(path):
    """(module, name) of everything that is imported from the package."""
    for node in ast.walk(ast.parse(code_of(path))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("omics_jax"):
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", [*SCRIPTS, *NOTEBOOKS], ids=lambda path: path.name)
def test_what_is_imported_exists(path):
    for module, name in imported(path):
        if not hasattr(importlib.import_module(module), name):
            importlib.import_module(f"{module}.{name}")
