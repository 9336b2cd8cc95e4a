"""Rule train_dram: lesion maps learnt from what is known of each lobe or zone, or one of their references."""

from pathlib import Path

from lungtypes.cohort.lesion_table import read_lesion_table
from lungtypes.device import choose_device, keep_freed_memory, set_torch
from lungtypes.imaging.region_files import read_region_arrays
from lungtypes.imaging.zones import LOBES_AND_ZONES
from lungtypes.methods.dram_regions import scans_of
from lungtypes.methods.dram_training import train_stage
from lungtypes.methods.training import checkpoint_of
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0], hide=[snakemake.input.table])
config, method, inputs = dict(snakemake.params.config), snakemake.wildcards.method, snakemake.input
read_whole = [path for path in inputs if path != inputs.table]  # of the table config["rows"] says what counts
checkpoint = checkpoint_of(snakemake.params, read_whole, rule=f"{snakemake.rule}-{method}")
config.pop("rows")
keep_freed_memory()
set_torch(threads=config.pop("torch_threads"))
cohort = read_region_arrays(
    inputs.array, inputs.labels, inputs.description, inputs.get("lesions"), inputs.get("masked")
)
train_stage(
    Path(snakemake.output.weights).parent,
    scans_of(cohort, config["regions"]),
    cohort.subjects,
    cohort.splits,
    read_lesion_table(inputs.table, subjects=(), regions=tuple(LOBES_AND_ZONES.values()), edges=config["edges"]),
    method=method,
    names=LOBES_AND_ZONES,
    device=choose_device(config.pop("device")),
    checkpoint=checkpoint,
    **config,
)
record(snakemake, name=method)
