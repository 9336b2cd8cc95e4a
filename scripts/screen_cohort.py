"""Rule screen_cohort: which scans passed ingest, lungs and resample; written before the template needs them."""

from lungtypes.cohort.gate import status_table
from lungtypes.provenance import open_log, record, write_table

open_log(snakemake.log[0])
folders = zip(snakemake.params.config["subjects"], snakemake.input.resampled, strict=True)
write_table(snakemake.output.table, status_table(dict(folders)))
record(snakemake)
