"""Rule segment_dram: every scan's lesion map and mask, percentages of its regions, and its burden."""

from pathlib import Path

from lungtypes.cohort.lesion_table import read_lesion_table
from lungtypes.device import choose_device, keep_freed_memory, set_torch
from lungtypes.imaging.region_files import read_region_arrays
from lungtypes.imaging.zones import LOBES_AND_ZONES
from lungtypes.methods.dram_regions import scans_of
from lungtypes.methods.dram_stages import load_dram, segment_stage
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0], hide=[snakemake.input.table])
config, inputs = snakemake.params.config, snakemake.input
keep_freed_memory()
set_torch(threads=config["torch_threads"])
device = choose_device(config["device"])
cohort = read_region_arrays(inputs.array, inputs.labels, inputs.description)
network, settings = load_dram(Path(inputs.model).parent, device)
names = tuple(LOBES_AND_ZONES.values())
segment_stage(
    Path(snakemake.output.phenotype).parent,
    network,
    settings,
    scans_of(cohort, settings["regions"]),
    cohort.subjects,
    cohort.splits,
    read_lesion_table(inputs.table, subjects=(), regions=names, edges=settings["edges"]),
    mask_from=config["mask"],
    grids=cohort.grids,
    device=device,
)
record(snakemake, name=snakemake.wildcards.method)
