"""What the configs of all systems share: the choice after the colon of --config, and section run.

The fields of one system are in its own file in configs/.
"""

from __future__ import annotations

from collections.abc import Sequence

from ml_collections import ConfigDict

from omics_jax.settings.checks import (
    LARGEST,
    MOST_UNITS,
    choice,
    number,
    positive,
    rate,
    text,
    whole,
)

# A prediction takes these sections from its own command, and all others from the training.
PREDICTION_SECTIONS = ("run", "predict")

MOST_REPEATS = 1000
MOST_MEMBERS = 100

# What the settings may be that several configs have, see `settings.checks`.
SHARED_RULES = {
    "system": text(),
    "experiment": text(),
    "seed": whole(0, LARGEST),
    "folds": whole(2, MOST_REPEATS),
    "repeats": whole(1, MOST_REPEATS),
    "members": whole(1, MOST_MEMBERS),
    "run.strategy": choice("auto", "map", "vmap"),
    "run.spread": choice("data", "replicates"),
    "run.devices": whole(),
    "run.chunk": whole(),
    "run.block_steps": whole(),
    "run.resident_mb": whole(),
    "run.block_seconds": number(0),
    "run.checkpoint_seconds": number(0),
    "run.memory_gb": number(0, 1e9),
    "run.arm": text(),
    "run.reuse": text(),
    "*.seed": whole(0, LARGEST),
    "*.epochs": whole(1, MOST_UNITS),
    "*.batch_size": whole(1, MOST_UNITS),
    "*.patience": whole(1, MOST_UNITS),
    "*.monitor_every": whole(1, MOST_UNITS),
    "*.members": whole(1, 1000),
    "*.dropout": rate(),
    "*optimizer.name": choice("adam", "sgd"),
    "*optimizer.learning_rate": positive(),
    "*.learning_rate.name": text(),
    "*.learning_rate.mode": text(),
    "*.learning_rate.watch": text(),
    "*optimizer.clip": number(0),
    "*optimizer.weight_decay": number(0),
}


def new_config(system: str, choice: str, sizes: Sequence[str]) -> tuple[ConfigDict, list[str]]:
    """A config with its system and experiment, and the sizes named in `choice`.

    Without an experiment in `choice`, `config.experiment` is "", which stands for the system's
    first. Whether the system has the experiment is checked later, because loading a system takes
    too long here.

    choice: the name of an experiment and of sizes, in any order, separated by commas; all optional.

    Raises:
      ValueError: more than one word that is not a size.
    """
    words = [word.strip() for word in choice.split(",") if word.strip()]
    experiments = [word for word in words if word not in sizes]
    if len(experiments) > 1:
        raise ValueError(
            f"{' and '.join(map(repr, experiments))} are not among the sizes {tuple(sizes)}, and "
            "only one word can name the experiment"
        )
    config = ConfigDict(dict(system=system, experiment="".join(experiments)))
    return config, [word for word in words if word in sizes]


def prediction_config(trained: ConfigDict, command: ConfigDict) -> ConfigDict:
    """The training's config, with `PREDICTION_SECTIONS` of the command that predicts."""
    sections = {name: command[name].to_dict() for name in PREDICTION_SECTIONS if name in command}
    return ConfigDict({**trained.to_dict(), **sections})


def series_section() -> ConfigDict:
    """Files of clinical series and how they are read, none of them named; see the page on input
    formats. `data.clinical_series.settings` says what each setting means.
    """
    data = ConfigDict()
    data.path = ""  # your files; an empty path means the simulator
    data.outcomes = ""  # a table with a row per patient
    data.outcome_id = "RecordID"
    data.label = "In-hospital_death"
    data.event_value = ""  # the cell of label that means the event; "" for 1, yes, dead, ...
    data.layout = "auto"  # auto | long (a row per measurement) | wide (a column per variable)
    data.columns = ConfigDict()
    data.columns.id = "id"
    data.columns.time = "time"
    data.columns.variable = "variable"
    data.columns.value = "value"
    data.columns.unit = ""  # "" for a column such as valueuom or unit, where there is one
    data.columns.group = ""  # what must not be split, such as the person of several stays
    data.time_unit = "hours"  # hours | minutes | days
    data.hours = 48.0
    data.bin_hours = 1.0
    data.variables = ()  # () for all, or the challenge's 35
    data.statics = ("Age", "Gender", "Height", "Weight", "ICUType")
    data.missing_values = ()  # -999,unmeasured: numbers and words that mean missing
    data.below_detection = "error"  # error | limit | half | missing: cells such as <0.1
    data.limits = ""  # "hr=20:300, temp=25:45": values outside are missing
    data.keep_empty = True  # patients without any observation, imputed from the population
    data.split = "folds"  # folds | file: one split, parts train, val, test of HDF5 or npz
    data.external = ConfigDict(dict(path="", outcomes=""))
    return data


def patients_section() -> ConfigDict:
    """Files of patients and what is to be predicted of them, none of them named; see the page on
    input formats. `data.patients.settings` says what each setting means.
    """
    data = ConfigDict()
    data.modalities = ""  # "rna=rna.csv, mirna=mirna.tsv.gz"; "": the simulator
    data.path = ""  # or one .h5mu, or a folder in OmiEmbed's layout
    data.orientation = "auto"  # auto | samples | genes: what the rows of a table are
    data.clinical = ""
    data.survival = ""
    data.id = ""
    # tcga: rows are patients, the first 12 characters | tcga_samples: rows are samples
    data.barcode = ""
    data.group = ""  # a column of the tables: rows with the same cell are never split
    data.classes = ""  # "type=column"
    data.numbers = ""  # "age=column"
    # "OS=time column:event column"; "OS=days_to_death|days_to_last_follow_up:status=dead"
    data.survival_times = ""
    data.only = ""  # "cancer=BRCA+LIHC": patients with these cells in a column of the tables
    data.zero_times = "error"  # error | mask: times of zero or below
    data.smallest_class = 0  # classes of fewer patients (groups) become unknown
    data.repeated = "error"  # error | mean: features of the same name in a file
    data.below_detection = "error"  # error | limit | half | missing: cells such as <0.1
    data.missing_values = ()  # "-999, below detection": numbers and words for missing
    data.limits = ""  # "rna=0:30": values outside are taken for missing
    # Files of the patients that the experiment external tests; all else about them is as above.
    files = ("modalities", "path", "clinical", "survival")
    data.external = ConfigDict(dict.fromkeys(files, ""))
    return data


def preprocess_section() -> ConfigDict:
    """How the values of patients' modalities are prepared and features chosen in every fold."""
    preprocess = ConfigDict()
    # auto (the values tell) or the modalities whose values x become log2(x + 1)
    preprocess.log2 = ("auto",)
    preprocess.without_y = ("methylation",)  # drop sites on chromosome Y
    preprocess.chromosomes = ""  # a table of features and their chromosomes, where needed
    preprocess.zeros = "rna=drop_all_zero, mirna=drop_all_zero"  # or drop_any_zero
    preprocess.most_missing = 0.9  # drop features missing in more of the training rows
    preprocess.share = ""  # "methylation=0.5": a random half of the features
    preprocess.top_k = 5000  # most variable features kept per modality; 0 for all
    return preprocess


def methylation_section() -> ConfigDict:
    """Files of methylation studies and their people, none of them named; see the page on input
    formats. `data.methylation.settings` says what each setting means.
    """
    data = ConfigDict()
    data.studies = ""  # "GSE42861=ra.csv.gz, GSE106648=ms_series_matrix.txt.gz"; "": the simulator
    data.clinical = ""  # a table with a row per person; "" for the annotations in the files
    data.id = ""  # its column of ids, "" for the first
    data.study = ""  # its column of studies, "" for the names in data.studies
    # "RA=column"; "RA=column:case=WORD|WORD:control=WORD:study=NAME"
    data.diseases = ""
    data.numbers = ""  # "age=column"
    data.classes = ""  # "sex=column"
    data.group = ""  # a column of the table: rows with the same cell are never split
    data.only = ""  # "tissue=blood": people with these cells in a column of the table
    data.orientation = "auto"  # auto | samples | genes: what the rows of a matrix are
    data.barcode = ""  # as for patients
    data.values = "auto"  # auto | beta | m: M values become beta values
    data.detection = ""  # "GSE42861=p_values.csv.gz": matrices of detection p-values
    data.detection_limit = 0.01  # values with a larger one are missing
    data.drop_sites = ()  # lists of sites that are left out, such as cross-reactive probes
    data.sex_chromosomes = "keep"  # keep | drop, by knowledge.site_genes
    data.strip_suffixes = False  # cg00000029_TC21 (EPIC v2) is cg00000029
    data.repeated = "error"  # error | mean: sites of the same name in a file
    data.below_detection = "error"  # error | limit | half | missing: cells such as <0.1
    data.missing_values = ()  # "-999": numbers and words for missing
    data.limits = ""  # "methylation=0:1": values outside are taken for missing
    return data


def knowledge_section() -> ConfigDict:
    """Files of what is known about sites, genes and pathways, none of them named; see the page on
    input formats.
    """
    knowledge = ConfigDict()
    knowledge.site_genes = ""  # a table of sites and genes, or Illumina's manifest; "": simulator
    knowledge.gene_sets = ""  # .gmt, or a table of genes and sets
    knowledge.ontology = ""  # or an ontology, .obo, with
    knowledge.annotations = ""  # its annotations of genes, .gaf
    knowledge.branch = "biological_process"  # or another of GO's three, "" for all
    knowledge.evidence = ()  # EXP,IDA: codes of the annotations that count; () for all
    knowledge.relations = ""  # ReactomePathwaysRelation.txt, for several levels of pathways
    knowledge.levels = 1
    knowledge.aliases = ""  # a table of other names of genes and their names in the sets
    knowledge.least_genes = 3  # of a pathway, after matching
    knowledge.most_genes = 500
    knowledge.unannotated = "units"  # units | drop: sites without a gene, genes without a pathway
    knowledge.n_unannotated = 4
    knowledge.strip_suffixes = False  # as in data, when names of sites are matched
    return knowledge


def run_section(spread: str = "replicates") -> ConfigDict:
    """How a run is carried out, not what it computes: a run may be resumed with other values."""
    run = ConfigDict()
    run.devices = 0  # 0: all available
    run.spread = spread  # data | replicates: what is split over devices (on a CPU, over cores)
    run.strategy = "auto"  # auto | map | vmap
    run.chunk = 0  # replicates trained together; 0 chooses
    run.block_seconds = 1.0  # duration of a compiled block, between two checkpoints or signals
    run.block_steps = 0  # steps of a block instead of seconds; 0 for none
    run.checkpoint_seconds = 60.0
    run.resident_mb = 4096  # a larger table stays on the host, and each block gathers its rows
    run.memory_gb = 0.0  # GiB for reading data and training; 0 for what the machine has
    run.arm = ""  # --mode=predict: the arm to predict with; empty for the summary's
    run.reuse = ""  # runs of the same data (A, B): arms of the same name and config are reused
    return run
