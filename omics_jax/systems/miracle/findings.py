"""What the experiment `pathways` concludes: which pathways differ, and whether one can believe it.

For every disease pathways are ranked by the difference of their activity between cases and controls
among test people, and the ranking is tested against networks that were trained on permuted
outcomes. Beside it stand its stability over folds and repeats, the same question asked of a plain
method, and what the network attributes to pathways, genes and sites.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy import stats

from omics_jax.evaluation.comparisons import benjamini_hochberg
from omics_jax.evaluation.differential import design_matrix, linear_effects, moderated_t
from omics_jax.evaluation.selections import largest, nogueira_stability, set_overlap
from omics_jax.evaluation.tables import Table
from omics_jax.study.covariates import on_own_scale
from omics_jax.study.system import MODEL, Findings, Results
from omics_jax.systems.miracle.explained import LINKS, PATHWAYS, PEOPLE
from omics_jax.systems.miracle.pathways import NETWORK
from omics_jax.systems.miracle.permuted import permuted_name
from omics_jax.tasks.conclusions import against_simple
from omics_jax.tasks.figures import task_figures
from omics_jax.tasks.interpretation import permutation_p_values

LEVEL = 0.05
FIRST = 50  # a pathway among the first of a ranking is counted; of few pathways the first third
SHOWN = 25  # in a ranking
DRAWN, DRAWN_GENES, DRAWN_SITES = 5, 3, 2  # of the layered picture: pathways, their genes and sites
IN_MAP = 5  # pathways of each disease in the map of activity
METHOD = (
    "In every fold, cases and controls among the test people are compared by a linear model with "
    "the covariates of config.adjust; |z| is the normal quantile of its two-sided p, and a "
    "pathway's statistic is the mean |z| over the folds of the first repeat, in which the sign and "
    "scale of a unit do not matter. The null repeats the whole pipeline, the selection of sites "
    "included, on {permutations} permutations of the outcomes among the people of a study and "
    "fold. p compares the statistic with the null of all pathways together, each scaled by its own "
    "mean and s.d., because means over the same folds have one shape; q is p after Benjamini and "
    "Hochberg within the disease. "
)


class Disease(NamedTuple):
    """The tests of one disease, rows of pathways in one order.

    table: a row per pathway, see `_pathway_table`.
    stability: of the first `first` pathways over folds and repeats.
    """

    table: pd.DataFrame
    stability: str
    first: int
    replicates: int
    permutations: int
    null_ends: Float[np.ndarray, "2 P"]


def conclude_pathways(results: Results) -> Findings:
    """The network against simple models, and the pathways of every disease."""
    frames = {
        name.removeprefix(f"{PATHWAYS} "): frame.rows
        for name, frame in results.frames.items()
        if frame.kind == PATHWAYS
    }
    people = results.frames[PEOPLE].rows
    people = people[people["model"] == MODEL].reset_index(drop=True)
    diseases = {task: _test_disease(task, rows, people) for task, rows in frames.items()}
    tables = {"pathways": _summary(diseases)}
    for task, disease in diseases.items():
        tables[f"{task}_ranking"] = _ranking(task, disease)
        tables[f"{task}_pathways"] = _pathway_table(task, disease)
        links = results.frames[f"{LINKS} {task}"].rows
        edges = strongest_edges(task, disease.table, mean_links(links))
        tables[f"{task}_layers"] = _layers(task, edges)
    tables |= _shared({task: disease.table for task, disease in diseases.items()})
    tables["activity"] = _activity(diseases, people)
    tables |= task_figures(results, NETWORK)
    return Findings(against_simple(results, NETWORK), tables)


# --- tests ----------------------------------------------------------------------------------------


def _test_disease(task: str, rows: pd.DataFrame, people: pd.DataFrame) -> Disease:
    rows = rows[rows["model"] == MODEL]
    own = rows[rows["arm"] == NETWORK]
    names = own["pathway"].drop_duplicates().to_numpy()
    z = by_replicate(own, "z", ["repeat", "fold"])
    observed = by_replicate(own[own["repeat"] == 0], "z", ["repeat", "fold"]).mean(axis=0)
    null = null_statistics(rows[rows["arm"] == permuted_name(NETWORK)])
    p, p_family = permutation_p_values(observed, null)
    first = number_of_first(len(names))
    is_first = largest(np.where(z > 0, z, np.nan), first)  # ties of 0 are no agreement
    plain_t, plain_p = plain_tests(task, people)
    index, low, high = nogueira_stability(is_first)
    table = pd.DataFrame(
        {
            "pathway": names,
            "z": observed,
            "null z": null.mean(axis=0),
            "p": p,
            "q": benjamini_hochberg(p),
            "p_family": p_family,
            "first": is_first.mean(axis=0),
            "difference": by_replicate(own, "difference", ["repeat", "fold"]).mean(axis=0),
            "attribution": by_replicate(own, "attribution", ["repeat", "fold"]).mean(axis=0),
            "plain t": plain_t,
            "plain p": plain_p,
            "plain q": benjamini_hochberg(plain_p),
        }
    )
    table.insert(1, "rank", stats.rankdata(-observed, method="ordinal"))
    table["plain rank"] = stats.rankdata(-np.abs(plain_t), method="ordinal")
    return Disease(
        table=table,
        stability=f"{index:.2f} ({low:.2f} to {high:.2f})",
        first=first,
        replicates=len(z),
        permutations=len(null),
        null_ends=np.quantile(null, (0.05, 0.95), axis=0),
    )


def number_of_first(pathways: int) -> int:
    """How many of so many pathways are counted as the first of a ranking, see `FIRST`."""
    return min(FIRST, -(-pathways // 3))


def by_replicate(rows: pd.DataFrame, column: str, keys: Sequence[str]) -> Float[np.ndarray, "r P"]:
    """A column of the frame, a row per replicate in order of the keys."""
    return np.stack([part[column].to_numpy(np.float64) for _, part in rows.groupby(list(keys))])


def null_statistics(rows: pd.DataFrame) -> Float[np.ndarray, "p P"]:
    """The mean |z| over the folds of every permutation."""
    by_permutation = rows.groupby("group", sort=False)
    return np.stack([by_replicate(own, "z", ["fold"]).mean(axis=0) for _, own in by_permutation])


def plain_tests(
    task: str, people: pd.DataFrame
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"]]:
    """Moderated t and p of every pathway's mean standardised site, adjusted for covariates."""
    group = people[f"outcome {task}"].to_numpy(np.float64)
    known = np.isfinite(group)
    values = _columns(people, "mean_z")[known]
    covariates = on_own_scale(_columns(people, "covariate")[known])
    effects = linear_effects(
        values, np.ones(values.shape, bool), design_matrix(group[known], covariates)
    )
    return moderated_t(effects)


def _columns(people: pd.DataFrame, name: str) -> Float[np.ndarray, "n k"]:
    chosen = [column for column in people if column.startswith(f"{name} ")]
    return people[chosen].to_numpy(np.float64)


# --- a disease ------------------------------------------------------------------------------------


def _summary(diseases: Mapping[str, Disease]) -> Table:
    lines = []
    for task, disease in diseases.items():
        table = disease.table
        agreement = stats.spearmanr(table["z"], table["plain t"].abs()).statistic
        lines.append(
            {
                "disease": task,
                "pathways": len(table),
                "q below .05": int((table["q"] < LEVEL).sum()),
                "family-wise p below .05": int((table["p_family"] < LEVEL).sum()),
                "plain q below .05": int((table["plain q"] < LEVEL).sum()),
                "in both": int(((table["q"] < LEVEL) & (table["plain q"] < LEVEL)).sum()),
                "rank correlation with plain": round(float(agreement), 3),
                f"stability of the first {disease.first} (95 %)": disease.stability,
            }
        )
    some = next(iter(diseases.values()))
    caption = (
        f"{METHOD.format(permutations=some.permutations)}The plain method takes the mean "
        "standardised value of a pathway's sites of every person and tests it by limma's moderated "
        "t with the same covariates, on all people at once; its q is after Benjamini and Hochberg. "
        "Rank correlation (Spearman) between both rankings of all pathways. Stability: index of "
        f"Nogueira et al. (2018) over {some.replicates} folds and repeats, 1 for the same pathways "
        "in all and 0 for chance; the folds share training people, so that its interval is too "
        "narrow."
    )
    return Table("table", pd.DataFrame(lines), "Pathways beyond the null", caption)


def _ranking(task: str, disease: Disease) -> Table:
    """The strongest pathways with the null's mean and its middle 90 %."""
    order = disease.table["rank"].to_numpy().argsort()[:SHOWN]
    table = disease.table.iloc[order]
    labels = [
        f"{'* ' if q < LEVEL else ''}{name} [{100 * first:.0f} %]"
        for name, q, first in zip(table["pathway"], table["q"], table["first"], strict=True)
    ]
    network = pd.DataFrame({"label": labels, "value": table["z"], "low": np.nan, "high": np.nan})
    low, high = disease.null_ends[:, order]
    null = pd.DataFrame({"label": labels, "value": table["null z"], "low": low, "high": high})
    frame = pd.concat(
        [network.assign(series="network"), null.assign(series="permuted outcomes")],
        ignore_index=True,
    )
    caption = (
        f"* q < .05. In brackets: in how many of the {disease.replicates} folds and repeats the "
        f"pathway is among the first {disease.first}. Lines: the middle 90 % of the "
        f"{disease.permutations} networks trained on permuted outcomes, and their mean. The method "
        "stands at the table of pathways beyond the null. The test shows that a unit differs "
        "between cases and controls whom the network has not seen, not that the pathway is a cause."
    )
    title = f"{task}: pathways by the difference of their activity"
    return Table("ranking", frame, title, caption, "mean |z| over the test folds")


def _pathway_table(task: str, disease: Disease) -> Table:
    caption = (
        "z: mean |z| over the folds of the first repeat, null z: its mean over the permuted "
        "networks; p, q: against them; p_family: maxT of Westfall and Young. first: share of all "
        f"folds and repeats in which it is among the first {disease.first}. difference: cases less "
        "controls in residual s.d., adjusted, with the sign in which the unit rises if all "
        "sites do. attribution: mean |integrated gradient| of the "
        "unit in log-odds of the disease. plain: moderated t (limma) of the pathway's mean "
        "standardised site, positive where it is higher in cases."
    )
    frame = disease.table.sort_values("rank", ignore_index=True)
    return Table("table", frame, f"{task}: all pathways", caption)


# --- sites, genes and pathways --------------------------------------------------------------------


def mean_links(rows: pd.DataFrame) -> pd.DataFrame:
    """The links of all folds: mean magnitude and mean difference, 0 in folds that lack one.

    Columns: layer, source, target, magnitude, difference.
    """
    rows = rows[rows["model"] == MODEL]
    folds = rows[["group", "fold"]].drop_duplicates()
    columns = ["magnitude", "difference"]
    sums = rows.groupby(["layer", "source", "target"], sort=False)[columns].sum()
    return (sums / len(folds)).reset_index()


def strongest_edges(task: str, table: pd.DataFrame, links: pd.DataFrame) -> pd.DataFrame:
    """The connections from sites to the disease of its first pathways, as kind "layers" reads them.

    table: of pathways, see `_pathway_table`; links: see `mean_links`.
    """
    chosen = table.sort_values("rank").head(DRAWN)
    genes = _largest_of_each(links[links["layer"] == "gene"], chosen["pathway"], DRAWN_GENES)
    sites = _largest_of_each(
        links[links["layer"] == "site"], genes["source"].drop_duplicates(), DRAWN_SITES
    )
    tops = pd.DataFrame(
        {
            "layer": "pathway",
            "source": chosen["pathway"],
            "target": task,
            "magnitude": chosen["attribution"],
            "difference": 0.0,
        }
    )
    edges = pd.concat([sites, genes, tops], ignore_index=True)
    above = {"site": "gene", "gene": "pathway", "pathway": "disease"}
    direction = np.select(
        [edges["difference"] > 0, edges["difference"] < 0],
        ["more methylated in cases", "less methylated in cases"],
        "",
    )
    return pd.DataFrame(
        {
            "source": edges["source"],
            "target": edges["target"],
            "source_layer": edges["layer"],
            "target_layer": edges["layer"].map(above),
            "weight": edges["magnitude"],
            "difference": edges["difference"],
            "series": direction,
        }
    )


def _largest_of_each(links: pd.DataFrame, targets: pd.Series, count: int) -> pd.DataFrame:
    """The `count` links of largest magnitude into each of the targets, in the targets' order."""
    parts = [
        links[links["target"] == target].nlargest(count, "magnitude", keep="first")
        for target in targets
    ]
    return pd.concat([links.head(0), *parts], ignore_index=True)


def _layers(task: str, edges: pd.DataFrame) -> Table:
    caption = (
        f"The {DRAWN} first pathways of the ranking, significant or not, with up to {DRAWN_GENES} "
        f"genes of each and {DRAWN_SITES} sites of each gene. A line is as wide as what its left "
        "end adds to the log-odds of the disease, compared with the other lines between the same "
        "layers: mean |integrated gradient| over the test people of the first repeat; a gene's is "
        "the sum of its sites'. Colour: the mean difference in beta value of a site between cases "
        "and controls, adjusted for covariates."
    )
    return Table("layers", edges, f"{task}: sites, genes and pathways", caption)


# --- all diseases ---------------------------------------------------------------------------------


def _shared(tables: Mapping[str, pd.DataFrame]) -> dict[str, Table]:
    """How many pathways the sets of two diseases share, and whether by chance."""
    significant = {task: (table["q"] < LEVEL).to_numpy() for task, table in tables.items()}
    count = number_of_first(len(next(iter(tables.values()))))
    top = {task: (table["rank"] <= count).to_numpy() for task, table in tables.items()}
    lines = [
        {"set": name, "a": a, "b": b, **set_overlap(sets[a], sets[b])._asdict()}
        for name, sets in (("q below .05", significant), (f"first {count}", top))
        for a, b in combinations(tables, 2)
    ]
    if not lines:
        return {}
    frame = pd.DataFrame(lines)
    frame["q"] = frame.groupby("set", sort=False)["p"].transform(
        lambda p: benjamini_hochberg(p.to_numpy())
    )
    any_significant = any(chosen.any() for chosen in significant.values())
    sets, words = (
        (significant, "with q below .05")
        if any_significant
        else (top, f"among the first {count}, because none has q below .05")
    )
    caption = (
        "shared: pathways in the sets of both diseases; expected: by chance; p: hypergeometric, of "
        "as many or more; q: after Benjamini and Hochberg over the pairs of a kind of set. "
        "Diseases are predicted by one network, whose units serve all of them: an overlap says "
        "that the same units differ."
    )
    return {
        "shared": shared_matrix(sets, words),
        "shared_tests": Table("table", frame, "Shared pathways, tested", caption),
    }


def shared_matrix(sets: Mapping[str, Bool[np.ndarray, " P"]], words: str) -> Table:
    """A matrix of the numbers of shared pathways, each disease's own on the diagonal."""
    cells = [
        {"row": a, "column": b, "value": float((sets[a] & sets[b]).sum())}
        for a in sets
        for b in sets
    ]
    caption = (
        f"Pathways {words} that two diseases share; on the diagonal those of a disease. Chance is "
        "considered in the table of shared pathways."
    )
    return Table("matrix", pd.DataFrame(cells), "Shared pathways", caption, "disease", "disease")


def _activity(diseases: Mapping[str, Disease], people: pd.DataFrame) -> Table:
    """The activity of the first pathways of every disease, people by disease and case."""
    chosen = dict.fromkeys(
        name
        for disease in diseases.values()
        for name in disease.table.sort_values("rank")["pathway"].head(IN_MAP)
    )
    names = next(iter(diseases.values())).table["pathway"].tolist()
    places = [names.index(name) for name in chosen]
    activity = _columns(people, "activity")[:, places]
    parts = []
    for task in diseases:
        for code, word in ((0.0, "control"), (1.0, "case")):
            rows = np.flatnonzero(people[f"outcome {task}"] == code)
            parts.append(
                pd.DataFrame(
                    {
                        "row": np.repeat(people["id"].to_numpy()[rows], len(chosen)),
                        "column": np.tile(list(chosen), len(rows)),
                        "value": activity[rows].ravel(),
                        "group": f"{task} {word}",
                        "quantity": "activity (s.d.)",
                    }
                )
            )
    caption = (
        f"Test people of all folds of the first repeat by the {IN_MAP} first pathways of every "
        "disease, in s.d. of the test people of their fold. The sign of a unit is that in which "
        "it rises if all sites do."
    )
    frame = pd.concat(parts, ignore_index=True)
    return Table("heatmap", frame, "Pathway activity", caption, "pathway", "people")
