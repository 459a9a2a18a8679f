r"""Multi-omics: impute missing modalities, embed them, predict classes, numbers and survival.

    Simulated patients, on a laptop in minutes:
      python experiments/main.py --config=configs/multiomics.py
    The same in seconds:
      python experiments/main.py --config=configs/multiomics.py:smoke
    The paper's arms A to D by modality set:
      python experiments/main.py --config=configs/multiomics.py:arms
    What each of the three stages is worth:
      python experiments/main.py --config=configs/multiomics.py:stages
    Imputation by direction, beside simple methods:
      python experiments/main.py --config=configs/multiomics.py:imputation
    The features that each prediction rests on:
      python experiments/main.py --config=configs/multiomics.py:interpret
    Trained on one set of patients, tested on another:
      python experiments/main.py --config=configs/multiomics.py:external \
          --config.data.external.modalities=... --config.data.external.clinical=... (and as below)
    Your own files:
      python experiments/main.py --config=configs/multiomics.py \
          --config.data.modalities="rna=rna.csv, mirna=mirna.csv" \
          --config.data.clinical=clinical.csv \
          --config.data.classes=type=cancer --config.data.numbers=age=age \
          --config.data.survival_times=OS=OS.time:OS
"""

from ml_collections import ConfigDict

from omics_jax.settings.sections import (
    new_config,
    patients_section,
    preprocess_section,
    run_section,
)

SIZES = ("smoke", "paper")


def get_config(choice: str = "") -> ConfigDict:
    """The config of `choice`: an experiment and a size, separated by a comma; both are optional."""
    config, sizes = new_config("multiomics", choice, SIZES)
    config.seed = 0
    config.folds = 5
    config.repeats = 1
    config.members = 1  # trainings of each fold whose predictions are averaged
    config.missing = "impute"  # impute | mask (leave its branch out) | complete (patients only)

    config.data = patients_section()  # your files; without any, the simulator below
    config.simulator = ConfigDict()
    config.simulator.patients = 600
    config.simulator.features = dict(rna=200, methylation=200, mirna=60)
    config.simulator.latent = 8
    config.simulator.classes = 4
    config.simulator.censored = 0.5
    config.simulator.missing_modality = 0.15
    config.simulator.missing_cells = 0.02
    config.simulator.missing_labels = 0.05
    config.simulator.noise = 0.7
    config.simulator.signal = 1.0
    config.simulator.seed = 0

    config.preprocess = preprocess_section()

    config.imputation = ConfigDict()
    config.imputation.edges = ""  # "mirna<rna, rna<methylation+mirna"; "" for each from all others
    config.imputation.transfer = ""  # "type=LIHC": others only pretrain the imputers of these
    config.imputation.transfer_epochs = 150
    config.imputation.transfer_batch_size = 128
    config.imputation.hidden = 256
    config.imputation.members = 3
    config.imputation.epochs = 150
    config.imputation.batch_size = 64
    config.imputation.patience = 15
    config.imputation.optimizer = ConfigDict()
    config.imputation.optimizer.name = "adam"
    config.imputation.optimizer.learning_rate = 1e-3
    config.imputation.optimizer.clip = 0.0
    config.imputation.optimizer.weight_decay = 0.0

    config.model = ConfigDict()
    config.model.fusion = "intermediate"  # early (the paper) | intermediate (OmiEmbed: branches)
    config.model.branch = (128,)
    config.model.shared = (128,)
    config.model.latent = 32
    config.model.dropout = 0.2
    config.model.k_kl = 0.01
    config.model.k_embed = 0.1  # lambda of equation 3
    config.model.reduction = "mean"  # mean (OmiEmbed) | sum
    config.model.regression_loss = "mae"  # mae (OmiEmbed) | mse

    config.heads = ConfigDict()
    config.heads.classification = dict(widths=(64,), dropout=0.2)
    config.heads.regression = dict(widths=(64,), dropout=0.2)
    config.heads.survival = dict(widths=(64,), dropout=0.5)
    config.weights = ""  # "type=2, OS=0.5": w_k of equation 2, 1 where nothing is said
    config.survival = ConfigDict()
    config.survival.bins = 0  # 0 chooses
    config.survival.grid = "quantile"  # quantile | equal
    config.survival.convention = "containing"  # containing | omiembed
    config.survival.hazard = "proper"  # proper | omiembed
    config.survival.times = ()  # of calibration, in the file's unit; () for quartiles of the events
    config.balancing = ConfigDict(
        dict(name="fixed", learning_rate=0.025, alpha=1.5, smoothing=0.7, order="fresh")
    )

    config.training = ConfigDict()
    config.training.stages = ("embedding", "heads", "all")  # and a temperature per task at the end
    config.training.epochs = ConfigDict(dict(embedding=50, heads=50, all=100, calibration=200))
    # learning rate of each stage, as a multiple of optimizer.learning_rate
    config.training.rates = ConfigDict(dict(embedding=1.0, heads=1.0, all=1.0))
    config.training.batch_size = 128
    config.training.patience = 15
    config.training.stopping = ""  # the outcome by whose loss training stops; "" for all of them
    config.training.optimizer = ConfigDict()
    config.training.optimizer.name = "adam"
    config.training.optimizer.learning_rate = 1e-3
    config.training.optimizer.clip = 5.0
    config.training.optimizer.weight_decay = 1e-4

    config.left_out = ("embedding", "heads", "embedding+heads")  # stages, by experiment stages
    config.arms = ConfigDict()
    config.arms.letters = ("A", "B", "C", "D")
    config.arms.sets = ""  # "rna, rna+mirna"; "" as the paper

    config.interpret = ConfigDict()
    config.interpret.permutations = 20  # networks for each permuted outcome, 3 or more
    config.interpret.steps = 32  # gradients on the way from the average patient to a patient

    # attributions: whether a prediction says what each feature adds to it
    # coverage: of intervals and sets of new patients, 0.8 | 0.9 | 0.95; 0 for none
    config.predict = ConfigDict(dict(batch_size=128, attributions=False, coverage=0.9))

    config.run = run_section()

    if "paper" in sizes:
        set_paper(config)
    if "smoke" in sizes:
        set_smoke(config)
    return config


def set_paper(config: ConfigDict) -> None:
    """The paper's network and protocol, and OmiEmbed's where the paper is silent."""
    config.preprocess.top_k = 5000
    config.imputation.edges = "rna<methylation, methylation<rna, mirna<rna"
    config.imputation.hidden = 4000
    config.imputation.members = 1
    config.imputation.transfer_epochs = 300
    config.imputation.transfer_batch_size = 128
    config.imputation.optimizer.learning_rate = 1e-4
    config.model.fusion = "early"
    config.model.branch = (384, 256)
    config.model.shared = (1024, 1024, 512)
    config.model.latent = 128
    config.model.k_kl = 1.0
    config.model.k_embed = 0.001
    config.heads.classification.update(widths=(128, 64), dropout=0.2)
    config.heads.regression.update(widths=(128, 64), dropout=0.01)
    config.heads.survival.update(widths=(512, 256), dropout=0.5)
    config.training.optimizer.learning_rate = 1e-4


def set_smoke(config: ConfigDict) -> None:
    """Seconds, for tests."""
    config.folds = 3
    config.simulator.patients = 60
    config.simulator.features.update(rna=12, methylation=10, mirna=8)
    config.simulator.latent = 3
    config.simulator.classes = 2
    config.simulator.censored = 0.3
    config.simulator.missing_labels = 0.15
    config.imputation.hidden = 8
    config.imputation.members = 2
    config.imputation.epochs = 2
    config.imputation.batch_size = 16
    config.imputation.transfer_epochs = 2
    config.imputation.transfer_batch_size = 16
    config.model.branch = (8,)
    config.model.shared = (8,)
    config.model.latent = 4
    # Every layer with dropout adds seconds of compilation; the survival head still has it.
    config.model.dropout = 0.0
    config.heads.classification.update(widths=(8,), dropout=0.0)
    config.heads.regression.update(widths=(8,), dropout=0.0)
    config.heads.survival.update(widths=(8,), dropout=0.5)
    config.training.epochs.update(embedding=2, heads=2, all=2)
    config.training.batch_size = 16
    config.interpret.permutations = 3
    config.interpret.steps = 8
    if config.experiment in ("stages", "interpret"):
        config.missing = "mask"
    if config.experiment == "stages":
        config.left_out = ("embedding",)
    if config.experiment == "arms":
        config.arms.sets = "rna+mirna"
        config.arms.letters = ("B", "D")
    config.run.devices = 1
