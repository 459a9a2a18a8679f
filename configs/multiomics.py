"""Multi-omics: impute missing modalities, embed them, and predict classes, numbers and survival by one network.

    python experiments/main.py --config=configs/multiomics.py               simulated patients, a laptop, minutes
    python experiments/main.py --config=configs/multiomics.py:smoke         the same in seconds
    python experiments/main.py --config=configs/multiomics.py:arms          the paper's arms A to D by modality set
    python experiments/main.py --config=configs/multiomics.py:stages        what each of the three stages is worth
    python experiments/main.py --config=configs/multiomics.py:imputation    imputation by direction, and simple methods'
    python experiments/main.py --config=configs/multiomics.py:interpret     the features each prediction stands on
    python experiments/main.py --config=configs/multiomics.py \
        --config.data.modalities="rna=rna.csv, mirna=mirna.csv" --config.data.clinical=clinical.csv \
        --config.data.classes=type=cancer --config.data.numbers=age=age --config.data.survival_times=OS=OS.time:OS
"""

from ml_collections import ConfigDict

from omics_jax.settings.sections import new_config, run_section

SIZES = ("smoke", "paper")


def get_config(choice: str = "") -> ConfigDict:
    """`choice` names an experiment and a size, in any order, separated by a comma; both are optional."""
    config, sizes = new_config("multiomics", choice, SIZES)
    config.seed = 0
    config.folds = 5
    config.repeats = 1
    # impute | mask (its branch is left out) | complete (patients with everything only)
    config.missing = "impute"

    # Your files; without any, the simulator below. See README, "Your own omics".
    config.data = ConfigDict()
    config.data.modalities = ""  # "rna=rna.csv, mirna=mirna.tsv.gz"
    config.data.path = ""  # or one .h5mu, or a folder in OmiEmbed's layout
    config.data.orientation = "auto"  # auto | samples | genes: what the rows of a table are
    config.data.clinical = ""
    config.data.survival = ""
    config.data.id = ""
    config.data.barcode = ""  # tcga: the first 12 characters are the patient
    config.data.classes = ""  # "type=column"
    config.data.numbers = ""  # "age=column"
    config.data.survival_times = ""  # "OS=time column:event column"
    config.data.only = ""  # "cancer=BRCA+LIHC": patients with these cells in a column of the tables
    config.data.zero_times = "error"  # error | mask: times of zero or below
    config.data.repeated = "error"  # error | mean: features of the same name in a file

    config.simulator = ConfigDict(
        dict(patients=600, features=dict(rna=200, methylation=200, mirna=60), latent=8, classes=4, censored=0.5,
             missing_modality=0.15, missing_cells=0.02, missing_labels=0.05, noise=0.7, signal=1.0, seed=0)
    )  # fmt: skip

    config.preprocess = ConfigDict()
    config.preprocess.log2 = ("mirna",)  # modalities whose values x become log2(x + 1)
    config.preprocess.without_y = ("methylation",)  # modalities whose sites on chromosome Y go
    # a table of features and their chromosomes, where names do not tell
    config.preprocess.chromosomes = ""
    config.preprocess.zeros = "rna=drop_all_zero, mirna=drop_all_zero"  # or drop_any_zero
    # a feature missing in a larger share of the training rows goes
    config.preprocess.most_missing = 0.9
    config.preprocess.share = ""  # "methylation=0.5": a random half of the features
    config.preprocess.top_k = 5000  # most variable features kept per modality; 0 for all

    config.imputation = ConfigDict()
    config.imputation.edges = ""  # "mirna<rna, rna<methylation+mirna"; "" for each from all others
    # "type=LIHC": the study is about these; the others only pretrain its imputers
    config.imputation.transfer = ""
    config.imputation.transfer_epochs = 150
    config.imputation.transfer_batch_size = 128
    config.imputation.hidden = 256
    config.imputation.members = 3
    config.imputation.epochs = 150
    config.imputation.batch_size = 64
    config.imputation.patience = 15
    config.imputation.optimizer = ConfigDict(
        dict(name="adam", learning_rate=1e-3, clip=0.0, weight_decay=0.0)
    )

    config.model = ConfigDict()
    # early (the paper: concatenated) | intermediate (OmiEmbed: branches)
    config.model.fusion = "intermediate"
    config.model.branch = (128,)
    config.model.shared = (128,)
    config.model.latent = 32
    config.model.dropout = 0.2
    config.model.k_kl = 0.01
    config.model.k_embed = 0.1  # lambda of equation 3
    config.model.reduction = "mean"  # mean (OmiEmbed) | sum
    config.model.regression_loss = "mae"  # mae (OmiEmbed) | mse

    config.heads = ConfigDict(
        dict(
            classification=dict(widths=(64,), dropout=0.2),
            regression=dict(widths=(64,), dropout=0.2),
            survival=dict(widths=(64,), dropout=0.5),
        )
    )
    config.weights = ""  # "type=2, OS=0.5": w_k of equation 2, 1 where nothing is said
    config.survival = ConfigDict(
        dict(bins=0, grid="quantile", convention="containing", hazard="proper",
             # at which calibration is drawn, in the unit of the file; () for the quartiles of the
             # events
             times=())
    )  # fmt: skip
    config.balancing = ConfigDict(dict(name="fixed", learning_rate=0.025, alpha=1.5))

    config.training = ConfigDict()
    # and calibration: a temperature per task at the end
    config.training.stages = ("embedding", "heads", "all")
    config.training.epochs = ConfigDict(dict(embedding=50, heads=50, all=100, calibration=200))
    config.training.batch_size = 128
    config.training.patience = 15
    config.training.optimizer = ConfigDict(
        dict(name="adam", learning_rate=1e-3, clip=5.0, weight_decay=1e-4)
    )

    # the experiment stages: without which of them
    config.left_out = ("embedding", "heads", "embedding+heads")
    # sets: "rna, rna+mirna"; "": as the paper
    config.arms = ConfigDict(dict(letters=("A", "B", "C", "D"), sets=""))

    # Networks trained on permuted outcomes, 3 or more; gradients on the way from the average
    # patient to a patient.
    config.interpret = ConfigDict(dict(permutations=20, steps=32))

    # attributions: whether a prediction says what each feature adds to it
    config.predict = ConfigDict(dict(batch_size=128, attributions=False))

    config.run = run_section()

    if "paper" in sizes:
        config.preprocess.top_k = 5000
        config.imputation.update(
            dict(edges="rna<methylation, methylation<rna, mirna<rna", hidden=4000, members=1)
        )
        config.imputation.update(dict(transfer_epochs=300, transfer_batch_size=128))
        config.imputation.optimizer.learning_rate = 1e-4
        config.model.update(
            dict(fusion="early", branch=(384, 256), shared=(1024, 1024, 512), latent=128, k_kl=1.0)
        )
        config.model.k_embed = 0.001
        config.heads.classification.update(dict(widths=(128, 64), dropout=0.2))
        config.heads.regression.update(dict(widths=(128, 64), dropout=0.01))
        config.heads.survival.update(dict(widths=(512, 256), dropout=0.5))
        config.training.optimizer.update(dict(learning_rate=1e-4))
    if "smoke" in sizes:
        config.folds = 3
        config.simulator.update(
            dict(
                patients=60,
                features=dict(rna=12, methylation=10, mirna=8),
                latent=3,
                classes=2,
                censored=0.3,
                missing_labels=0.15,
            )
        )
        config.imputation.update(dict(hidden=8, members=2, epochs=2, batch_size=16))
        config.imputation.update(dict(transfer_epochs=2, transfer_batch_size=16))
        config.model.update(dict(branch=(8,), shared=(8,), latent=4))
        # every layer that draws adds seconds of compilation; the survival head still does
        config.model.dropout = 0.0
        for kind in ("classification", "regression", "survival"):
            config.heads[kind].update(dict(widths=(8,), dropout=0.5 if kind == "survival" else 0.0))
        config.training.update(dict(epochs=dict(embedding=2, heads=2, all=2), batch_size=16))
        config.interpret.update(dict(permutations=3, steps=8))
        config.missing = "mask" if config.experiment in ("stages", "interpret") else config.missing
        config.left_out = ("embedding",) if config.experiment == "stages" else config.left_out
        config.arms.sets = "rna+mirna" if config.experiment == "arms" else ""
        config.arms.letters = ("B", "D") if config.experiment == "arms" else ("A", "B", "C", "D")
        config.run.devices = 1
    return config
