"""Lists in texts: one parser for commas, pluses and equals signs, and for names that hold them."""

import pytest

from omics_jax.errors import UserError
from omics_jax.settings.words import parse_pairs, parse_tuple, split_known, split_list


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("cell_line,time", ("cell_line", "time")),
        ("vorinostat, 5-FU", ("vorinostat", "5-FU")),
        ("DMSO control,untreated", ("DMSO control", "untreated")),
        (r"5\,6-EET,DMSO", ("5,6-EET", "DMSO")),
        ("('5,6-EET',)", ("5,6-EET",)),
        ("('a', 'b')", ("a", "b")),
        ("['a']", ("a",)),
        ("'a'", ("a",)),
        ("(+)-JQ1,DMSO", ("(+)-JQ1", "DMSO")),
        ("data/a.csv", ("data/a.csv",)),
        (r"C:\data\a.csv", (r"C:\data\a.csv",)),
        ("64,32", (64, 32)),
        ("(64, 32)", (64, 32)),
        ("0.1,0.2, 1e-3", (0.1, 0.2, 0.001)),
        ("007,12", ("007", "12")),
        ("nan,inf", ("nan", "inf")),
        ("a,", ("a",)),
        ("", ()),
        ("()", ()),
    ],
)
def test_a_tuple_is_written_with_commas(text, value):
    parsed = parse_tuple(text)
    assert parsed == value and [type(item) for item in parsed] == [type(item) for item in value]


def test_a_mark_after_a_backslash_is_itself():
    assert split_list(r"a\+b+c", "+") == ["a+b", "c"]
    assert split_list(r"OS\:time:OS", ":") == ["OS:time", "OS"]
    assert split_list(r"C:\dir,b") == [r"C:\dir", "b"]


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", {}),
        ("rna=a.csv, mirna=b.csv", {"rna": "a.csv", "mirna": "b.csv"}),
        ("rna=a.csv,", {"rna": "a.csv"}),
        ("rna=my, data/rna.tsv, mirna=b.csv", {"rna": "my, data/rna.tsv", "mirna": "b.csv"}),
        ("hist=Other, specify", {"hist": "Other, specify"}),
        (r"hist=Other\, grade=2", {"hist": "Other, grade=2"}),
        (r"a\=b=c", {"a=b": "c"}),
        ("rna=run=1/rna.csv", {"rna": "run=1/rna.csv"}),
        # What a later split takes away stays.
        (r"er=ER\+", {"er": r"ER\+"}),
    ],
)
def test_pairs_and_commas_in_their_values(text, pairs):
    assert parse_pairs(text, "data.only") == pairs


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rna", "--config.data.only has 'rna'; write name=value"),
        ("rna=", "--config.data.only has 'rna='; write name=value"),
        ("=a.csv", "--config.data.only has '=a.csv'; write name=value"),
        ("rna=a.csv, rna=b.csv", "--config.data.only names 'rna' twice; give it once"),
    ],
)
def test_what_is_no_pair_is_refused(text, sentence):
    with pytest.raises(UserError) as caught:
        parse_pairs(text, "data.only")
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("ER+", ["ER+"]),
        ("ER-", ["ER-"]),
        ("ER++ER-", ["ER+", "ER-"]),
        ("ER-+ER+", ["ER-", "ER+"]),
        (r"ER\++ER-", ["ER+", "ER-"]),
        ("LumA+LumB", ["LumA", "LumB"]),
        # No sequence of known cells: each piece is an item, and the caller names the unknown one.
        ("ER-+HER2", ["ER-", "HER2"]),
        ("PR+", ["PR+"]),
    ],
)
def test_known_items_may_hold_the_mark(text, items):
    assert split_known(text, "+", {"ER+", "ER-", "LumA", "LumB"}) == items
