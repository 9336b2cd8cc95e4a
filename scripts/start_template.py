"""Rule start_template: the first template is the subject nearest to the medians."""

from pathlib import Path

from lungtypes.cohort.sampling import read_sample
from lungtypes.imaging.geometry import read_volume
from lungtypes.imaging.template import start_template
from lungtypes.imaging.template_files import write_iteration
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0])
start = read_sample(snakemake.input.sample).start
scan = Path(snakemake.params.results) / "resampled" / start
template = start_template(
    read_volume(scan / "ct.nii.gz"),
    read_volume(scan / "lungs.nii.gz"),
    padding_mm=snakemake.params.config["padding_mm"],
)
write_iteration(Path(snakemake.output.folder), template, iteration=0, convergence=None, converged=False)
record(snakemake.params, snakemake.output, rule=snakemake.rule)
