"""Rule warp_lobes: lobes of one scan from the template's, by the scan's own registration."""

from pathlib import Path

from lungtypes.cohort.status import run_scan_stage
from lungtypes.device import set_itk
from lungtypes.imaging.geometry import read_volume, write_volume
from lungtypes.imaging.template_lobes import warp_lobes
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0])
config, subject = snakemake.params.config, snakemake.wildcards.subject
set_itk(threads=config["itk_threads"], seed=1)


def work(folder: Path) -> None:
    lungs = read_volume(Path(snakemake.input.lungs) / "lungs.nii.gz")
    lobes = warp_lobes(lungs, read_volume(Path(snakemake.input.lobes)), Path(snakemake.input.registered))
    write_volume(lobes, folder / "lobes.nii.gz")


run_scan_stage(
    snakemake.output.folder,
    subject=subject,
    stage="lobes",
    upstream=[snakemake.input.lungs, snakemake.input.registered],
    strict=config["strict"],
    work=work,
)
record(snakemake, name=subject)
