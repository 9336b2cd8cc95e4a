"""Rule build_native_array: lung HU of all analysed scans without registration, each around its own lungs."""

from pathlib import Path

from lungtypes.cohort.gate import analysed_subjects, status_table
from lungtypes.imaging.volume_files import write_native_array
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0])
config = snakemake.params.config
subjects = list(config["splits"])
registered = dict(zip(subjects, snakemake.input.registered, strict=True))  # the same scans as in template space
resampled = dict(zip(subjects, snakemake.input.resampled, strict=True))
write_native_array(
    snakemake.output.array,
    snakemake.output.description,
    scans={s: Path(resampled[s]) for s in analysed_subjects(status_table(registered))},
    splits=config["splits"],
    **config["native"],
)
record(snakemake)
