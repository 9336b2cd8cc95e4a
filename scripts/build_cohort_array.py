"""Rule build_cohort_array: lung HU of all analysed scans on one grid in template space."""

from pathlib import Path

from lungtypes.cohort.attrition import read_analysed
from lungtypes.imaging.geometry import read_volume
from lungtypes.imaging.volume_files import write_cohort_array
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0])
config = snakemake.params.config
write_cohort_array(
    snakemake.output.array,
    snakemake.output.description,
    scans={s: Path(snakemake.params.results) / "registered" / s for s in read_analysed(snakemake.input.attrition)},
    splits=config["splits"],
    mask=read_volume(Path(snakemake.input.mask)),
    **config["volumes"],
)
record(
    snakemake.params.results,
    snakemake.rule,
    "cohort",
    config=snakemake.params.config,
    code=snakemake.params.code,
    outputs=list(snakemake.output),
)
