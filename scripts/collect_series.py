"""Rule collect_series: every series of every scan in one table."""

from lungtypes.cohort.collect import collect_tables
from lungtypes.imaging.ingest import SERIES_COLUMNS
from lungtypes.provenance import open_log, record, write_table

open_log(snakemake.log[0])
subjects = snakemake.params.config["subjects"]
table = collect_tables(dict(zip(subjects, snakemake.input.tables, strict=True)), columns=SERIES_COLUMNS)
write_table(snakemake.output.table, table)
record(snakemake)
