"""Rule draw_quality: one picture of a scan and its lungs, and the numbers in it."""

from pathlib import Path

from lungtypes.cohort.status import read_status, run_scan_stage
from lungtypes.imaging.geometry import read_volume
from lungtypes.provenance import open_log, record
from lungtypes.report.scan_quality import write_scan_quality

open_log(snakemake.log[0])
subject, lungs = snakemake.wildcards.subject, Path(snakemake.input.lungs)


def work(folder: Path) -> None:
    status = read_status(lungs)
    write_scan_quality(
        folder,
        read_volume(Path(snakemake.input.scan) / "ct.nii.gz"),
        read_volume(lungs / "lungs.nii.gz") if status.ok else None,
        title=f"{subject}: {status.code or 'lungs found'}",
    )


run_scan_stage(
    snakemake.output.folder,
    subject=subject,
    stage="quality",
    upstream=[snakemake.input.scan],
    strict=snakemake.params.config["strict"],
    work=work,
)
record(snakemake, name=subject)
