"""Rule simulate_scenario: one scenario of the simulation study with one seed, from slices to maps."""

from pathlib import Path

from lungtypes.device import choose_device, keep_freed_memory, set_torch
from lungtypes.methods.training import checkpoint_of
from lungtypes.phantom.simulation import read_lung_slice, run_scenario
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0])
config = snakemake.params.config
name = f"{snakemake.wildcards.scenario}-{snakemake.wildcards.seed}"
keep_freed_memory()
set_torch(threads=config["torch_threads"])
run_scenario(
    Path(snakemake.output.folder),
    lung=read_lung_slice(Path(snakemake.input.lung)),
    scenario=snakemake.wildcards.scenario,
    seed=int(snakemake.wildcards.seed),
    study=config["study"],
    method=config["method"],
    device=choose_device(config["device"]),
    checkpoint=checkpoint_of(snakemake.params, snakemake.input, rule=f"{snakemake.rule}-{name}"),
)
record(snakemake, name=name, seed=int(snakemake.wildcards.seed))
