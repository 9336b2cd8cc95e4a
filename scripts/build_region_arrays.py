"""Rule build_region_arrays: lung HU, and lobes or zones, of all usable scans in their own space."""

from pathlib import Path

from lungtypes.cohort.gate import analysed_subjects, check_failures, status_table
from lungtypes.imaging.region_files import sources_of, write_region_arrays
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0])
config, resampled = snakemake.params.config, [Path(folder) for folder in snakemake.input.resampled]
statuses = status_table({folder.name: folder for folder in resampled})
check_failures(statuses, max_failed_fraction=config["max_failed_fraction"], place="resampled/*/status.json")
write_region_arrays(
    snakemake.output.array,
    snakemake.output.labels,
    snakemake.output.description,
    scans=sources_of(
        analysed_subjects(statuses),
        resampled=resampled,
        lobes=map(Path, snakemake.input.lobes),
    ),
    splits=config["splits"],
    **config["volumes"],
)
record(snakemake)
