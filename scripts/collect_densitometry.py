"""Rule collect_densitometry: density measures of the cohort in one table."""

from lungtypes.cohort.collect import collect_tables
from lungtypes.imaging.densitometry import COLUMNS
from lungtypes.provenance import open_log, record, write_table

open_log(snakemake.log[0])
subjects = snakemake.params.config["subjects"]
tables = [f"{folder}/densitometry.tsv" for folder in snakemake.input.folders]
table = collect_tables(dict(zip(subjects, tables, strict=True)), columns=COLUMNS)
write_table(snakemake.output.table, table)
record(snakemake)
