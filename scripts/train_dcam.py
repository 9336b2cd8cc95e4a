"""Rule train_dcam: DeepCluster on dense features, or one of its references; assignments and the frozen model."""

from pathlib import Path

from lungtypes.device import choose_device, keep_freed_memory, set_torch
from lungtypes.evaluation.evaluate_files import read_reference
from lungtypes.imaging.volume_files import read_cohort_array
from lungtypes.methods.dcam_stages import train_stage
from lungtypes.methods.training import checkpoint_of
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0])
config, method = dict(snakemake.params.config), snakemake.wildcards.method
checkpoint = checkpoint_of(snakemake.params, snakemake.input, rule=f"{snakemake.rule}-{method}")
keep_freed_memory()
set_torch(threads=config.pop("torch_threads"))
cohort = read_cohort_array(snakemake.input.array, snakemake.input.description)
train_stage(
    Path(snakemake.output.weights).parent,
    cohort.array,
    cohort.subjects,
    cohort.splits,
    method=method,
    start=Path(snakemake.input.start),
    choice=Path(snakemake.input.choice),
    reference=read_reference(snakemake.input.reference or "", config.pop("reference_column")),
    device=choose_device(config.pop("device")),
    checkpoint=checkpoint,
    **config,
)
record(snakemake, name=method)
