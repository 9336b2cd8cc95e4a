"""Rule evaluate_clusters: are the clusters real?"""

from lungtypes.evaluation.evaluate_files import evaluate_stage
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0])
config = snakemake.params.config
evaluate_stage(
    assignment=snakemake.input.assignment,
    embedding=snakemake.input.embedding,
    choice=snakemake.input.choice,
    common=snakemake.input.common,
    refits=list(snakemake.input.refits),
    table=snakemake.output.table,
    confusion=snakemake.output.confusion,
    learnt=snakemake.wildcards.method == "dcam-supervised",
    **config,
)
record(snakemake, name=snakemake.wildcards.method)
