"""Rule cluster_clam: phase 2, the clustering layer; assignments and the frozen model."""

from pathlib import Path

from lungtypes.device import choose_device, keep_freed_memory, set_torch
from lungtypes.imaging.volume_files import read_cohort_array
from lungtypes.methods.clam_stages import cluster_stage
from lungtypes.methods.training import checkpoint_of
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0])
config = dict(snakemake.params.config)
checkpoint = checkpoint_of(snakemake.params, snakemake.input, rule=snakemake.rule)
keep_freed_memory()
set_torch(threads=config.pop("torch_threads"))
cohort = read_cohort_array(snakemake.input.array, snakemake.input.description)
cluster_stage(
    Path(snakemake.output.weights).parent,
    cohort.array,
    cohort.subjects,
    cohort.splits,
    pretrained=Path(snakemake.input.pretrained),
    choice=Path(snakemake.input.choice),
    device=choose_device(config.pop("device")),
    checkpoint=checkpoint,
    **config,
)
record(snakemake)
