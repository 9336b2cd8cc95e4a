"""Rule embed_dcam_start: features of the untrained network, on which the number of clusters is judged."""

from pathlib import Path

from lungtypes.device import choose_device, keep_freed_memory, set_torch
from lungtypes.imaging.volume_files import read_cohort_array
from lungtypes.methods.dcam_stages import embed_stage
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0])
config, method = dict(snakemake.params.config), snakemake.wildcards.method
keep_freed_memory()
set_torch(threads=config.pop("torch_threads"))
cohort = read_cohort_array(snakemake.input.array, snakemake.input.description)
embed_stage(
    Path(snakemake.output.table),
    cohort.array,
    cohort.subjects,
    cohort.splits,
    method=method,
    device=choose_device(config.pop("device")),
    **config,
)
record(snakemake, name=method)
