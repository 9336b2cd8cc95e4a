"""Rule associate_outcomes: do the clusters matter to patients?"""

from lungtypes.association.stage import associate_stage
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0])
config = snakemake.params.config
associate_stage(
    assignment=snakemake.input.assignment,
    clinical=snakemake.input.clinical,
    table_one=snakemake.output.table_one,
    outcomes_table=snakemake.output.outcomes,
    adjusted_means_table=snakemake.output.adjusted_means,
    comparison_table=snakemake.output.comparison,
    seed=config["seed"],
    settings=config["associate"],
)
record(snakemake.params, snakemake.output, rule=snakemake.rule, name=snakemake.wildcards.method)
