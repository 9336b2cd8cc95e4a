"""Rule measure_densitometry: density measures of one scan on its native HU."""

from pathlib import Path

from lungtypes.cohort.status import run_scan_stage
from lungtypes.imaging.densitometry import measure_density
from lungtypes.imaging.geometry import read_volume
from lungtypes.provenance import open_log, record, write_table

open_log(snakemake.log[0])
config = snakemake.params.config


def work(folder: Path) -> None:
    scan = read_volume(Path(snakemake.input.scan) / "ct.nii.gz")
    lungs = read_volume(Path(snakemake.input.lungs) / "lungs.nii.gz")
    lobes = Path(snakemake.input.get("lobes") or snakemake.input.lungs) / "lobes.nii.gz"
    lobes = read_volume(lobes).array if lobes.exists() else None
    table = measure_density(scan.array, lungs.array, lobes, spacing_mm=scan.spacing_mm)
    write_table(folder / "densitometry.tsv", table)


run_scan_stage(
    snakemake.output.folder,
    subject=snakemake.wildcards.subject,
    stage="densitometry",
    upstream=[snakemake.input.lungs],
    strict=config["strict"],
    work=work,
)
record(snakemake, name=snakemake.wildcards.subject)
