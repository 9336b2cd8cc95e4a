"""Rule build_cohort_array: lung HU of all analysed scans on one grid in template space."""

from pathlib import Path

from lungtypes.cohort.gate import analysed_subjects, check_failures, status_table
from lungtypes.imaging.geometry import read_volume
from lungtypes.imaging.volume_files import write_cohort_array
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0])
config = snakemake.params.config
registered = dict(zip(config["splits"], snakemake.input.folders, strict=True))
statuses = status_table(registered)
check_failures(statuses, max_failed_fraction=config["max_failed_fraction"], place="cohort/attrition.tsv")
write_cohort_array(
    snakemake.output.array,
    snakemake.output.description,
    scans={s: Path(registered[s]) for s in analysed_subjects(statuses)},
    splits=config["splits"],
    mask=read_volume(Path(snakemake.input.mask)),
    **config["volumes"],
)
record(snakemake)
