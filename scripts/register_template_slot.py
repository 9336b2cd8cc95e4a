"""Rule register_template_slot: one subject of the sample onto one iteration of the template."""

from pathlib import Path

from lungtypes.cohort.sampling import read_sample
from lungtypes.device import set_itk
from lungtypes.imaging.registration_engine import registration_settings
from lungtypes.imaging.template_files import register_slot
from lungtypes.provenance import open_log, record
from lungtypes.randomness import derive_seed

open_log(snakemake.log[0])
config = snakemake.params.config
seed = derive_seed(config["seed"], "template", snakemake.wildcards.slot)
set_itk(threads=config["itk_threads"], seed=seed)
register_slot(
    Path(snakemake.output.folder),
    previous=Path(snakemake.input.mean),
    scans=Path(snakemake.input.scans),
    sample=read_sample(snakemake.input.sample).subjects,
    slot=int(snakemake.wildcards.slot),
    settings=registration_settings(config["register"]),
    checks=config["register"]["checks"],
)
record(snakemake, name=f"iter{snakemake.wildcards.iteration}_slot{snakemake.wildcards.slot}", seed=seed)
