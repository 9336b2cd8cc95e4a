"""Rule collect_attrition: how far each subject came, and why not further."""

from lungtypes.cohort.attrition import attrition_table
from lungtypes.provenance import open_log, record, write_table

open_log(snakemake.log[0])
config = snakemake.params.config
folders = {s: [f] for s, f in zip(config["subjects"], snakemake.input.folders, strict=True)}
table = attrition_table(folders, max_failed_fraction=config["max_failed_fraction"])
write_table(snakemake.output.table, table)
record(
    snakemake.params.results,
    snakemake.rule,
    "cohort",
    config=snakemake.params.config,
    code=snakemake.params.code,
    outputs=list(snakemake.output),
)
