"""The documentation stays true: snippets run, config fields and links exist, README is short."""

import importlib.util
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
WRITTEN = [README, ROOT / "BUILD_NOTES.md", *PAGES]
SYSTEMS = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))

SNIPPET = re.compile(r"(<!-- not run: .+ -->\n+)?^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FIELD = re.compile(r"--config\.([A-Za-z_][\w.]*)")
CONFIG = re.compile(r"configs/(\w+)\.py(?::([\w,]+))?")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def snippets(page: Path) -> list[str]:
    """The Python blocks of a page that are to be run, in order."""
    return [code for skipped, code in SNIPPET.findall(page.read_text()) if not skipped]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if snippets(page)], ids=named)
def test_snippets_run(page, tmp_path, monkeypatch):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "snippet"}
    for number, code in enumerate(snippets(page), 1):
        exec(compile(code, f"{named(page)}, snippet {number}", "exec"), names)


@pytest.mark.parametrize(
    ("page", "files"),
    [
        ("pertvae", ("expression.csv", "conditions.csv", "untreated.csv")),
        ("ehr", ("measurements.csv", "stays.csv")),
        ("multiomics", ("rna.csv", "mirna.csv", "clinical.csv")),
        ("miracle", ("people.csv", "site_genes.csv", "pathways.gmt")),
        ("gene_transformer", ("expression.csv", "clinical.csv")),
    ],
)
def test_worked_examples_name_the_files_that_their_snippet_writes(page, files):
    text = (ROOT / "docs" / "systems" / f"{page}.md").read_text()
    code = "".join(snippets(ROOT / "docs" / "systems" / f"{page}.md"))
    commands = "".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL))
    for file in files:
        assert file in code
        assert file in commands


def config_of(name: str, choice: str = ""):
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(choice)


def has_field(config, dotted: str) -> bool:
    for part in dotted.split("."):
        if not hasattr(config, "keys") or part not in config.keys():
            return False
        config = config[part]
    return True


@pytest.mark.parametrize("page", WRITTEN, ids=named)
def test_fields_of_configs_exist(page):
    """Of the config that the command names, where it names one, else of any."""
    configs = {name: config_of(name) for name in SYSTEMS}
    for command in page.read_text().replace("\\\n", " ").splitlines():
        systems = [name for name, _ in CONFIG.findall(command) if name in SYSTEMS]
        for field in FIELD.findall(command):
            known = [configs[name] for name in systems or SYSTEMS]
            placeholder = field.split(".")[0] == "any"
            assert placeholder or any(has_field(config, field) for config in known), field


@pytest.mark.parametrize("page", WRITTEN, ids=named)
def test_experiments_and_sizes_exist(page):
    from omics_jax.run.command import system_module

    for name, choice in CONFIG.findall(page.read_text()):
        made_on_the_page = f'title="configs/{name}.py"' in page.read_text()
        if name == "SYSTEM" or choice == "EXPERIMENT" or made_on_the_page:
            continue
        experiment = config_of(name, choice).experiment
        assert experiment in ("", *system_module(name).EXPERIMENTS), f"{name}:{choice}"


def test_the_settings_of_a_system_page_exist():
    """The first column of "Settings that matter" names fields, or a field and its value."""
    for name in SYSTEMS:
        text = (ROOT / "docs" / "systems" / f"{name}.md").read_text()
        table = text.split("## Settings that matter")[1]
        rows = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
        assert rows
        for field in [f for row in rows for f in re.findall(r"`([a-z][\w.]*)[^`]*`", row)]:
            assert has_field(config_of(name), field), f"{name}: {field}"


def test_readme_has_at_most_700_words():
    assert len(README.read_text().split()) <= 700


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", WRITTEN, ids=named)
def test_relative_links_resolve(page):
    made_while_building = ROOT / "docs" / "api"
    notes = ROOT / "docs" / "build_notes.md"  # holds BUILD_NOTES.md
    for link in LINK.findall(re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = Path(os.path.normpath(page.parent / path)) if path else page
        if target.is_relative_to(made_while_building):
            continue
        assert target.exists(), link
        text = ROOT / "BUILD_NOTES.md" if target == notes else target
        assert not anchor or anchor in anchors(text), link
