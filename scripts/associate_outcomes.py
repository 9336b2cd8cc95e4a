"""Rules associate_outcomes and associate_external: do the clusters matter to patients?"""

from pathlib import Path

from lungtypes.association.stage import associate_stage
from lungtypes.provenance import open_log, record

config, inputs = snakemake.params.config, snakemake.input
open_log(snakemake.log[0], hide=[inputs.assignment, inputs.clinical])
associate_stage(
    folder=Path(snakemake.output.table_one).parent,
    assignment=inputs.assignment,
    clinical=inputs.clinical,
    seed=config["seed"],
    settings=config["associate"],
    densitometry=inputs.get("densitometry", ""),  # an external cohort brings no images
    map_summary=inputs.get("map_summary", ""),
    series=inputs.get("series", ""),
)
record(snakemake.params, snakemake.output, rule=snakemake.rule, name=snakemake.wildcards.get("method", "external"))
