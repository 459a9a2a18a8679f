"""CPU seconds and peak memory of a step of a mirrored site-gene-pathway network: one core.

The network of the masked-network benchmarks: sites -> genes -> pathways and back, tanh between the
layers, six heads of 64 units on the pathways, mean squared error and cross-entropies, Adam, 64
rows. With --torch the same work in torch (a script for `--impl gather`) runs in turns on the same
core. --size=array is the whole 450k array, whose dense first weights would take 30 GiB.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys

from measuring import Stopwatch, emit, json_of_command, one_core, spread

SIZES = {
    "selected": dict(sites=20_000, genes=5_000, pathways=500),
    "array": dict(sites=365_860, genes=20_000, pathways=2_000),
}
GENES_PER_PATHWAY, BATCH, TASKS = 60, 64, 6


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="selected")
    parser.add_argument("--form", choices=("sparse", "dense"), default="sparse")
    parser.add_argument("--steps", type=int, default=10, help="timed steps in each round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, a process each")
    parser.add_argument("--torch", default="", help="python of an environment with torch")
    parser.add_argument(
        "--script", default="", help="torch script that prints cpu_sec_per_step as JSON"
    )
    parser.add_argument("--impl", default="gather", help="--impl of the torch script")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def random_edges(sites: int, genes: int, pathways: int):
    """One gene per site, `GENES_PER_PATHWAY` draws of genes per pathway."""
    import numpy as np

    rng = np.random.default_rng(0)
    to_gene = np.stack([np.arange(sites), rng.integers(0, genes, sites)], axis=1)
    pathway = np.repeat(np.arange(pathways), GENES_PER_PATHWAY)
    to_pathway = np.stack([rng.integers(0, genes, len(pathway)), pathway], axis=1)
    return to_gene, np.unique(to_pathway, axis=0)


def time_steps(size: str, form: str, steps: int) -> dict:
    """CPU seconds of each step after the first, which compiles, and the peak of memory."""
    import jax
    import jax.numpy as jnp
    import optax

    from omics_jax.nn.sparse import initial_weights, plan_edges, reverse, sparse_linear

    shape = SIZES[size]
    optimizer = optax.adam(1e-3)
    to_gene, to_pathway = random_edges(**shape)
    with Stopwatch() as planning:
        gene = plan_edges(to_gene, shape["sites"], shape["genes"])
        pathway = plan_edges(to_pathway, shape["genes"], shape["pathways"])
        edges = dict(
            gene=gene, pathway=pathway, gene_back=reverse(pathway), site_back=reverse(gene)
        )
    edges = jax.tree.map(jnp.asarray, edges)

    @jax.jit  # in one program, because every program takes memory to compile
    def drawn(key, edges):
        layers = {
            name: (initial_weights(jax.random.fold_in(key, i), e), jnp.zeros(len(e.fan_in)))
            for i, (name, e) in enumerate(edges.items())
        }
        heads = (
            0.05 * jax.random.normal(key, (TASKS, 64, shape["pathways"])),
            0.1 * jax.random.normal(key, (TASKS, 2, 64)),
        )
        x = jax.random.uniform(key, (shape["sites"], BATCH))
        params = (layers, heads)
        labels = jax.random.randint(key, (TASKS, BATCH), 0, 2)
        return params, optimizer.init(params), x, labels

    def loss(params, edges, x, labels):
        layers, (hidden, out) = params

        def apply(name, h):
            weights, bias = layers[name]
            return sparse_linear(weights, edges[name], h, form) + bias[:, None]

        z = jnp.tanh(apply("pathway", jnp.tanh(apply("gene", x))))
        decoded = apply("site_back", jnp.tanh(apply("gene_back", z)))
        logits = out @ jax.nn.relu(hidden @ z)
        entropy = optax.softmax_cross_entropy_with_integer_labels(logits.transpose(0, 2, 1), labels)
        return jnp.mean((decoded - x) ** 2) + jnp.sum(entropy.mean(axis=1))

    def step(params, state, edges, x, labels):
        value, grads = jax.value_and_grad(loss)(params, edges, x, labels)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    step = jax.jit(step, donate_argnums=(0, 1))
    params, state, x, labels = drawn(jax.random.key(0), edges)
    cpu = []
    for i in range(steps + 1):
        with Stopwatch() as watch:
            params, state, value = jax.block_until_ready(step(params, state, edges, x, labels))
        if i:
            cpu.append(watch.cpu)
    return {
        "cpu": cpu,
        "planning_cpu_s": planning.cpu,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "loss": float(value),
    }


def main() -> None:
    a = arguments()
    core = one_core()
    if a.worker:
        print(json.dumps(time_steps(a.size, a.form, a.steps)))
        return
    worker = [sys.executable, __file__, "--worker", f"--size={a.size}", f"--form={a.form}"]
    worker.append(f"--steps={a.steps}")
    sizes = [f"--{name}={value}" for name, value in SIZES[a.size].items()]
    ours, torch = [], []
    for _ in range(a.rounds):
        ours.append(json_of_command(worker))
        if a.torch:
            command = [a.torch, a.script, f"--impl={a.impl}", f"--steps={a.steps}", *sizes]
            torch.append(json_of_command(command))
    compared = {}
    if torch:
        theirs = [figures["cpu_sec_per_step"] for figures in torch]
        best = min(statistics.median(figures["cpu"]) for figures in ours)
        compared = {
            "torch_cpu_s_per_step": spread(theirs),
            "torch_peak_mib": max(figures.get("peak_rss_mb", float("nan")) for figures in torch),
            "ratio_to_torch": round(best / min(theirs), 3),
        }
    emit(
        "sparse_layers",
        size=a.size,
        form=a.form,
        cpu_s_per_step=spread([seconds for figures in ours for seconds in figures["cpu"]]),
        planning_cpu_s=spread([figures["planning_cpu_s"] for figures in ours], 3),
        peak_mib=round(max(figures["peak_mib"] for figures in ours)),
        parameters=ours[0]["parameters"],
        core=core,
        **compared,
    )


if __name__ == "__main__":
    main()
