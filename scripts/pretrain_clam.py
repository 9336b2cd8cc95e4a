"""Rule pretrain_clam: phase 1, the autoencoder alone, and its embedding."""

from pathlib import Path

from lungtypes.device import choose_device, keep_freed_memory, set_torch
from lungtypes.imaging.volume_files import read_cohort_array
from lungtypes.methods.clam_stages import pretrain_stage
from lungtypes.methods.training import checkpoint_of
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0])
config = dict(snakemake.params.config)
checkpoint = checkpoint_of(snakemake.params, snakemake.input, rule=snakemake.rule)
keep_freed_memory()
set_torch(threads=config.pop("torch_threads"))
cohort = read_cohort_array(snakemake.input.array, snakemake.input.description)
pretrain_stage(
    Path(snakemake.output.folder),
    cohort.array,
    cohort.subjects,
    cohort.splits,
    device=choose_device(config.pop("device")),
    checkpoint=checkpoint,
    **config,
)
record(snakemake)
