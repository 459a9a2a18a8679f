"""The floors of the house hold: imports point downwards only, and the rooms that serve all systems
name none.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "omics_jax"
FILES = sorted(PACKAGE.rglob("*.py"))
SYSTEMS = sorted(p.stem for p in (PACKAGE / "systems").iterdir() if not p.name.startswith("__"))
GROUND = {"nn", "data", "evaluation"}

# Room -> the other rooms it may import. What stands in `EVERYWHERE` is open to all of them.
EVERYWHERE = {"errors", "durable", "file_names"}
ALLOWED = {
    "errors": set(),
    "durable": set(),
    "file_names": set(),
    "settings": set(),
    "nn": set(),
    "data": {"settings"},
    "evaluation": set(),
    "training": GROUND,
    "report": {"evaluation"},
    "study": {*GROUND, "settings", "training"},
    "tasks": {*GROUND, "settings", "training", "study"},
    "systems": {*GROUND, "settings", "training", "study", "tasks"},
    "run": {*GROUND, "settings", "training", "study", "report", "systems"},
    "__init__": set(),
}


def imported(path: Path) -> set[str]:
    """Full dotted names of everything a file imports, at its top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def code_of(path: Path) -> str:
    """The file without comments and docstrings, where a system may well serve as the example."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
    return ast.unparse(tree)


def room(path: Path) -> str:
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    rooms = {name.split(".")[1] for name in imported(path) if name.startswith("omics_jax.")}
    assert rooms - {*EVERYWHERE, room(path)} <= ALLOWED[room(path)]


WRITERS = {"savez", "savez_compressed", "write_text", "write_bytes", "to_parquet", "to_excel"}
OWN_WAY = {"durable.py", "training/history.py", "run/lock.py"}  # how, their docstrings say


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_written_by_one_module(path):
    """Which leaves the old content or the new one, and answers a full disk in one sentence."""
    if str(path.relative_to(PACKAGE)) in OWN_WAY:
        return
    for call in (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        modes = [a.value for a in call.args if isinstance(a, ast.Constant)]
        assert name not in WRITERS, f"{path}, line {call.lineno}"
        assert not (name == "to_csv" and call.args), f"{path}, line {call.lineno}"
        assert not (name == "open" and {"w", "wb", "a", "ab"} & {*map(str, modes)})


@pytest.mark.parametrize("path", [p for p in FILES if room(p) == "systems"], ids=lambda p: p.stem)
def test_a_system_knows_no_other_system(path):
    own = path.relative_to(PACKAGE / "systems").parts[0].removesuffix(".py")
    others = {
        n.split(".")[2]
        for n in imported(path)
        if n.startswith("omics_jax.systems.") and n.count(".") > 1
    }
    assert others <= {own}


@pytest.mark.parametrize(
    ("library", "only"), [("distrax", {"nn/flows.py"}), ("orbax", {"training/checkpoints.py"})]
)
def test_one_file_knows_the_library(library, only):
    found = {
        str(p.relative_to(PACKAGE))
        for p in FILES
        if any(n.split(".")[0] == library for n in imported(p))
    }
    assert found == only


@pytest.mark.parametrize(
    "path",
    [p for p in FILES if room(p) not in ("systems", "data", "evaluation", "nn")],
    ids=lambda p: p.name,
)
def test_rooms_above_and_below_name_no_system(path):
    assert SYSTEMS
    assert not re.search("|".join(SYSTEMS), code_of(path), re.IGNORECASE)


@pytest.mark.parametrize(
    "path", [*FILES, *sorted((ROOT / "experiments").glob("*.py"))], ids=lambda p: p.name
)
def test_a_file_fits_in_the_head(path):
    assert len(path.read_text().splitlines()) <= 400


def in_fresh_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


HEAVY = (
    "jax",
    "flax",
    "optax",
    "tensorflow_probability",
    "distrax",
    "orbax",
    "lifelines",
    "sklearn",
    "matplotlib",
)


@pytest.mark.parametrize(
    "code",
    [
        "import omics_jax",
        "import omics_jax.run.command",
        "import sys; sys.path.insert(0, 'experiments'); import main; assert "
        "main.main(['main.py', '--help']) == 0",
    ],
    ids=["package", "run", "help"],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code):
    found = in_fresh_python(
        f"{code}\nimport sys; print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    assert found.returncode == 0, found.stderr
    assert found.stderr.strip() == "[]"
