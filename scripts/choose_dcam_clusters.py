"""Rule choose_dcam_clusters: every K judged on the untrained network's features; the config fixes it at six."""

import pandas as pd

from lungtypes.evaluation.choose_files import choose_stage
from lungtypes.evaluation.evaluate_files import read_reference
from lungtypes.methods.dcam_stages import classes_of
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0])
config, method = snakemake.params.config, snakemake.wildcards.method
k = dict(config["k"])
reference = read_reference(snakemake.input.reference or "", config["reference_column"])
if reference is not None:  # as many as it has classes
    start = pd.read_csv(snakemake.input.start, sep="\t", dtype={"subject": str})
    train = start.loc[start["split"] == "train", "subject"].tolist()
    k["n_clusters"] = len(classes_of(reference, train)[0])
choose_stage(
    snakemake.input.start, table=snakemake.output.table, choice=snakemake.output.choice, seed=config["seed"], **k
)
record(snakemake, name=method)
