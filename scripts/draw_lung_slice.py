"""Rule draw_lung_slice: the healthy lung that all scenarios of the simulation study start from."""

from pathlib import Path

from lungtypes.phantom.simulation import write_lung_slice
from lungtypes.provenance import open_log, record

config = snakemake.params.config
given = [str(path) for path in snakemake.input.given]  # image and lungs, or nothing
open_log(snakemake.log[0], hide=given)
write_lung_slice(Path(snakemake.output.lung), given=given, **config)
record(snakemake)
