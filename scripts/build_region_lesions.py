"""Rule build_region_lesions: the given lesion masks on the grids of the region arrays, and which scans have one."""

from pathlib import Path

from lungtypes.imaging.region_files import write_region_lesions
from lungtypes.imaging.volume_files import read_cohort_array
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0])
write_region_lesions(
    snakemake.output.get("lesions") or None,
    snakemake.output.masked,
    cohort=read_cohort_array(snakemake.input.array, snakemake.input.description),
    folders=map(Path, snakemake.input.given),
)
record(snakemake)
