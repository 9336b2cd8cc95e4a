"""Rule map_clam: CLAM of every subject, group maps, and what they cover."""

from pathlib import Path

from lungtypes.device import choose_device, keep_freed_memory, set_torch
from lungtypes.imaging.volume_files import read_cohort_array
from lungtypes.methods.clam_maps import MapFolders, explain_with, write_maps
from lungtypes.methods.map_groups import read_clusters
from lungtypes.methods.model_files import load_autoencoder
from lungtypes.provenance import open_log, record, write_table

open_log(snakemake.log[0])
config = snakemake.params.config
keep_freed_memory()
set_torch(threads=config["torch_threads"])
cohort = read_cohort_array(snakemake.input.array, snakemake.input.description)
fitted = load_autoencoder(Path(snakemake.input.model).parent)
map_settings = dict(config["map"])
explained = explain_with(*fitted, device=choose_device(config["device"]), precision=map_settings.pop("precision"))
tables = write_maps(
    MapFolders(*map(Path, (snakemake.output.maps, snakemake.output.group_maps, snakemake.output.parts))),
    explained,
    cohort,
    read_clusters(snakemake.input.assignment, cohort.subjects),
    cohort.regions(snakemake.input.mask),
    **map_settings,
)
flag = fitted[1]["flag"]  # that one group of scans was not rejected, or nothing
write_table(snakemake.output.summary, tables.summary.assign(flag=flag))
write_table(snakemake.output.regions, tables.regions.assign(flag=flag))
write_table(snakemake.output.groups, tables.groups.assign(flag=flag))
record(snakemake)
