"""Rules associate_outcomes, associate_external, associate_phenotype: do clusters, or a number, matter to patients?"""

from pathlib import Path

from lungtypes.association.stage import associate_stage
from lungtypes.provenance import open_log, record

config, inputs = snakemake.params.config, snakemake.input
phenotype = snakemake.wildcards.get("phenotype", "")
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
    column=snakemake.params.get("column", ""),
    subjects=snakemake.params.get("subjects"),
)
name = phenotype or snakemake.wildcards.get("method", "external")
record(snakemake, name=name)
