"""File names from the names that users give: safe, unique, reversible."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omics_jax.file_names import file_name, name_of_file

HOSTILE = [
    "../../../pwn",
    "a/../../../../victim",
    "..",
    ".",
    "",
    ".hidden",
    "/etc/passwd",
    "C:\\x",
    "drug 1",
    "drug-1",
    "drug.1",
    "drug%201",
    "~",
    "%",
    "new\nline",
    "nul\0",
    "5\u2032-aza",
    "rna[1]*?",
    "=1+1",
    "x" * 5000,
    "x" * 4999 + "y",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_name_is_one_visible_part_of_a_path(tmp_path, name):
    made = tmp_path / f"{file_name(name)}.csv"
    made.write_text("kept")
    assert made.resolve().parent == tmp_path.resolve()
    assert [path.name for path in tmp_path.iterdir()] == [made.name]
    assert not made.name.startswith(".") and Path(file_name(name)).name == file_name(name)


def test_names_have_files_of_their_own():
    assert len({file_name(name) for name in HOSTILE}) == len(HOSTILE)


@given(st.text(max_size=9))  # of which each letter may take 12 of the encoding
def test_a_name_comes_back(name):
    assert name_of_file(file_name(name)) == name


@given(st.text(max_size=300), st.text(max_size=300))
def test_only_one_name_has_a_file_name(a, b):
    assert (file_name(a) == file_name(b)) == (a == b)


def test_plain_names_stay_as_they_are():
    assert file_name("OS_groups") == "OS_groups" and file_name("B,rna+mirna") == "B,rna+mirna"
