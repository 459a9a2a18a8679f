r"""Gene transformer: several outcomes of a patient from expression, by attention among genes.

    Simulated patients, on a laptop in minutes:
      python experiments/main.py --config=configs/gene_transformer.py
    The same in seconds:
      python experiments/main.py --config=configs/gene_transformer.py:smoke
    A thousand genes of your own (below), with linear models inside the network:
      python experiments/main.py --config=configs/gene_transformer.py:best
    How values are encoded:
      python experiments/main.py --config=configs/gene_transformer.py:encodings
    How outcomes are weighed against each other:
      python experiments/main.py --config=configs/gene_transformer.py:balancing
    Which genes act together (a network per draw of each outcome):
      python experiments/main.py --config=configs/gene_transformer.py:network
    Which genes the outcomes depend on, each by itself:
      python experiments/main.py --config=configs/gene_transformer.py:interpret
    What pretraining without outcomes adds, by the number of labelled patients:
      python experiments/main.py --config=configs/gene_transformer.py:pretrain
    Trained on one set of patients, tested on another:
      python experiments/main.py --config=configs/gene_transformer.py:external \
          --config.data.external.modalities=... --config.data.external.clinical=... (and as below)
    Your own files:
      python experiments/main.py --config=configs/gene_transformer.py \
          --config.data.modalities=rna=expression.csv --config.data.clinical=clinical.csv \
          --config.data.classes="subtype=PAM50, er=ER" --config.data.numbers=age=age \
          --config.data.survival_times=OS=OS.time:OS
"""

from ml_collections import ConfigDict

from omics_jax.settings.sections import (
    new_config,
    patients_section,
    preprocess_section,
    run_section,
)

SIZES = ("smoke", "paper", "best")


def get_config(choice: str = "") -> ConfigDict:
    """The config of `choice`: an experiment and a size, separated by a comma; both are optional."""
    config, sizes = new_config("gene_transformer", choice, SIZES)
    config.seed = 0
    config.folds = 5
    config.repeats = 1
    config.members = 1  # trainings of each fold whose predictions are averaged

    config.data = patients_section()  # your files; without any, the simulator below
    config.data.covariates = ()  # columns of the tables that are tokens beside the genes
    config.simulator = ConfigDict()
    config.simulator.patients = 1500
    config.simulator.genes = 40
    config.simulator.modules = 5
    config.simulator.within = 0.3
    config.simulator.degree = 3.0
    config.simulator.interactions = 3
    config.simulator.shared = 3
    config.simulator.signal = 1.0
    config.simulator.noise = 0.3
    config.simulator.censored = 0.4
    config.simulator.missing_cells = 0.01
    config.simulator.missing_labels = 0.1
    config.simulator.seed = 0

    config.preprocess = preprocess_section()
    config.preprocess.top_k = 1000  # genes
    config.preprocess.spread = "variance"  # variance | mad: by which the most variable are chosen
    config.preprocess.genes = ""  # choose among these only: a gene a line, or all sets of a .gmt
    config.preprocess.connected = False  # only among genes with an edge in network.edges

    config.network = ConfigDict()  # what is known of genes before
    config.network.edges = ""  # a table gene, gene[, weight], STRING's links, or .gmt
    config.network.least_weight = 0.0  # edges of less are left out, such as 700 of STRING's
    config.network.vectors = ""  # or a table of genes and numbers
    config.network.aliases = ""  # other names of genes, or STRING's protein.info
    config.embedding = ConfigDict()  # vectors of a network's genes by random walks
    config.embedding.channels = 64
    config.embedding.walk_length = 20  # genes of a walk
    config.embedding.context = 10  # pairs of a walk are less than so many steps apart
    config.embedding.walks = 10  # from every gene, in every epoch
    config.embedding.negatives = 1  # rows of random genes for every walk
    config.embedding.validation = 0.05  # share of the edges
    config.embedding.test = 0.1
    config.embedding.epochs = 100
    config.embedding.batch_size = 32
    config.embedding.patience = 10
    config.embedding.optimizer = ConfigDict(
        dict(name="adam", learning_rate=1e-2, clip=0.0, weight_decay=0.0)
    )

    config.model = ConfigDict()
    # bias (TxT) | linear | mlp | bins | soft_bins | fourier | rotary | rank
    config.model.encoding = "bias"
    # exact | induced (through a few tokens, at linear cost) | pathways (in place of their genes)
    config.model.attention = "exact"
    config.model.inducing = 32  # the number of these tokens
    config.model.pathways = ""  # gene sets, .gmt; genes in none of them take no part
    config.model.least_genes = 3  # of a pathway, among the genes of the data
    config.model.most_genes = 500
    config.model.norm = "pre"  # pre | post | post_twice (the authors' code)
    # attention | cls (a first token) | cls_attention | mean | flatten (the authors' code)
    config.model.pool = "cls_attention"
    config.model.channels = 32
    config.model.heads = 4
    config.model.layers = 1
    config.model.feedforward = 64
    config.model.dropout = 0.1
    config.model.linear = 0  # rows of a linear map of all values that the heads read, too
    config.model.linear_dropout = 0.5  # of the values that it reads
    config.model.linear_penalty = 0.0  # of the sum of its absolute weights, in the loss (the lasso)
    config.model.regression_loss = "mse"  # mae | mse

    config.heads = ConfigDict()
    config.heads.classification = dict(widths=(), dropout=0.0)
    config.heads.regression = dict(widths=(), dropout=0.0)
    config.heads.survival = dict(widths=(), dropout=0.0)
    config.weights = ""  # "subtype=2, OS=0.5": of the outcomes, 1 where nothing is said
    config.survival = ConfigDict()
    config.survival.bins = 0  # 0 chooses
    config.survival.grid = "quantile"  # quantile | equal
    config.survival.convention = "containing"  # containing | omiembed
    config.survival.hazard = "proper"  # proper | omiembed
    config.survival.times = ()  # of calibration, in the file's unit; () for quartiles of the events
    # fixed | pcgrad | pcgrad_features (at the embedding, cheap) | gradnorm | uncertainty
    config.balancing = ConfigDict(dict(name="fixed", learning_rate=0.025, alpha=1.5, smoothing=0.7))
    # fresh | shared (the authors' code): the order in which pcgrad visits the other outcomes
    config.balancing.order = "fresh"

    config.training = ConfigDict()
    config.training.stages = ("all",)  # pretraining, heads, all, calibration
    config.training.epochs = ConfigDict(dict(pretraining=60, heads=20, all=60, calibration=200))
    # learning rate of each stage, as a multiple of optimizer.learning_rate
    config.training.rates = ConfigDict(dict(pretraining=1.0, heads=1.0, all=1.0))
    config.training.batch_size = 64
    config.training.patience = 20
    config.training.stopping = ""  # the outcome by whose loss training stops; "" for all of them
    config.training.optimizer = ConfigDict()
    config.training.optimizer.name = "adam"
    config.training.optimizer.learning_rate = dict(name="cosine", peak=3e-3, warmup=50, floor=0.0)
    config.training.optimizer.clip = 1.0
    config.training.optimizer.weight_decay = 1e-2

    config.pretrain = ConfigDict()
    config.pretrain.hidden = 0.15  # share of a patient's genes that the stage pretraining restores

    config.compare = ConfigDict()
    config.compare.single = True  # a network for each outcome alone, in the experiment multitask
    config.compare.mlp = (64,)  # widths of dense layers with the same heads; () for none
    config.compare.dropout = 0.5  # of these
    config.compare.encodings = (
        *("bias", "linear", "mlp", "bins", "soft_bins", "fourier", "rotary", "rank"),
        "shuffled",
    )
    config.compare.balancing = ("fixed", "pcgrad", "gradnorm", "uncertainty")
    # numbers of labelled training patients, in the experiment pretrain
    config.compare.labelled = ("100", "300", "all")

    config.interpret = ConfigDict()
    # Networks of the null for each outcome; with fewer than 20 a lone pair cannot have q < .05.
    config.interpret.permutations = 30
    config.interpret.steps = 32  # gradients on the way from the average patient to a patient
    config.interpret.sets = ""  # a .gmt of gene sets: do the genes of a set interact?
    # "response" (two classes), "subtype=A,B", "level" (number) or "OS" (survival): two groups of
    # test patients whose attention is compared
    config.interpret.groups = ""

    # attributions: whether a prediction says what each gene adds to it
    # coverage: of intervals and sets of new patients, 0.8 | 0.9 | 0.95; 0 for none
    config.predict = ConfigDict(dict(batch_size=64, attributions=False, coverage=0.9))
    config.run = run_section()

    if "paper" in sizes:
        set_paper(config)
    if "best" in sizes:
        set_best(config)
    if "smoke" in sizes:
        set_smoke(config)
    return config


def set_paper(config: ConfigDict) -> None:
    """The sizes, norms and training of the authors' code (TxT)."""
    config.embedding.batch_size = 128
    config.model.norm = "post_twice"
    config.model.pool = "flatten"
    config.model.channels = 64
    config.model.layers = 8
    config.model.feedforward = 256
    config.heads.classification.update(widths=(128, 64), dropout=0.1)
    config.heads.regression.update(widths=(128, 64), dropout=0.1)
    config.heads.survival.update(widths=(128, 64), dropout=0.1)
    config.survival.bins = 63
    config.survival.grid = "equal"
    config.balancing.update(name="pcgrad", order="shared")
    config.training.epochs.all = 1000
    config.training.patience = 30
    config.training.optimizer = ConfigDict(
        dict(name="adam", learning_rate=1e-4, clip=0.0, weight_decay=0.0)
    )


def set_best(config: ConfigDict) -> None:
    """For hundreds or thousands of patients with a thousand genes, see the build notes."""
    config.members = 3
    config.model.attention = "induced"
    config.model.inducing = 4
    config.model.channels = 4
    config.model.heads = 2
    config.model.feedforward = 8
    config.model.linear = 64
    config.model.linear_dropout = 0.0
    config.model.linear_penalty = 5e-3
    config.training.stages = ("all", "calibration")
    config.training.batch_size = 32
    config.training.patience = 30
    config.training.optimizer.learning_rate.peak = 1e-2


def set_smoke(config: ConfigDict) -> None:
    """Seconds, for tests."""
    config.folds = 3
    config.simulator.patients = 60
    config.simulator.genes = 12
    config.simulator.modules = 3
    config.simulator.interactions = 2
    config.simulator.shared = 2
    config.embedding.update(channels=4, walk_length=6, context=3, walks=2, epochs=2)
    config.model.channels = 8
    config.model.heads = 2
    config.model.feedforward = 8
    config.model.dropout = 0.0
    config.training.epochs.update(pretraining=2, heads=2, all=2)
    config.training.batch_size = 16
    config.training.optimizer.learning_rate.warmup = 0
    config.compare.single = False
    config.compare.mlp = (8,)
    config.compare.dropout = 0.0
    config.compare.encodings = ("bias", "shuffled")
    config.compare.balancing = ("fixed", "pcgrad")
    config.compare.labelled = ("12", "all")
    config.interpret.permutations = 3
    config.interpret.steps = 4
    config.run.devices = 1
