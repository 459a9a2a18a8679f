"""What the networks see of a patient: modalities on the training rows' scale, missing ones imputed
or marked.

How a row is laid out stands in `model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from omics_jax.data.preprocessing import features
from omics_jax.systems.multiomics import imputer
from omics_jax.systems.multiomics.networks import Embedding
from omics_jax.tasks.task import Task
from omics_jax.training.stage import Variables

SLOT = "patients"
OTHERS = "others"  # patients of other classes, on which an imputer may be trained first


@dataclass(frozen=True)
class ModelShape:
    """The shapes of a model.

    config: of the run.
    sizes: modality -> F, all that the rows have.
    used: those that are embedded.
    edges: modality -> the sources from which it is imputed where it is missing.
    tasks: those that have a head.
    """

    config: Any
    sizes: Mapping[str, int]
    used: tuple[str, ...]
    edges: Mapping[str, tuple[str, ...]]
    tasks: tuple[Task, ...] = ()

    @property
    def embedding(self) -> Embedding:
        """The network that embeds the modalities `used`."""
        m = self.config.model
        sizes = {name: self.sizes[name] for name in self.used}
        return Embedding(sizes, m.fusion, tuple(m.branch), tuple(m.shared), m.latent, m.dropout)


Rows = Mapping[str, Array]
Values = Float[Array, "n F"]


class Patients(NamedTuple):
    """Patients as the embedding reads them.

    x: modality -> (n, F) in [0, 1], whatever is missing filled.
    present: (n, M) measured or imputed, of the modalities used.
    cells: modality -> (n, F), where x was observed, or imputed with its whole modality.
    imputed: (n, M) the modalities that were imputed.
    """

    x: Mapping[str, Values]
    present: Bool[Array, "n M"]
    cells: Mapping[str, Bool[Array, "n F"]]
    imputed: Bool[Array, "n M"]


def scaled(constants: Variables, rows: Rows, name: str) -> Values:
    """A modality on the training rows' min-max scale, the training mean where a cell is missing."""
    return features.scale(_scale_of(constants, name), rows[f"x_{name}"], rows[f"m_{name}"])


def unscaled(constants: Variables, name: str, values: Values) -> Values:
    """Values of that scale in the rows' units."""
    return features.invert(_scale_of(constants, name), values)


def average(constants: Variables, name: str) -> Float[Array, " F"]:
    """The training mean of every feature of a modality, on that scale."""
    fitted = _scale_of(constants, name)
    observed = jnp.ones((1, len(fitted["fill"])), bool)
    return features.scale(fitted, fitted["fill"][None], observed)[0]


def _scale_of(constants: Variables, name: str) -> dict[str, Float[Array, " F"]]:
    return {key: constants[f"{name}_{key}"] for key in ("fill", "low", "high")}


def measured(shape: ModelShape, rows: Rows) -> dict[str, Bool[Array, " n"]]:
    """Modality -> whether the patient has it."""
    return {name: rows["has"][:, i] for i, name in enumerate(shape.sizes)}


def imputable(
    shape: ModelShape, has: Mapping[str, Bool[Array, " n"]], name: str
) -> Bool[Array, " n"]:
    """Whether the patient has a source of the modality."""
    return jnp.any(jnp.stack([has[source] for source in shape.edges[name]]), axis=0)


def imputed_values(
    shape: ModelShape, variables: Variables, rows: Rows, name: str
) -> Float[Array, "E n F"]:
    """Every member's estimate of a modality on its scale, whatever was measured of it; 0 for the
    features that this replicate did not choose.
    """
    sources = shape.edges[name]
    x = {source: scaled(variables["constants"], rows, source) for source in sources}
    inputs = imputer.sources_of(sources, x, measured(shape, rows))
    estimates = imputer.estimate(variables["params"]["imputer"][name], inputs)
    return jnp.where(variables["constants"][f"{name}_alive"], estimates, 0)


def patients(shape: ModelShape, variables: Variables, rows: Rows) -> Patients:
    """Rows as the embedding reads them, missing modalities imputed where the model has an imputer
    for them.
    """
    constants, has = variables["constants"], measured(shape, rows)
    x, cells, present, imputed = {}, {}, [], []
    for name in shape.used:
        x[name] = scaled(constants, rows, name)
        filled = jnp.zeros_like(has[name])
        if name in shape.edges:
            filled = ~has[name] & imputable(shape, has, name)
            mean = imputed_values(shape, variables, rows, name).mean(axis=0)
            x[name] = jnp.where(filled[:, None], mean, x[name])
        cells[name] = (rows[f"m_{name}"] | filled[:, None]) & constants[f"{name}_alive"]
        present.append(has[name] | filled)
        imputed.append(filled)
    return Patients(x, jnp.stack(present, axis=1), cells, jnp.stack(imputed, axis=1))


def prepared(shape: ModelShape, variables: Variables, rows: Rows) -> dict[str, Array]:
    """`patients` as fields of rows: what a stage with a frozen imputer computes once."""
    made = patients(shape, variables, rows)
    fields = {f"p_{name}": made.x[name] for name in shape.used}
    fields |= {f"c_{name}": made.cells[name] for name in shape.used}
    return {**fields, "present": made.present, "imputed": made.imputed}


def prepared_patients(shape: ModelShape, variables: Variables, rows: Rows) -> Patients:
    """The patients of a batch, as `prepared` once or made now."""
    if "present" not in rows:
        return patients(shape, variables, rows)
    x = {name: rows[f"p_{name}"] for name in shape.used}
    cells = {name: rows[f"c_{name}"] for name in shape.used}
    return Patients(x, rows["present"], cells, rows["imputed"])
