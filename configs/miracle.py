r"""MIRACLE: several diseases from blood methylation, by a network of sites, genes and pathways.

    Simulated case-control studies, on a laptop in minutes:
      python experiments/main.py --config=configs/miracle.py
    The same in seconds:
      python experiments/main.py --config=configs/miracle.py:smoke
    Every policy of task weights:
      python experiments/main.py --config=configs/miracle.py:weights
    What knowledge is worth:
      python experiments/main.py --config=configs/miracle.py:knowledge
    By the number of sites:
      python experiments/main.py --config=configs/miracle.py:sites --config.selection.method=t
    What pretraining on all people adds:
      python experiments/main.py --config=configs/miracle.py:transfer
    Which pathways differ, and whether one can believe it (a network per permutation and fold):
      python experiments/main.py --config=configs/miracle.py:pathways
    Your own files:
      python experiments/main.py --config=configs/miracle.py \
          --config.data.studies="RA=ra.csv, MS=ms.csv" --config.data.clinical=people.csv \
          --config.data.diseases="RA=disease, MS=disease" \
          --config.knowledge.site_genes=manifest.csv --config.knowledge.gene_sets=go.gmt
"""

from ml_collections import ConfigDict

from omics_jax.settings.sections import (
    knowledge_section,
    methylation_section,
    new_config,
    run_section,
)

SIZES = ("smoke", "paper")


def get_config(choice: str = "") -> ConfigDict:
    """The config of `choice`: an experiment and a size, separated by a comma; both are optional."""
    config, sizes = new_config("miracle", choice, SIZES)
    config.seed = 0
    config.folds = 5
    config.repeats = 1
    config.members = 1  # trainings of each fold whose predictions are averaged

    config.data = methylation_section()  # your files; without any, the simulator below
    config.knowledge = knowledge_section()  # of your sites; without any, the simulator's
    config.simulator = ConfigDict()
    config.simulator.people = (88, 79, 49, 160, 118, 53)
    config.simulator.sites = 1200
    config.simulator.genes = 400
    config.simulator.pathways = 60
    config.simulator.pathway_genes = 12
    config.simulator.active = 2
    config.simulator.shared = 2
    config.simulator.diseases_of_shared = 4
    config.simulator.effect = 1.0
    config.simulator.noise = 1.0
    config.simulator.batch = 0.5
    config.simulator.age_effect = 0.3
    config.simulator.confounding = 0.0
    config.simulator.without_gene = 0.1
    config.simulator.hidden = 0.1
    config.simulator.missing_cells = 0.01
    config.simulator.unlabelled = 0  # people without any outcome, for the experiment transfer
    config.simulator.seed = 0

    config.adjust = ConfigDict()
    config.adjust.remove = ("study",)  # columns whose effects are removed from every site
    config.adjust.inputs = ()  # columns that the heads read beside the pathways
    config.selection = ConfigDict()
    config.selection.method = "none"  # none (all sites) | t | moderated_t (limma) | variance
    config.selection.sites = 200  # of each disease, in every fold anew

    config.model = ConfigDict()
    config.model.mask = "both"  # both | decoder | none | shuffled | random
    config.model.softness = 0.0  # above 0: what a connection that is not known counts
    config.model.hidden = 0.0  # share of the known connections that is hidden
    config.model.form = "auto"  # auto | sparse | dense: how masked layers are computed
    config.model.activation = "leaky_relu"  # relu (the paper) | leaky_relu | tanh
    config.model.batch_norm = True
    config.model.dropout = 0.2  # of genes, in the encoder
    config.model.input_dropout = 0.5  # of sites: a denoising autoencoder
    config.model.reconstruction = "mse"  # mse | bce (the paper: of beta values)
    config.model.k_kl = 1e-3
    config.model.k_autoencoder = 1.0  # lambda of the last stage; 0 in the authors' code
    config.model.heads = "linear"  # geometric (the authors' code) | linear | widths
    config.model.regression_loss = "mse"  # mae | mse, of numbers such as age

    config.heads = ConfigDict()
    config.heads.classification = dict(widths=(32,), dropout=0.2)
    config.heads.regression = dict(widths=(32,), dropout=0.2)
    config.heads.survival = dict(widths=(32,), dropout=0.5)
    config.weights = ""  # "RA=2": w_k, 1 where nothing is said
    config.survival = ConfigDict()
    config.survival.bins = 0
    config.survival.grid = "quantile"
    config.survival.convention = "containing"
    config.survival.hazard = "proper"
    config.survival.times = ()
    config.balancing = ConfigDict()
    # fixed | inverse_size | pwinval | pwinval_slip | inverse_accuracy | inverse_gradient |
    # loss_share | gradnorm | pcgrad | pcgrad_features | uncertainty
    config.balancing.name = "fixed"
    config.balancing.learning_rate = 0.025  # of gradnorm and uncertainty
    config.balancing.alpha = 1.5  # of gradnorm
    config.balancing.smoothing = 0.7  # of validation accuracies
    config.balancing.order = "fresh"  # of pcgrad: fresh for every disease | shared in a step

    config.training = ConfigDict()
    config.training.stages = ("autoencoder", "heads", "all")
    config.training.supervised_autoencoder = False  # True: the authors' first stage
    config.training.epochs = ConfigDict(dict(autoencoder=50, heads=50, all=100, calibration=200))
    # learning rate of each stage, as a multiple of optimizer.learning_rate
    config.training.rates = ConfigDict(dict(autoencoder=1.0, heads=0.05, all=1.0))
    config.training.batch_size = 64
    config.training.patience = 15
    config.training.stopping = ""  # the outcome by whose loss training stops; "" for all of them
    config.training.optimizer = ConfigDict()
    config.training.optimizer.name = "adam"
    config.training.optimizer.learning_rate = 1e-2
    config.training.optimizer.clip = 5.0
    config.training.optimizer.weight_decay = 0.3  # of all but decoder and norms

    config.compare = ConfigDict()
    config.compare.single = True  # a network for each disease alone, in the experiment multitask
    config.compare.weights = (
        *("fixed", "pwinval", "pwinval_slip", "inverse_accuracy", "inverse_size"),
        *("inverse_gradient", "loss_share", "gradnorm", "pcgrad", "uncertainty"),
    )
    config.compare.knowledge = ("both", "decoder", "none", "shuffled", "random")
    config.compare.hidden = 0.2  # share of connections to find again, in knowledge; 0 for none
    config.compare.softness = 0.1  # what a connection that is not known counts there
    config.compare.sites = ("50", "100", "200", "400")

    config.interpret = ConfigDict()
    # Of the outcomes, each trains all folds again; below 20 a lone pathway cannot have q < .05.
    config.interpret.permutations = 20
    config.interpret.steps = 16  # gradients on the way from the average person to a person

    # coverage: of intervals and sets of new people, 0.8 | 0.9 | 0.95; 0 for none
    config.predict = ConfigDict(dict(batch_size=128, coverage=0.9))
    config.run = run_section()

    if "paper" in sizes:
        set_paper(config)
    if "smoke" in sizes:
        set_smoke(config)
    return config


def set_paper(config: ConfigDict) -> None:
    """The protocol of the paper and, where it is silent, of the authors' code."""
    config.selection.method = "t"
    config.selection.sites = 200
    config.model.activation = "relu"
    config.model.batch_norm = False
    config.model.dropout = 0.0
    config.model.input_dropout = 0.0
    config.model.reconstruction = "bce"
    config.model.k_kl = 1.0
    config.model.k_autoencoder = 0.0
    config.model.heads = "geometric"
    config.balancing.name = "pwinval"
    config.training.epochs.update(autoencoder=800, heads=800, all=800)
    config.training.rates.update(heads=0.1, all=0.1)
    config.training.batch_size = 1024
    config.training.optimizer.update(learning_rate=1e-3, clip=0.0, weight_decay=0.0)


def set_smoke(config: ConfigDict) -> None:
    """Seconds, for tests."""
    config.folds = 3
    config.simulator.people = (36, 30)
    config.simulator.sites = 60
    config.simulator.genes = 20
    config.simulator.pathways = 8
    config.simulator.pathway_genes = 4
    config.simulator.active = 1
    config.simulator.shared = 1
    config.simulator.diseases_of_shared = 2
    config.model.dropout = 0.0
    config.model.input_dropout = 0.0
    config.heads.classification.update(widths=(4,), dropout=0.0)
    config.heads.regression.update(widths=(4,), dropout=0.0)
    config.heads.survival.update(widths=(4,), dropout=0.0)
    config.training.epochs.update(autoencoder=2, heads=2, all=2)
    config.training.batch_size = 16
    config.selection.sites = 20
    config.interpret.permutations = 3
    config.interpret.steps = 4
    config.compare.single = False
    config.compare.weights = ("fixed", "pwinval")
    config.compare.knowledge = ("both", "shuffled")
    config.compare.sites = ("5", "10")
    if config.experiment == "sites":
        config.selection.method = "t"
    config.run.devices = 1
