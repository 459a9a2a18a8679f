"""A small system that no paper describes: series (n, T, F) in a recurrent network, in two stages.

"pretrain" predicts the next time step; "heads" classifies and regresses every row with labels
missing at random, on the frozen encoder. The drift of a row's series decides both labels, so there
is something to learn.
"""

import functools
import hashlib
from dataclasses import replace
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from omics_jax.nn.noise import row_dropout
from omics_jax.nn.norm import MaskedBatchNorm
from omics_jax.training.devices import Devices
from omics_jax.training.history import History
from omics_jax.training.loop import RunContext, fit
from omics_jax.training.packing import packed
from omics_jax.training.pcgrad import pcgrad
from omics_jax.training.plan import Options, Training, make_plan
from omics_jax.training.stage import Replicate, Stage, Term

ROWS, STEPS, FEATURES, HIDDEN = 263, 4, 3, 5
TRAIN, TEST = 203, 30
HEADS = ("frozen", "features", "pcgrad")  # ways of training the heads


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, x, rows, live, train, key):
        n = len(x)
        # No bias: batch norm takes it out again, and Adam would make steps of the rounding error
        # that is its gradient.
        y = nn.Dense(HIDDEN, use_bias=False)(x).reshape(n, -1)
        y = nn.tanh(MaskedBatchNorm(name="norm")(y, live, train)).reshape(n, STEPS, HIDDEN)
        if train:
            y = row_dropout(key, rows, y, 0.2)
        scan = nn.scan(
            nn.GRUCell,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=1,
            out_axes=1,
        )
        return scan(features=HIDDEN, name="cell")(jnp.zeros((n, HIDDEN)), y)[1]


class Net(nn.Module):
    def setup(self):
        self.encoder, self.decoder = Encoder(), nn.Dense(FEATURES)
        self.heads = nn.Dense(2)

    def encode(self, x, rows, live, train, key):
        return self.encoder(x, rows, live, train, key)

    def following(self, hidden):
        return self.decoder(hidden[:, :-1])

    def labels(self, pooled):
        return self.heads(pooled)

    def __call__(self, x, rows, live):
        hidden = self.encode(x, rows, live, False, None)
        return self.following(hidden), self.labels(hidden.mean(axis=1))


NET = Net()


def table(seed=0):
    rng = np.random.default_rng(seed)
    drift = rng.normal(size=ROWS)
    noise = rng.normal(size=(ROWS, STEPS, FEATURES))
    x = (
        drift[:, None, None] * np.arange(STEPS)[:, None] * np.array([1, -0.5, 0.2])
        + 0.3 * noise
        + 2
    )
    return {
        "x": x.astype(np.float32),
        "kind": (drift > 0).astype(np.float32),
        "kind_known": rng.random(ROWS) < 0.7,
        "size": (2 * drift + 0.1 * rng.normal(size=ROWS)).astype(np.float32),
        "size_known": rng.random(ROWS) < 0.5,
        "weight": np.ones(ROWS, np.float32),
    }


TABLE = table()
IDS = np.array([f"patient-{i:03d}" for i in range(ROWS)])


def replicate(seed, n=TRAIN, rows=None, **more):
    order = np.random.default_rng(seed).permutation(ROWS).astype(np.int32)
    rows = order[:n] if rows is None else rows
    x = TABLE["x"][rows]
    constants = {"centre": x.mean(axis=(0, 1)), "scale": x.std(axis=(0, 1))}
    validation = {"rows": order[TRAIN : TRAIN + TEST]}
    labels = {"group": "toy", "fold": seed}
    return Replicate(
        {"rows": rows}, validation, order[TRAIN + TEST :], seed, constants, labels, **more
    )


def replace_constants(one: Replicate) -> Replicate:
    """The replicate with constants of the right shape, where it has none of its own."""
    return replace(
        one,
        constants={
            "centre": np.zeros(FEATURES, np.float32),
            "scale": np.ones(FEATURES, np.float32),
        },
    )


def standardised(variables, slot):
    constants = variables["constants"]
    x = (slot["x"] - constants["centre"]) / constants["scale"]
    # Padded rows may hold anything, and the gradient of a mask after this point would be 0 times
    # NaN.
    return jnp.where(jnp.asarray(slot["live"])[:, None, None], x, 0)


def encode(variables, slot, train=False, key=None):
    """(hidden states, new batch statistics)."""
    collections = {name: variables[name] for name in ("params", "batch_stats")}
    inputs = (
        standardised(variables, slot),
        jnp.asarray(slot["row"]),
        jnp.asarray(slot["live"]),
        train,
        key,
    )
    if not train:
        return NET.apply(collections, *inputs, method="encode"), variables["batch_stats"]
    hidden, changed = NET.apply(collections, *inputs, method="encode", mutable=["batch_stats"])
    return hidden, changed["batch_stats"]


def next_step(variables, batch, key, train=True):
    """Terms "next" (one entry per feature) and "activity"."""
    slot = batch["rows"]
    hidden, stats = encode(variables, slot, train, key)
    guess = NET.apply({"params": variables["params"]}, hidden, method="following")
    weight = jnp.where(slot["live"], slot["weight"], 0)
    error = (guess - standardised(variables, slot)[:, 1:]) ** 2 * weight[:, None, None]
    live, count = slot["live"][:, None, None], jnp.sum(weight)
    terms = {
        "next": Term(
            jnp.sum(jnp.where(live, error, 0), axis=(0, 1)), jnp.full(FEATURES, (STEPS - 1)) * count
        ),
        "activity": Term(jnp.sum(jnp.where(live, hidden**2, 0)), count),
    }
    return terms, stats


def pooled(variables, slot):
    return {"pooled": encode(variables, slot)[0].mean(axis=1)}


def two_tasks(variables, batch, key):
    """Terms "kind" (cross-entropy) and "size" (squared error) over rows with a known label."""
    slot = batch["rows"]
    summary = slot["pooled"] if "pooled" in slot else pooled(variables, slot)["pooled"]
    out = NET.apply({"params": variables["params"]}, summary, method="labels")
    losses = {
        "kind": optax.sigmoid_binary_cross_entropy,
        "size": lambda guess, label: (guess - label) ** 2,
    }
    terms = {}
    for i, (name, loss) in enumerate(losses.items()):
        known = slot["live"] & slot[f"{name}_known"]
        each = loss(out[:, i], jnp.where(known, slot[name], 0))
        terms[name] = Term(jnp.sum(jnp.where(known, each, 0)), jnp.sum(known, dtype=jnp.float32))
    return terms, variables["batch_stats"]


def pretrain_objective(terms):
    return jnp.mean(terms["next"].mean) + 0.01 * terms["activity"].mean


def heads_objective(terms):
    return terms["kind"].mean + 0.5 * terms["size"].mean


def heads_tasks(terms):
    return jnp.stack([terms["kind"].mean, 0.5 * terms["size"].mean])


def pretrain(epochs=3, batch=32, rate=1e-2, **more):
    monitor = lambda v, b: pretrain_objective(next_step(v, b, None, train=False)[0])
    optimizer = more.pop("optimizer", packed(optax.adam(rate)))
    settings = {"trainable": ("(encoder|decoder)/.*",), "monitor": monitor, **more}
    return Stage(
        "pretrain", next_step, pretrain_objective, optimizer, epochs, {"rows": batch}, **settings
    )


def heads(variant, epochs=3, batch=32, **more):
    return Stage(
        "heads",
        two_tasks,
        heads_objective,
        packed(optax.adam(1e-2)),
        epochs,
        {"rows": batch},
        trainable=("heads/.*",),
        monitor=lambda v, b: heads_objective(two_tasks(v, b, None)[0]),
        features=pooled if variant == "features" else None,
        reads=("pooled", "(kind|size)(_known)?") if variant == "features" else (".*",),
        balance=pcgrad(heads_tasks) if variant == "pcgrad" else None,
        **more,
    )


def init(key, batch, constants):
    slot = batch["rows"]
    variables = NET.init(key, *(jnp.asarray(slot[name]) for name in ("x", "row", "live")))
    return {"params": variables["params"], "batch_stats": variables["batch_stats"]}


def training(stages, replicates, rows=TABLE):
    return Training(stages, init, rows, IDS, replicates)


@functools.cache
def plan(
    variant="frozen",
    *,
    seeds=(0,),
    n=TRAIN,
    batch=32,
    epochs=3,
    devices=1,
    spread="data",
    sgd=False,
    **options,
):
    """Both stages made ready; one plan per set of arguments, so that its programs compile once."""
    stages = (
        pretrain(epochs, batch, **({"optimizer": optax.sgd(0.1)} if sgd else {})),
        heads(variant, epochs, batch),
    )
    replicates = [replicate(seed, n) for seed in seeds]
    return make_plan(
        training(stages, replicates), Options(devices=Devices(devices, spread), **options)
    )


def train(ready, folder: Path, stop=lambda: None, prune=None):
    """Everything `fit` yields, joined over chunks: stage -> variables (R, ...)."""
    folder.mkdir(parents=True, exist_ok=True)
    context = RunContext(
        folder / "checkpoints", History(folder / "history.jsonl"), stop=stop, prune=prune
    )
    chunks = [by_stage for _, by_stage in fit(ready, context)]
    return jax.tree.map(lambda *parts: np.concatenate(parts), *chunks)


def digest(tree) -> str:
    """sha256 over paths, shapes and bytes of all leaves."""
    sha = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        leaf = np.ascontiguousarray(leaf)
        sha.update(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}".encode())
        sha.update(leaf.tobytes())
    return sha.hexdigest()


def stop_after(blocks):
    """A `stop` that says SIGTERM at the end of the given number of blocks, and ever after."""
    seen = iter(range(1, 1 << 30))
    return lambda: 15 if next(seen) >= blocks else None
