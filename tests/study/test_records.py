"""What a run keeps of its specs comes back from JSON as the value it was."""

import json

import pytest

from omics_jax.study.records import from_record, to_record
from omics_jax.study.system import DataSpec
from omics_jax.systems import multiomics, pertvae
from omics_jax.tasks.task import Task

FEATURES = {"rna": ("TP53", "EGFR"), "mirna": ("miR-21",)}
ROWS = {"patients": 40, "others": 0}
TASKS = (
    Task("type", "classification", ("A", "B")),
    Task("age", "regression"),
    Task("OS", "survival", bins=7),
)
SPECS = {
    "any system": DataSpec(FEATURES, ROWS),
    "multi-omics": multiomics.Spec(
        FEATURES,
        ROWS,
        used=("rna", "mirna"),
        edges={"mirna": ("rna",), "rna": ()},
        tasks=TASKS,
        times={"OS": (100.0, 365.25)},
        some_incomplete=True,
    ),
    "multi-omics imputers": multiomics.Spec(FEATURES, ROWS, used=("rna",)),
    "PertVAE": pertvae.Spec(FEATURES, ROWS, platforms=("L1000", "RNA-seq")),
    "PertVAE, one platform": pertvae.Spec({}, {}),
}


def through_json(value):
    return json.loads(json.dumps(to_record(value)))


@pytest.mark.parametrize("name", SPECS)
def test_a_spec_comes_back_from_json_as_it_was(name):
    spec = SPECS[name]
    restored = from_record(type(spec), through_json(spec))
    assert restored == spec and type(restored) is type(spec)
    assert repr(restored) == repr(spec)


@pytest.mark.parametrize("lacking", ["features", "rows"])
def test_a_record_without_a_field_that_has_no_default_is_an_error(lacking):
    record = through_json(SPECS["multi-omics"])
    del record[lacking]
    with pytest.raises(KeyError, match=lacking):
        from_record(multiomics.Spec, record)


def test_a_task_of_the_record_without_its_kind_is_an_error():
    record = through_json(SPECS["multi-omics"])
    del record["tasks"][0]["kind"]
    with pytest.raises(KeyError, match="kind"):
        from_record(multiomics.Spec, record)


def test_what_has_a_default_may_be_absent_and_what_no_field_holds_is_left_out():
    record = through_json(DataSpec(FEATURES, ROWS))
    assert from_record(multiomics.Spec, record) == multiomics.Spec(FEATURES, ROWS)
    assert from_record(DataSpec, through_json(SPECS["PertVAE"])) == DataSpec(FEATURES, ROWS)
