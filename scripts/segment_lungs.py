"""Rule segment_lungs: right and left lung of one scan, or the masks that the user brought."""

from pathlib import Path

from lungtypes.cohort.status import run_scan_stage
from lungtypes.device import set_itk, set_torch
from lungtypes.imaging.geometry import read_volume, write_volume
from lungtypes.imaging.lobes import find_lungs
from lungtypes.imaging.lung_network import require_lungmask
from lungtypes.provenance import open_log, record, write_json

given = {f"given_{name}": snakemake.input.get(name) for name in ("lungs", "lobes")}
open_log(snakemake.log[0], hide=[path for path in given.values() if path])
config = snakemake.params.config
set_itk(threads=config["itk_threads"], seed=1)
weights = {}
if config["lungs"]["engine"] == "lungmask":
    set_torch(threads=config["itk_threads"])
    require_lungmask(config["lungs"]["lungmask_weights"])
    weights = {"weights": config["lungs"]["lungmask_weights"]}


def work(folder: Path) -> None:
    scan = read_volume(Path(snakemake.input.scan) / "ct.nii.gz")
    masks = {name: read_volume(Path(path)) if path else None for name, path in given.items()}
    found = find_lungs(scan, **masks, **config["lungs"])
    write_volume(found.lungs.labels, folder / "lungs.nii.gz")
    write_volume(scan.with_array(found.lungs.airway), folder / "airway.nii.gz")
    if found.lobes is not None:
        write_volume(found.lobes, folder / "lobes.nii.gz")
    write_json(folder / "lungs.json", found.lungs.record())


run_scan_stage(
    snakemake.output.folder,
    subject=snakemake.wildcards.subject,
    stage="lungs",
    upstream=[snakemake.input.scan],
    strict=config["strict"],
    decision=config["decision"],
    work=work,
)
record(snakemake, name=snakemake.wildcards.subject, more_inputs=weights)
