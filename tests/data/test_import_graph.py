"""No module of the package imports itself by way of others, not even inside a function."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import omics_jax

PACKAGE = Path(omics_jax.__file__).parent


def module_name(path: Path) -> str:
    """`omics_jax/data/files.py` -> omics_jax.data.files; an `__init__.py` is its folder."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(source: str, modules: set[str]) -> set[str]:
    """The modules that a source names in its imports, wherever in the file they are."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            # `from package import module` is an import of the module, not of the package.
            names |= members & modules
            if not members <= modules:
                names.add(node.module)
    return names & modules


def import_graph() -> dict[str, set[str]]:
    """Module -> the modules of the package that it imports."""
    sources = {module_name(path): path.read_text() for path in PACKAGE.rglob("*.py")}
    return {name: imported_modules(source, set(sources)) for name, source in sources.items()}


def test_no_module_imports_itself_by_way_of_others():
    graph = import_graph()
    assert "omics_jax.data.formats.npz" in graph["omics_jax.data.formats.read"]
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(
    "import_b",
    ["import p.b", "from p import b", "from p.b import x", "def f():\n    from p.b import x"],
)
def test_a_cycle_is_noticed_wherever_the_import_is(import_b):
    sources = {"p": "", "p.a": import_b, "p.b": "from p.a import y"}
    graph = {name: imported_modules(source, set(sources)) for name, source in sources.items()}
    with pytest.raises(CycleError, match="p.a"):
        TopologicalSorter(graph).prepare()
