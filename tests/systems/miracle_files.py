"""Simulated studies as the files that a user has: matrices, a table of people, knowledge."""

import pandas as pd

from omics_jax.data.methylation.simulate import MODALITY
from omics_jax.systems.miracle.reading import simulated


def write_people(folder, config, dataset) -> dict[str, str]:
    """Setting of the config -> value that reads the simulated studies from files in `folder`."""
    studies = simulated(config)
    dataset = studies.dataset
    write_knowledge(folder, studies)
    modality, table = dataset.modalities[MODALITY], dataset.table.copy()
    beta = pd.DataFrame(modality.values, dataset.ids, modality.features).where(modality.mask)
    for name, (codes, known) in dataset.targets.items():
        write_matrix(folder / f"{name}.csv", beta[known])
        table[name] = pd.Series(codes, dataset.ids).map({0: "control", 1: "case"}).where(known)
    table = table.drop(columns="study").rename_axis("person")
    table.to_csv(folder / "people.csv")
    named = list(dataset.targets)
    return {
        "data.studies": ",".join(f"{name}={folder}/{name}.csv" for name in named),
        "data.clinical": f"{folder}/people.csv",
        "data.diseases": ",".join(f"{name}={name}" for name in named),
        "knowledge.site_genes": f"{folder}/sites.csv",
        "knowledge.gene_sets": f"{folder}/sets.gmt",
    }


def write_matrix(path, beta) -> None:
    """People by sites, as a file with sites in rows."""
    beta.T.rename_axis("ID_REF").to_csv(path)


def write_knowledge(folder, studies) -> None:
    annotation = studies.site_genes
    rows = [(annotation.sites[s], annotation.genes[g]) for s, g in annotation.pairs]
    pd.DataFrame(rows, columns=["site", "gene"]).to_csv(folder / "sites.csv", index=False)
    lines = ["\t".join((name, "", *genes)) for name, genes in studies.gene_sets.genes.items()]
    (folder / "sets.gmt").write_text("\n".join(lines) + "\n")
