"""Rule refit_dcam: the training again from another seed, to see which assignments stay."""

from pathlib import Path

from lungtypes.device import choose_device, keep_freed_memory, set_torch
from lungtypes.evaluation.evaluate_files import read_reference
from lungtypes.imaging.volume_files import read_cohort_array
from lungtypes.methods.dcam_stages import refit_stage
from lungtypes.methods.training import checkpoint_of
from lungtypes.provenance import open_log, record
from lungtypes.randomness import derive_seed

open_log(snakemake.log[0])
config, method, number = dict(snakemake.params.config), snakemake.wildcards.method, snakemake.wildcards.refit
checkpoint = checkpoint_of(snakemake.params, snakemake.input, rule=f"{snakemake.rule}-{method}-{number}")
keep_freed_memory()
set_torch(threads=config.pop("torch_threads"))
seed = derive_seed(config.pop("seed"), "refit", int(number))
cohort = read_cohort_array(snakemake.input.array, snakemake.input.description)
refit_stage(
    Path(snakemake.output.table),
    cohort.array,
    cohort.subjects,
    cohort.splits,
    method=method,
    start=Path(snakemake.input.start),
    choice=Path(snakemake.input.choice),
    reference=read_reference(snakemake.input.reference or "", config.pop("reference_column")),
    device=choose_device(config.pop("device")),
    seed=seed,
    checkpoint=checkpoint,
    **config,
)
record(snakemake, name=f"{method}-{number}", seed=seed)
