"""Rule apply_transforms: a subject's files of config/apply.tsv, brought to the template or to the scan."""

from pathlib import Path

from lungtypes.cohort.status import run_scan_stage
from lungtypes.device import set_itk
from lungtypes.imaging.apply_files import apply_file
from lungtypes.imaging.transforms import TransformFiles
from lungtypes.provenance import open_log, record

files = snakemake.params.files
open_log(snakemake.log[0], hide=files)
config, subject = snakemake.params.config, snakemake.wildcards.subject
set_itk(threads=config["itk_threads"], seed=1)
transforms = TransformFiles.of(snakemake.input.registered)
grids = {"template": Path(snakemake.input.template), "scan": Path(snakemake.input.lungs) / "lungs.nii.gz"}


def work(folder: Path) -> None:
    for row, file in zip(config["rows"], files, strict=True):
        apply_file(folder, file=file, **row, transforms=transforms, grids=grids)


run_scan_stage(
    snakemake.output.folder,
    subject=subject,
    stage="apply",
    upstream=[snakemake.input.registered, snakemake.input.lungs],
    strict=config["strict"],
    work=work,
)
record(snakemake, name=subject)
