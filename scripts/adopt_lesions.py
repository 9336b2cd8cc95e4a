"""Rule adopt_lesions: the user's lesion mask of one scan, checked against its grid. No method that clusters sees it."""

from pathlib import Path

from lungtypes.cohort.status import run_scan_stage
from lungtypes.imaging.geometry import read_volume, write_volume
from lungtypes.imaging.given import check_given_lesions
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0], hide=[snakemake.input.lesions])
config, subject = snakemake.params.config, snakemake.wildcards.subject


def work(folder: Path) -> None:
    scan = read_volume(Path(snakemake.input.scan) / "ct.nii.gz")
    lesions = check_given_lesions(scan, read_volume(Path(snakemake.input.lesions)))
    write_volume(lesions, folder / "lesions.nii.gz")


run_scan_stage(
    snakemake.output.folder,
    subject=subject,
    stage="lesions",
    upstream=[snakemake.input.scan],
    strict=config["strict"],
    work=work,
)
record(snakemake, name=subject)
