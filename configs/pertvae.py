"""PertVAE: how a drug changes a cell's gene expression (Rampasek and others).

    The simulator, on a laptop in minutes:
      python experiments/main.py --config=configs/pertvae.py
    The same in seconds:
      python experiments/main.py --config=configs/pertvae.py:smoke
    The paper's network and its 10 x 5 folds:
      python experiments/main.py --config=configs/pertvae.py:table1,paper
    VAE against PCA by latent size:
      python experiments/main.py --config=configs/pertvae.py:figure2
    Trained on the pairs of one file, tested on those of another:
      python experiments/main.py --config=configs/pertvae.py:external \
          --config.data.path=ours.gctx --config.data.external.path=theirs.gctx
    Your own files:
      python experiments/main.py --config=configs/pertvae.py --config.data.path=profiles.gctx

Expected of the first, in a minute or two: rho_pred of the model above that of every baseline, its
prediction better than its reconstruction for both active drugs (corrected p below .05) and not for
the inert one.
"""

from ml_collections import ConfigDict

from omics_jax.settings.sections import new_config, run_section

SIZES = ("smoke", "paper")


def get_config(choice: str = "") -> ConfigDict:
    """The config of `choice`: an experiment and a size, separated by a comma; both are optional."""
    config, sizes = new_config("pertvae", choice, SIZES)
    config.seed = 0
    config.folds = 5
    config.repeats = 2
    config.members = 1  # trainings of each fold whose predictions are averaged

    # Your files. An empty path means the simulator below. See README, "Your own files".
    config.data = ConfigDict()
    config.data.path = ""
    config.data.orientation = "auto"  # auto | samples | genes: what the rows of a text file are
    config.data.conditions = ""
    config.data.columns = ConfigDict()
    config.data.columns.sample = ""
    config.data.columns.cell_line = "cell_id"
    config.data.columns.drug = "pert_iname"
    config.data.columns.dose = "pert_dose"
    config.data.columns.dose_unit = ""  # empty: the dose's column with _unit behind, if it is there
    config.data.columns.time = "pert_time"
    config.data.columns.time_unit = ""
    config.data.columns.batch = "rna_plate"  # used where a file has it; empty: no column
    config.data.columns.role = "pert_type"
    controls = ("ctl_vehicle", "ctl_untrt", "control", "DMSO", "vehicle", "untreated")
    config.data.control_values = controls
    config.data.pair_by = ("cell_line", "time")
    config.data.control_plates = "own"  # own | any: batch of a profile's controls, where known
    config.data.control_profile = "mean"  # mean | each | one
    config.data.pairs = ""
    config.data.singletons = ()
    config.data.unpaired_controls = True
    config.data.drugs = ()
    config.data.dose = "highest"  # highest | all
    config.data.group_by = "cell_line"
    config.data.min_genes = 50
    config.data.repeated = "error"  # error | mean: genes of the same name in a file
    config.data.below_detection = "error"  # error | limit | half | missing: cells such as <0.1
    config.data.missing_values = ()  # such as (-999,), besides empty cells, NA, -666 and the like
    # Files of the pairs that external tests; all else about them is as above.
    config.data.external = ConfigDict(dict(path="", conditions="", pairs=""))
    config.data.weight_replicates = False  # draw pairs by 1 / replicates of (cell line, drug)

    config.simulator = ConfigDict()
    config.simulator.genes = 200
    config.simulator.drugs = 2
    config.simulator.null_drugs = 1
    config.simulator.cell_lines = 40
    config.simulator.replicates = 2
    config.simulator.singletons = 500
    config.simulator.latent = 8
    config.simulator.effect = 0.5
    config.simulator.batch_noise = 0.3
    config.simulator.measurement_noise = 0.4
    config.simulator.platform_shift = 0.8
    config.simulator.missing = 0.0
    config.simulator.seed = 0

    config.model = ConfigDict()
    config.model.per_drug = True
    config.model.encoder = (200,)
    config.model.decoder = (200,)
    config.model.latent = 16
    config.model.context = 32
    config.model.posterior = "iaf"  # iaf | gaussian
    config.model.flow_steps = 2
    config.model.flow_hidden = 64
    config.model.free_bits = 0.05  # nats per latent dimension (batch) or per row in all (example)
    config.model.free_bits_mode = "batch"  # batch | example (the released code)
    config.model.l2 = 0.02
    config.model.input_noise = 1.0  # s.d. of noise on the encoder's z-scores; 0 in the paper
    config.model.draws = 64

    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.clip = 0.0
    config.optimizer.weight_decay = 0.0

    config.training = ConfigDict()
    config.training.epochs = 150
    config.training.batch_size = 100
    config.training.patience = 20
    config.training.monitor_every = 1
    config.training.monitor_draws = 16

    config.figure2 = ConfigDict()
    config.figure2.latent_sizes = (2, 5, 10, 20, 50)

    config.run = run_section(spread="data")

    if "paper" in sizes:
        set_paper(config)
    if "smoke" in sizes:
        set_smoke(config)
    if config.experiment == "external":
        config.repeats = 1  # all trainings are tested on the same pairs
    return config


def set_paper(config: ConfigDict) -> None:
    """The paper's network and protocol, and data of the paper's size."""
    config.repeats = 10
    config.simulator.genes = 903
    config.simulator.drugs = 15
    config.simulator.null_drugs = 4
    config.simulator.cell_lines = 56
    config.simulator.singletons = 1300
    config.simulator.latent = 20
    config.model.encoder = (500, 300)
    config.model.decoder = (300, 500)
    config.model.latent = 100
    config.model.context = 200
    config.model.flow_hidden = 300
    config.model.input_noise = 0.0
    config.model.l2 = 0.05
    config.optimizer.learning_rate = 5e-4
    config.training.batch_size = 200
    config.training.epochs = 500
    config.figure2.latent_sizes = (2, 5, 10, 20, 50, 100, 200)


def set_smoke(config: ConfigDict) -> None:
    """Seconds, for tests."""
    config.repeats = 1
    config.folds = 3
    config.simulator.genes = 24
    config.simulator.drugs = 1
    config.simulator.null_drugs = 1
    config.simulator.cell_lines = 9
    config.simulator.replicates = 1
    config.simulator.singletons = 20
    config.simulator.latent = 3
    config.model.encoder = (16, 8)
    config.model.decoder = (8, 16)
    config.model.latent = 4
    config.model.context = 4
    config.model.flow_hidden = 8
    config.model.draws = 8
    config.training.epochs = 3
    config.training.batch_size = 16
    config.training.monitor_draws = 4
    config.figure2.latent_sizes = (2, 4)
