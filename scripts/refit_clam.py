"""Rule refit_clam: both phases again from another seed, to see which assignments stay."""

from pathlib import Path

from lungtypes.device import choose_device, keep_freed_memory, set_torch
from lungtypes.imaging.volume_files import read_cohort_array
from lungtypes.methods.clam_stages import refit_stage
from lungtypes.methods.training import checkpoint_of
from lungtypes.provenance import open_log, record
from lungtypes.randomness import derive_seed

open_log(snakemake.log[0])
config, number = dict(snakemake.params.config), snakemake.wildcards.refit
checkpoint = checkpoint_of(snakemake.params, snakemake.input, rule=f"{snakemake.rule}-{number}")
keep_freed_memory()
set_torch(threads=config.pop("torch_threads"))
seed = derive_seed(config.pop("seed"), "refit", int(number))
cohort = read_cohort_array(snakemake.input.array, snakemake.input.description)
refit_stage(
    Path(snakemake.output.table),
    cohort.array,
    cohort.subjects,
    cohort.splits,
    choice=Path(snakemake.input.choice),
    device=choose_device(config.pop("device")),
    seed=seed,
    checkpoint=checkpoint,
    **config,
)
record(snakemake, name=number, seed=seed)
