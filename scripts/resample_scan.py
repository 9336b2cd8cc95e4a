"""Rule resample_scan: CT and lungs of one scan on one isotropic grid."""

from pathlib import Path

from lungtypes.cohort.status import run_scan_stage
from lungtypes.device import set_itk
from lungtypes.imaging.geometry import read_volume, write_volume
from lungtypes.imaging.resample import resample_scan
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0])
config = snakemake.params.config
set_itk(threads=config["itk_threads"], seed=1)


def work(folder: Path) -> None:
    scan = read_volume(Path(snakemake.input.scan) / "ct.nii.gz")
    lungs = read_volume(Path(snakemake.input.lungs) / "lungs.nii.gz")
    lobes = Path(snakemake.input.lungs) / "lobes.nii.gz"
    lobes = read_volume(lobes) if lobes.exists() else None
    resampled = resample_scan(scan, lungs, lobes, **config["resample"])
    write_volume(resampled.ct, folder / "ct.nii.gz")
    write_volume(resampled.lungs, folder / "lungs.nii.gz")
    if resampled.lobes is not None:
        write_volume(resampled.lobes, folder / "lobes.nii.gz")


run_scan_stage(
    snakemake.output.folder,
    subject=snakemake.wildcards.subject,
    stage="resample",
    upstream=[snakemake.input.lungs],
    strict=config["strict"],
    decision=config["decision"],
    work=work,
)
record(snakemake, name=snakemake.wildcards.subject)
