"""Rule choose_clam_clusters: K on the embedding before the clustering phase."""

from lungtypes.evaluation.choose_files import choose_stage
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0])
config = snakemake.params.config
choose_stage(
    f"{snakemake.input.pretrained}/embedding.tsv",
    table=snakemake.output.table,
    choice=snakemake.output.choice,
    seed=config["seed"],
    **config["k"],
)
record(snakemake)
