"""What MIRACLE's experiments conclude from scores by hand, and what transfer hands on."""

import numpy as np
import pandas as pd
import pytest
from every_arm import arms_of
from miracle_people import arms, people

from omics_jax.evaluation.tables import Frame
from omics_jax.study.system import MODEL, Results
from omics_jax.systems.miracle import assembly, stability
from omics_jax.systems.miracle.explained import PATHWAYS
from omics_jax.systems.miracle.model import ENCODER

# --- stability ------------------------------------------------------------------------------------


def by_fold(column, values):
    rows = [
        {"arm": "a", "model": MODEL, "repeat": 0, "fold": f, column: v}
        for f, own in enumerate(values)
        for v in own
    ]
    return pd.DataFrame(rows)


def test_stability_of_sites_is_among_all_sites():
    chosen = by_fold("site", [["s1", "s2"], ["s1", "s3"]]).assign(of=10)
    frames = {stability.CHOSEN: Frame(stability.CHOSEN, chosen)}
    table = stability.stability_table(Results(pd.DataFrame(), frames, {}), ["a"])
    selected = np.zeros((2, 10), bool)
    selected[0, [0, 1]] = selected[1, [0, 2]] = True
    share, k = selected.mean(axis=0), 2 / 10
    expected = 1 - (2 * share * (1 - share)).mean() / (k * (1 - k))
    assert table.frame["value"].tolist() == pytest.approx([expected])


def test_pathways_without_any_difference_are_never_first():
    """Their ties are the same in every fold, and no agreement."""
    z = np.zeros((3, 60))
    for fold in range(3):
        z[fold, 5 * fold : 5 * fold + 5] = 1.0
    rows = by_fold("z", z).assign(pathway=np.tile(np.arange(60), 3))
    assert stability.pathway_stability(rows).index < 0
    frames = {
        stability.CHOSEN: Frame(stability.CHOSEN, by_fold("site", [["s"], ["t"]]).assign(of=9)),
        f"{PATHWAYS} RA": Frame(PATHWAYS, rows),
    }
    table = stability.stability_table(Results(pd.DataFrame(), frames, {}), ["a"])
    assert table.frame["series"].tolist() == ["sites", "RA: pathways"]


# --- reconstruction -------------------------------------------------------------------------------


def test_the_explained_variance_is_that_of_the_test_cells():
    nothing = people(np.full((2, 3), 0.5))

    def no_tasks(predictions, test, train):
        return assembly.Evaluation({})

    fields = {"squared_error": np.array([1.0, 2.0]), "squared_value": np.array([4.0, 8.0])}
    evaluation = assembly.evaluate(no_tasks, fields, nothing, nothing)
    assert evaluation.metrics == {assembly.RECONSTRUCTION: pytest.approx(0.75)}
    assert assembly.evaluate(no_tasks, {}, nothing, nothing).metrics == {}


# --- transfer -------------------------------------------------------------------------------------


def test_a_pretrained_network_keeps_the_sites_scales_and_connections_of_its_autoencoder():
    """Fitted to its own people alone these would be others, and weights would change places."""
    source, *others = arms_of("miracle", "transfer")
    pretrained = [arm for arm in others if "pretrained" in arm.labels]
    assert [arm.labels["pretrained"] for arm in pretrained] == ["IBD", "MS"]
    for arm in pretrained:
        assert arm.start_from == source.name and arm.takes == (ENCODER,)
        for own, fold in zip(arm.replicates, source.replicates, strict=True):
            np.testing.assert_array_equal(own.seed, fold.seed)
            assert not np.isin(own.test, fold.rows["people"]).any()
            for name, values in fold.constants.items():
                np.testing.assert_array_equal(own.constants[name], values)


def test_transfer_needs_sites_that_all_networks_share():
    with pytest.raises(Exception, match="set --config.selection.method=none"):
        arms("--config.experiment=transfer", "--config.selection.method=t")
