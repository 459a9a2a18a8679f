"""What the networks see of a patient: modalities on the training rows' scale, missing ones imputed
or marked.

The first half of the story that `model` tells; how a row is laid out is said there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from omics_jax.data.preprocessing import features as omics_preprocessing
from omics_jax.systems.multiomics import imputer
from omics_jax.systems.multiomics.networks import Embedding, Heads
from omics_jax.tasks.task import Task
from omics_jax.training.stage import Variables

SLOT = "patients"
OTHERS = "others"  # patients of other classes, on which an imputer may be trained first


@dataclass(frozen=True)
class Network:
    """The shapes of a model.

    config: of the run. sizes: modality -> F, all that the rows have. used: those that are embedded.
    edges: modality -> the sources from which it is imputed where it is missing. tasks: those that
      have a head.
    weights: task -> w_k of equation 2, 1 where it has none. bins: survival task -> K of its grid.
    """

    config: Any
    sizes: Mapping[str, int]
    used: tuple[str, ...]
    edges: Mapping[str, tuple[str, ...]]
    tasks: tuple[Task, ...]
    weights: Mapping[str, float] = field(default_factory=dict)
    bins: Mapping[str, int] = field(default_factory=dict)

    @property
    def embedding(self) -> Embedding:
        m = self.config.model
        sizes = {name: self.sizes[name] for name in self.used}
        return Embedding(sizes, m.fusion, tuple(m.branch), tuple(m.shared), m.latent, m.dropout)

    @property
    def heads(self) -> Heads:
        outputs = {"classification": lambda t: len(t.classes), "regression": lambda t: 1}
        outputs["survival"] = lambda t: self.bins[t.name]
        settings = {kind: h.to_dict() for kind, h in self.config.heads.items()}
        return Heads(
            {
                t.name: dict(
                    kind=t.kind,
                    widths=tuple(settings[t.kind]["widths"]),
                    outputs=outputs[t.kind](t),
                    dropout=settings[t.kind]["dropout"],
                )
                for t in self.tasks
            }
        )


class Patients(NamedTuple):
    """Patients as the embedding reads them.

    x: modality -> (n, F) in [0, 1], whatever is missing filled. present (n, M): measured or
    imputed, of those used. cells: modality -> (n, F), where x was observed, or imputed with its
    whole modality. imputed (n, M): the latter.
    """

    x: Mapping[str, jax.Array]
    present: jax.Array
    cells: Mapping[str, jax.Array]
    imputed: jax.Array


def scaled(constants: Variables, rows, name: str) -> jax.Array:
    """(n, F) a modality on the training rows' min-max scale, the training mean where a cell is
    missing.
    """
    return omics_preprocessing.scale(_fitted(constants, name), rows[f"x_{name}"], rows[f"m_{name}"])


def unscaled(constants: Variables, name: str, values: jax.Array) -> jax.Array:
    """Values (n, F) of that scale in the rows' units."""
    return omics_preprocessing.invert(_fitted(constants, name), values)


def average(constants: Variables, name: str) -> jax.Array:
    """(F,) the training mean of every feature of a modality, on that scale."""
    fitted = _fitted(constants, name)
    return omics_preprocessing.scale(
        fitted, fitted["fill"][None], jnp.ones((1, len(fitted["fill"])), bool)
    )[0]


def _fitted(constants: Variables, name: str) -> dict[str, jax.Array]:
    return {key: constants[f"{name}_{key}"] for key in ("fill", "low", "high")}


def measured(network: Network, rows) -> dict[str, jax.Array]:
    """Modality -> (n,) whether the patient has it."""
    return {name: rows["has"][:, i] for i, name in enumerate(network.sizes)}


def imputable(network: Network, has: Mapping[str, jax.Array], name: str) -> jax.Array:
    """(n,) whether the patient has a source of the modality."""
    return jnp.any(jnp.stack([has[s] for s in network.edges[name]]), axis=0)


def imputed_values(network: Network, variables: Variables, rows, name: str) -> jax.Array:
    """(E, n, F) every member's estimate of a modality on its scale, dead features 0; whatever was
    measured of it.
    """
    sources = network.edges[name]
    x = {s: scaled(variables["constants"], rows, s) for s in sources}
    inputs = imputer.sources_of(sources, x, measured(network, rows))
    found = imputer.estimate(variables["params"]["imputer"][name], inputs)
    return jnp.where(variables["constants"][f"{name}_alive"], found, 0)


def patients(network: Network, variables: Variables, rows) -> Patients:
    """Rows as the embedding reads them, missing modalities imputed where the network has an imputer
    for them.
    """
    constants, has = variables["constants"], measured(network, rows)
    x, cells, present, imputed = {}, {}, [], []
    for name in network.used:
        x[name] = scaled(constants, rows, name)
        filled = jnp.zeros_like(has[name])
        if name in network.edges:
            filled = ~has[name] & imputable(network, has, name)
            mean = imputed_values(network, variables, rows, name).mean(axis=0)
            x[name] = jnp.where(filled[:, None], mean, x[name])
        cells[name] = (rows[f"m_{name}"] | filled[:, None]) & constants[f"{name}_alive"]
        present.append(has[name] | filled)
        imputed.append(filled)
    return Patients(x, jnp.stack(present, axis=1), cells, jnp.stack(imputed, axis=1))


def prepared(network: Network, variables: Variables, rows) -> dict[str, jax.Array]:
    """`patients` as fields of rows: what a stage with a frozen imputer computes once."""
    found = patients(network, variables, rows)
    fields = {f"p_{name}": found.x[name] for name in network.used}
    fields |= {f"c_{name}": found.cells[name] for name in network.used}
    return {**fields, "present": found.present, "imputed": found.imputed}


def read_patients(network: Network, variables: Variables, rows) -> Patients:
    """The patients of a batch, as `prepared` once or made now."""
    if "present" not in rows:
        return patients(network, variables, rows)
    pick = lambda prefix: {name: rows[f"{prefix}_{name}"] for name in network.used}
    return Patients(pick("p"), rows["present"], pick("c"), rows["imputed"])
