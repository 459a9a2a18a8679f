"""Large texts are read in blocks, and a matrix is the same as if its text had been read whole."""

import gzip

import numpy as np
import pandas as pd
import pytest

from omics_jax.data.formats import streamed
from omics_jax.data.formats.read import read_matrix
from omics_jax.data.memory import memory_limit
from omics_jax.errors import UserError

BODY = "\n".join(f"cg{j:08d},{j / 7:.4f},{'' if j % 3 else j},{-j}e-3" for j in range(40)) + "\n"
CSV = "ID_REF,s1,s2,s3\n" + BODY
TABS = CSV.replace(",", "\t")
GEO = (
    '!Series_title\t"a"\n!Sample_geo_accession\t"s1"\t"s2"\t"s3"\n'
    '!Sample_characteristics_ch1\t"age: 1"\t"age: 2"\t"age: 3"\n!series_matrix_table_begin\n'
    + TABS.replace("ID_REF", '"ID_REF"')
    + "!series_matrix_table_end\n\n"
)
PLAIN = {
    "a.csv": CSV,
    "b.tsv": TABS,
    "c.csv.gz": CSV,
    "d.csv": CSV.replace("\n", "\r\n"),
    "e.csv": "\ufeff# a comment\n\n" + CSV.removesuffix("\n"),
    "f.txt": TABS.removeprefix("ID_REF\t"),
    "g.csv": CSV.replace("cg00000012", '"cg, 12"').replace("cg00000013", "cg-\u00e9"),
    "h.csv": CSV.replace("cg00000021,", "\n\ncg00000021,"),
    "GSE1_series_matrix.txt": GEO,
    "GSE2_series_matrix.txt.gz": GEO,
}
OTHER = {
    "text.csv": CSV.replace("cg00000030,4.2857,30", "cg00000030,4.2857,high"),
    "limit.csv": CSV.replace("cg00000030,4.2857,30", "cg00000030,4.2857,<0.1"),
    "short.csv": CSV.replace("cg00000030,4.2857,30", "cg00000030,30"),
    "quote.csv": CSV.replace("cg00000030", '"cg00000030'),
    "large.csv": CSV.replace("cg00000030,4.2857,30", "cg00000030,4.2857,16777217"),
    "latin.csv": CSV.encode().replace(b"cg00000030", b"cg\xe9"),
    "zero.csv": CSV.replace("cg00000030", "cg\0"),
    "cut.csv.gz": gzip.compress(CSV.encode())[:-20],
    "empty.csv": "ID_REF,s1\n",
}


def write(tmp_path, name, text):
    data = text if isinstance(text, bytes) else text.encode()
    is_packed = name.endswith(".gz") and not data.startswith(b"\x1f\x8b")
    (tmp_path / name).write_bytes(gzip.compress(data) if is_packed else data)
    return tmp_path / name


@pytest.fixture
def in_blocks(monkeypatch):
    """Begins to read every text in blocks of 256 bytes; gives the list of what was so read."""

    def start():
        grids = []
        monkeypatch.setattr(streamed, "LARGE_BYTES", 0)
        monkeypatch.setattr(streamed, "LARGE_PACKED_BYTES", 0)
        monkeypatch.setattr(streamed, "BLOCK_BYTES", 256)
        real = streamed.Grid
        monkeypatch.setattr(streamed, "Grid", lambda **k: grids.append(k["rows"]) or real(**k))
        return grids

    return start


@pytest.mark.parametrize("name", PLAIN)
def test_a_matrix_in_blocks_is_that_of_the_whole_text(tmp_path, in_blocks, name):
    path = write(tmp_path, name, PLAIN[name])
    whole = read_matrix(path)
    grids = in_blocks()
    found = read_matrix(path)
    assert len(grids) == 1
    assert len(grids[0]) == 40
    assert found.ids.tolist() == whole.ids.tolist() == ["s1", "s2", "s3"]
    assert found.features.tolist() == whole.features.tolist()
    np.testing.assert_array_equal(found.values, whole.values)
    np.testing.assert_array_equal(found.mask, whole.mask)
    pd.testing.assert_frame_equal(found.table, whole.table)
    assert found.uses == whole.uses


@pytest.mark.parametrize("name", OTHER)
def test_what_is_not_plain_is_left_to_the_reader_of_whole_texts(tmp_path, in_blocks, name):
    path = write(tmp_path, name, OTHER[name])

    def outcome():
        try:
            return read_matrix(path, "genes").values.tolist()
        except UserError as error:
            return str(error)

    whole = outcome()
    grids = in_blocks()
    assert outcome() == whole
    assert not grids


def test_places_in_messages_are_lines_of_the_file(tmp_path, in_blocks):
    in_blocks()
    text = CSV.replace("cg00000030", "cg00000020").replace("cg00000010,", "\n\ncg00000010,")
    with pytest.raises(UserError, match="occurs twice, at line 24 and line 34"):
        read_matrix(write(tmp_path, "a.csv", text))
    with pytest.raises(UserError, match=r"line 34.* is infinite"):
        read_matrix(write(tmp_path, "b.csv", text.replace("cg00000020,4.2857", "cg3,inf")))


def test_numbers_beyond_the_limit_of_memory_are_refused(tmp_path, in_blocks):
    in_blocks()
    path = write(tmp_path, "a.csv", CSV)
    with memory_limit(300 / 2**30), pytest.raises(UserError, match="its numbers takes"):
        read_matrix(path)
