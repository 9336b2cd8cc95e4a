"""Rule segment_lungs: right and left lung of one scan, or the mask that the user brought."""

from pathlib import Path

from lungtypes.cohort.status import run_scan_stage
from lungtypes.device import set_itk
from lungtypes.imaging.geometry import read_volume, write_volume
from lungtypes.imaging.lungs import check_given_lungs, segment_lungs
from lungtypes.provenance import open_log, record, write_json

open_log(snakemake.log[0], hide=[str(snakemake.input.given or "")])
config = snakemake.params.config
set_itk(threads=config["itk_threads"], seed=1)


def work(folder: Path) -> None:
    scan = read_volume(Path(snakemake.input.scan) / "ct.nii.gz")
    if snakemake.input.given:
        lungs = check_given_lungs(scan, read_volume(Path(snakemake.input.given)), **config["lungs"])
    else:
        lungs = segment_lungs(scan, **config["lungs"])
    write_volume(lungs.labels, folder / "lungs.nii.gz")
    write_volume(scan.with_array(lungs.airway), folder / "airway.nii.gz")
    write_json(folder / "lungs.json", lungs.checks())


run_scan_stage(
    snakemake.output.folder,
    subject=snakemake.wildcards.subject,
    stage="lungs",
    upstream=[snakemake.input.scan],
    strict=config["strict"],
    work=work,
)
record(
    snakemake.params.results,
    snakemake.rule,
    snakemake.wildcards.subject,
    config=snakemake.params.config,
    code=snakemake.params.code,
    outputs=list(snakemake.output),
)
