"""Rule audit_confounders: do the clusters follow scanners, sites or registration?"""

from lungtypes.evaluation.audit_files import audit_stage
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0])
audit_stage(
    assignment=snakemake.input.assignment,
    embedding=snakemake.input.embedding,
    series=snakemake.input.series,
    densitometry=snakemake.input.densitometry,
    registered=dict(zip(snakemake.params.subjects, snakemake.input.registered, strict=True)),
    sheet=snakemake.params.sheet,
    clinical=snakemake.input.clinical,
    table=snakemake.output.table,
    **snakemake.params.config,
)
record(snakemake, name=snakemake.wildcards.method)
