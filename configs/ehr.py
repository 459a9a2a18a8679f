r"""EHR: impute irregular clinical series by BRITS or CSAI, then classify from what was learned.

    Simulated ICU stays, on a laptop in minutes:
      python experiments/main.py --config=configs/ehr.py
    The same in seconds:
      python experiments/main.py --config=configs/ehr.py:smoke
    Errors on held-out values, beside simple methods:
      python experiments/main.py --config=configs/ehr.py:imputation
    The paper's table II (table3: the same unfrozen; tables: both):
      python experiments/main.py --config=configs/ehr.py:table2,paper \
          --config.data.path=set-a.tar.xz --config.data.outcomes=Outcomes-a.txt
    Trained on one set, tested on another:
      python experiments/main.py --config=configs/ehr.py:external,paper ...

Expected of the first, in some minutes: an AUROC of about .80 for our classifier, above logistic
regression and boosting on summaries (.78 and .72), and a mae_10 of the imputer below that of every
simple method (.37 against .42).
"""

from ml_collections import ConfigDict

from omics_jax.settings.sections import new_config, run_section, series_section

SIZES = ("smoke", "paper", "official", "best")


def get_config(choice: str = "") -> ConfigDict:
    """The config of `choice`: an experiment and a size, separated by a comma; both are optional.

    paper: the paper's protocol with CSAI of 64 channels; official: the same with the 512 of the
    released CSAI; best: ours, at the size for real data.
    """
    config, sizes = new_config("ehr", choice, SIZES)
    config.seed = 0
    config.folds = 5
    config.repeats = 1
    config.members = 1  # trainings of each fold whose predictions are averaged
    config.held_out = (0.1, 0.2, 0.5)  # shares of observed values held out to score imputation

    config.data = series_section()  # your files and how they are read

    config.simulator = ConfigDict()
    config.simulator.patients = 900
    config.simulator.steps = 48
    config.simulator.features = 12
    config.simulator.prevalence = 0.14
    config.simulator.noise = 0.4
    config.simulator.informative = 1.0
    config.simulator.missing = 0.8
    config.simulator.seed = 0

    config.model = ConfigDict()
    config.model.imputer = "csai"  # csai | brits
    config.model.hidden = 48
    config.model.channels = 16
    config.model.feedforward = 32
    config.model.heads = 4
    config.model.dropout = 0.1
    config.model.static = True  # the initial state also reads the static descriptors
    config.model.gaps = "paper"  # paper (hours) | code (steps, as released)
    config.model.sigmoid_beta = True  # False as in the released CSAI
    config.model.clip = 10.0  # z-scores are clipped to +- this
    # Defects of the released codes, for numbers that depend on them.
    config.model.compat = ConfigDict()
    config.model.compat.cross_patient_attention = False
    config.model.compat.double_reversed_gaps = False
    config.model.compat.consistency_over_all = False

    config.pretrain = ConfigDict()
    config.pretrain.epochs = 60
    config.pretrain.batch_size = 64
    config.pretrain.patience = 10
    config.pretrain.monitor_every = 1
    config.pretrain.hide = 0.1  # share of observed values hidden in training
    config.pretrain.increase = 0.5  # how much more of rare variables (CSAI's increase factor)
    config.pretrain.resample = True  # hidden anew in every step
    # Weights of the loss's terms by imputer; those of BRITS are the published ones.
    config.pretrain.weights = ConfigDict()
    config.pretrain.weights.brits = dict(
        history=0.3, feature=0.3, combined=0.3, consistency=0.1, hidden=0.0
    )
    config.pretrain.weights.csai = dict(
        history=0.3, feature=0.3, combined=0.3, consistency=0.1, hidden=1.0
    )
    config.pretrain.optimizer = ConfigDict()
    config.pretrain.optimizer.name = "adam"
    config.pretrain.optimizer.learning_rate = 3e-3
    config.pretrain.optimizer.clip = 5.0
    config.pretrain.optimizer.weight_decay = 0.0
    config.imputers = ("csai", "brits")  # compared by the experiment imputation

    config.classifier = ConfigDict()
    config.classifier.network = "summary"  # mlp2 | mlp5 | lstm | gru (the paper's) | summary (ours)
    config.classifier.series = "imputed"  # imputed | raw: what the networks lstm and gru read
    config.classifier.members = 4  # classifiers whose probabilities are averaged
    config.classifier.dropout = 0.3
    config.classifier.units = 32  # of the GRU of "summary"
    config.classifier.bins = 8  # quantile bins of every summary feature of "summary"
    config.classifier.plain_dropout = 0.7  # of the binned summary features
    config.classifier.positive_weight = 1.0
    config.classifier.calibrated = True  # by two numbers that are fitted to validation patients
    # The same of the paper's networks, in tables, forgetting and compared with ours.
    config.paper_network = ConfigDict()
    config.paper_network.members = 1
    config.paper_network.series = "imputed"
    config.paper_network.dropout = 0.2
    config.paper_network.calibrated = False

    config.finetune = ConfigDict()
    config.finetune.regime = "gradual"  # frozen | unfrozen | gradual (frozen, then all)
    config.finetune.epochs = 60
    config.finetune.batch_size = 64
    config.finetune.patience = 10
    config.finetune.optimizer = ConfigDict()
    config.finetune.optimizer.name = "adam"
    config.finetune.optimizer.learning_rate = 1e-3
    config.finetune.optimizer.clip = 5.0
    config.finetune.optimizer.weight_decay = 0.0
    config.finetune.unfrozen_learning_rate = 2e-4  # of "gradual", once all is trained

    # The paper's learning-rate strategies, with torch's defaults where the paper is silent.
    config.strategies = ConfigDict()
    config.strategies.cyclic = dict(
        name="cyclic", base=1e-5, max=1e-3, step_size_up=2000, mode="exp_range", gamma=1.0
    )
    config.strategies.plateau = dict(
        name="plateau", start=1e-3, factor=0.2, patience=15, floor=1e-5, watch="validation_loss"
    )
    config.strategies.optuna = dict(name="replicate")
    # Regimes of the paper's mlp2 that mortality and external compare with ours.
    config.compare_regimes = ("frozen", "unfrozen")
    config.tables = ConfigDict()
    config.tables.networks = ("mlp2", "mlp5", "lstm", "gru")
    config.tables.strategies = ("optuna", "cyclic", "plateau")
    config.tune = ConfigDict()
    config.tune.trials = 20
    config.tune.learning_rate = (1e-5, 1e-3)
    # each: every fold chooses on its own validation patients, config.tune.trials trials each.
    # first: the first fold's choice serves all, though other folds test the patients it saw.
    config.tune.folds = "each"

    config.predict = ConfigDict()
    config.predict.draws = 0  # passes with observed values hidden, for the s.d. of imputed values
    config.predict.steps = False  # whether to keep the hidden states of every step
    config.predict.forgetting = False  # whether a classifier's arm also imputes held-out values
    config.predict.batch_size = 64

    config.run = run_section()

    if "paper" in sizes or "official" in sizes:
        set_paper(config)
        config.model.channels = 512 if "official" in sizes else 64
    if "best" in sizes:
        set_best(config)
    if "smoke" in sizes:
        set_smoke(config)
    return config


def set_paper(config: ConfigDict) -> None:
    """The paper's protocol, with what its released code adds."""
    config.data.keep_empty = False
    config.held_out = (0.1,)
    config.model.hidden = 108
    config.model.channels = 64
    config.model.feedforward = 64
    config.model.heads = 8
    config.model.static = False
    config.model.sigmoid_beta = False
    config.pretrain.weights.csai.history = 0.0
    config.pretrain.weights.csai.feature = 0.0
    config.pretrain.weights.csai.consistency = 0.04
    config.pretrain.weights.csai.hidden = 0.0
    config.pretrain.epochs = 300
    config.pretrain.patience = 10
    config.pretrain.optimizer.learning_rate = 5e-4
    config.pretrain.optimizer.clip = 0.0
    config.pretrain.optimizer.weight_decay = 1e-5
    config.classifier.network = "mlp2"
    config.classifier.update(config.paper_network)
    config.finetune.regime = "unfrozen"
    config.finetune.epochs = 200
    config.finetune.patience = 25
    config.finetune.optimizer.clip = 0.0
    config.tune.folds = "first"  # 20 trials, as in the paper


def set_best(config: ConfigDict) -> None:
    """Ours, at the size for real data."""
    config.held_out = (0.1, 0.2, 0.5)
    config.model.hidden = 108
    config.model.channels = 64
    config.model.feedforward = 64
    config.model.heads = 8
    config.pretrain.epochs = 60
    config.pretrain.patience = 60
    config.pretrain.hide = 0.05
    config.pretrain.weights.csai.hidden = 0.0
    with config.ignore_type():
        config.pretrain.optimizer.learning_rate = dict(
            name="cosine", peak=3e-3, warmup=0, floor=1e-5
        )
    config.classifier.members = 8
    config.classifier.dropout = 0.5
    config.finetune.patience = 15
    config.finetune.unfrozen_learning_rate = 1e-4
    config.finetune.optimizer.learning_rate = 1e-3


def set_smoke(config: ConfigDict) -> None:
    """Seconds, for tests."""
    config.folds = 3
    config.held_out = (0.1, 0.5)
    config.simulator.patients = 60
    config.simulator.steps = 8
    config.simulator.features = 4
    config.simulator.prevalence = 0.3
    config.simulator.missing = 0.5
    config.model.hidden = 6
    config.model.channels = 8
    config.model.feedforward = 8
    config.model.heads = 2
    config.model.imputer = "csai" if config.experiment in ("imputation", "table2") else "brits"
    config.pretrain.epochs = 2
    config.pretrain.batch_size = 16
    config.finetune.epochs = 2
    config.finetune.batch_size = 16
    config.classifier.members = 2
    config.classifier.units = 4
    config.classifier.bins = 3
    config.tune.trials = 3
    config.compare_regimes = ("unfrozen",)
    config.tables.networks = ("gru",) if config.experiment == "table2" else ("mlp2",)
    if config.experiment == "tables":
        config.tables.strategies = ("cyclic",)
    config.run.devices = 1
