"""The reconstruction of beta values ("bce") by a whole network, against numpy.

The network is small and dense without norms, so that the decoder is two lines of numpy; cells are
missing, the effects of age are removed from the sites, and one age is unknown.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miracle_people import FreshArm
from trees import jittered

from omics_jax.systems.miracle import model
from omics_jax.systems.miracle.model import SLOT
from omics_jax.systems.miracle.sites import LIMIT


@pytest.fixture(scope="module")
def fresh():
    return FreshArm(
        *("--config.model.reconstruction=bce", "--config.model.mask=none"),
        *("--config.model.batch_norm=False", "--config.model.activation=relu"),
        *("--config.adjust.remove=('age',)", "--config.simulator.age_effect=1.0"),
        *("--config.simulator.missing_cells=0.2", "--config.selection.method=t"),
        "--config.selection.sites=40",  # of 60 for each of two diseases: some are chosen for both
    )


@pytest.fixture(scope="module")
def variables(fresh):
    params = jittered(fresh.variables["params"], 0.3, 0)
    return {**fresh.variables, "params": params}


@pytest.fixture(scope="module")
def rows(fresh):
    """Of which the third person's age is unknown, and the last row is padding."""
    unknown = fresh.rows["c"].at[2].set(jnp.nan)
    return {**fresh.rows, "c": unknown, "live": fresh.rows["live"].at[-1].set(False)}


class Expected:
    """By numpy, in double precision, of the chosen sites alone (c of w places).

    beta, observed: (n, c). logits: (n, c) of the decoder for the pathway means.
    """

    def __init__(self, fresh, variables, rows, mean):
        data, constants = fresh.arm.dataset, fresh.replicate.constants
        self.alive = constants["alive"]
        chosen, people = constants["columns"][self.alive], np.asarray(rows["row"])
        modality = data.modalities["methylation"]
        self.beta = modality.values[people][:, chosen].astype(float)
        self.observed = modality.mask[people][:, chosen]
        params = jax.tree.map(
            lambda leaf: np.asarray(leaf, float), variables["params"][model.ENCODER]
        )
        first, last = params["down_0"], params["down_1"]
        genes = np.maximum(np.asarray(mean, float) @ first["kernel"] + first["bias"], 0)
        self.logits = (genes @ last["kernel"] + last["bias"])[:, self.alive]
        ages = data.table["age"].astype(float).to_numpy()
        train = ages[fresh.replicate.rows[SLOT]]
        self.age = (ages[people] - train.mean()) / train.std()
        self.age[2] = 0  # unknown
        self.mean, self.sd, (self.slope,) = (
            constants[name][..., self.alive].astype(float) for name in ("mean", "sd", "coef")
        )

    def standardised(self, beta):
        expected = self.mean + self.age[:, None] * self.slope
        return np.clip((beta - expected) / self.sd, -LIMIT, LIMIT)


@pytest.fixture(scope="module")
def mean(fresh, variables, rows):
    chosen = model.chosen_sites(variables, rows)
    return model.pathway_means(fresh.shape, variables, chosen.standardized, rows)


@pytest.fixture(scope="module")
def expected(fresh, variables, rows, mean):
    return Expected(fresh, variables, rows, mean)


def test_cells_are_missing_places_are_empty_and_age_matters(expected):
    """What the other tests are about."""
    assert 0.05 < 1 - expected.observed.mean() < 0.5
    assert not expected.alive.all()
    assert np.abs(expected.slope / expected.sd).max() > 0.5


def test_reconstructed_beta_values_are_standardised_for_the_age_of_their_person(
    fresh, variables, rows, mean, expected
):
    decoded = np.asarray(model.decoded_sites(fresh.shape, variables, mean, rows))
    own = expected.standardised(1 / (1 + np.exp(-expected.logits)))
    np.testing.assert_allclose(decoded[:, expected.alive], own, rtol=1e-4, atol=1e-4)
    assert not decoded[:, ~expected.alive].any()


def test_the_loss_is_the_cross_entropy_of_beta_values_that_are_not_adjusted(
    fresh, variables, rows, expected
):
    """Of the observed cells of live rows; without a key z is the mean."""
    term = fresh.network.encode(variables, rows, None).terms["reconstruction"]
    p = 1 / (1 + np.exp(-expected.logits))
    entropy = -(expected.beta * np.log(p) + (1 - expected.beta) * np.log(1 - p))
    counted = expected.observed.copy()
    counted[-1] = False
    assert float(term.weight) == counted.sum()
    np.testing.assert_allclose(term.sum, entropy[counted].sum(), rtol=1e-5)


def test_the_errors_of_a_prediction_are_those_of_the_observed_standardised_sites(
    fresh, variables, rows, expected
):
    predictions = fresh.predict(variables, rows)
    measured = expected.standardised(expected.beta)
    decoded = expected.standardised(1 / (1 + np.exp(-expected.logits)))
    for name, values in (("error", decoded - measured), ("value", measured)):
        sums = np.where(expected.observed, values**2, 0).sum(axis=1)
        np.testing.assert_allclose(predictions[f"squared_{name}"], sums, rtol=1e-4)
