"""Rule assign_scans: new scans, one by one, in the clusters of a frozen model."""

from pathlib import Path

from lungtypes.cohort.collect import collect_json
from lungtypes.cohort.gate import status_table
from lungtypes.device import choose_device, keep_freed_memory, set_torch
from lungtypes.imaging.assign_files import scan_reader
from lungtypes.methods.frozen_stages import assign_scans
from lungtypes.methods.typical_range import image_figures
from lungtypes.provenance import open_log, record, write_table

frozen, method = Path(snakemake.input.manifest).parent, snakemake.wildcards.method
open_log(snakemake.log[0], hide=[str(frozen)])
config = snakemake.params.config
keep_freed_memory()
set_torch(threads=config["torch_threads"])
registered = dict(zip(config["subjects"], snakemake.input.registered, strict=True))
lungs = collect_json(dict(zip(config["scanned"], snakemake.input.lungs, strict=True)), "lungs.json")
figures = collect_json(registered, "registration.json")
read = scan_reader(
    config["space"],
    volumes=config["volumes"],
    mask=snakemake.input.mask,
    registered=registered,
    resampled=dict(zip(config["resampled"], snakemake.input.resampled, strict=True)),
)
table = assign_scans(
    frozen,
    method,
    status_table(registered),
    read,
    {subject: image_figures(lungs.get(subject), found) for subject, found in figures.items()},
    device=choose_device(config["device"]),
)
write_table(snakemake.output.table, table)
record(snakemake, name=method)
