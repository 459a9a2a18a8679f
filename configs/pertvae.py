"""PertVAE: how a drug changes a cell's gene expression (Rampasek and others).

    python experiments/main.py --config=configs/pertvae.py                  the simulator, a laptop, minutes
    python experiments/main.py --config=configs/pertvae.py:smoke            the same in seconds
    python experiments/main.py --config=configs/pertvae.py:table1,paper     the paper's network and its 10 x 5 folds
    python experiments/main.py --config=configs/pertvae.py:figure2          VAE against PCA by latent size
    python experiments/main.py --config=configs/pertvae.py --config.data.path=profiles.gctx   your own files

Expected of the first, in a minute or two: rho_pred of the model above that of every baseline, its prediction better
than its reconstruction for both active drugs (corrected p below .05) and not for the inert one.
"""

from ml_collections import ConfigDict

from omics_jax.settings.sections import new_config, run_section

SIZES = ("smoke", "paper")


def get_config(choice: str = "") -> ConfigDict:
    """`choice` names an experiment and a size, in any order, separated by a comma; both are optional."""
    config, sizes = new_config("pertvae", choice, SIZES)
    config.seed = 0
    config.folds = 5
    config.repeats = 2

    # Your files. An empty path means the simulator below. See README, "Your own files".
    config.data = ConfigDict()
    config.data.path = ""
    config.data.orientation = "auto"  # samples | genes: what the rows of a text file are
    config.data.conditions = ""
    config.data.columns = ConfigDict(
        dict(
            sample="",
            cell_line="cell_id",
            drug="pert_iname",
            dose="pert_dose",
            time="pert_time",
            batch="",
            role="pert_type",
        )
    )
    config.data.control_values = (
        "ctl_vehicle",
        "ctl_untrt",
        "control",
        "DMSO",
        "vehicle",
        "untreated",
    )
    config.data.pair_by = ("cell_line", "time")
    config.data.control_profile = "mean"  # mean | each | one
    config.data.pairs = ""
    config.data.singletons = ()
    config.data.unpaired_controls = True
    config.data.drugs = ()
    config.data.dose = "highest"  # highest | all
    config.data.group_by = "cell_line"
    config.data.min_genes = 50
    config.data.repeated = "error"  # error | mean: genes of the same name in a file
    # pairs drawn with probability 1 / replicates of their (cell line, drug)
    config.data.weight_replicates = False

    config.simulator = ConfigDict(
        dict(genes=200, drugs=2, null_drugs=1, cell_lines=40, replicates=2, singletons=500, latent=8, effect=0.5,
             batch_noise=0.3, measurement_noise=0.4, platform_shift=0.8, missing=0.0, seed=0)
    )  # fmt: skip

    config.model = ConfigDict()
    config.model.per_drug = True
    config.model.encoder = (200,)
    config.model.decoder = (200,)
    config.model.latent = 16
    config.model.context = 32
    config.model.posterior = "iaf"  # iaf | gaussian
    config.model.flow_steps = 2
    config.model.flow_hidden = 64
    # nats per latent dimension ("batch") or per row in all ("example")
    config.model.free_bits = 0.05
    config.model.free_bits_mode = "batch"  # batch | example (the released code)
    config.model.l2 = 0.02
    # s.d. of noise on the encoder's standardised input; 0 in the paper
    config.model.input_noise = 1.0
    config.model.draws = 64

    config.optimizer = ConfigDict(dict(name="adam", learning_rate=3e-3, clip=0.0, weight_decay=0.0))

    config.training = ConfigDict()
    config.training.epochs = 150
    config.training.batch_size = 100
    config.training.patience = 20
    config.training.monitor_every = 1
    config.training.monitor_draws = 16

    config.figure2 = ConfigDict(dict(latent_sizes=(2, 5, 10, 20, 50)))

    config.run = run_section(spread="data")

    if "paper" in sizes:
        config.repeats = 10
        config.model.update(
            dict(encoder=(500, 300), decoder=(300, 500), latent=100, context=200, flow_hidden=300)
        )
        config.model.update(dict(input_noise=0.0, l2=0.05))
        config.training.update(dict(batch_size=200, epochs=500))
        config.figure2.latent_sizes = (2, 5, 10, 20, 50, 100, 200)
        config.optimizer.learning_rate = 5e-4
        config.simulator.update(
            dict(genes=903, drugs=15, null_drugs=4, cell_lines=56, singletons=1300, latent=20)
        )
    if "smoke" in sizes:
        config.repeats, config.folds = 1, 3
        config.simulator.update(
            dict(
                genes=24, drugs=1, null_drugs=1, cell_lines=9, replicates=1, singletons=20, latent=3
            )
        )
        config.model.update(
            dict(encoder=(16, 8), decoder=(8, 16), latent=4, context=4, flow_hidden=8, draws=8)
        )
        config.training.update(dict(epochs=3, batch_size=16, monitor_draws=4))
        config.figure2.latent_sizes = (2, 4)
    return config
