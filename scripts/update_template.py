"""Rule update_template: average of one iteration, moved towards the mean shape."""

from pathlib import Path

from lungtypes.imaging.template_files import update_iteration
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0])
update_iteration(
    Path(snakemake.output.folder),
    previous=Path(snakemake.input.mean),
    slots=[Path(slot) for slot in snakemake.input.slots],
    iteration=int(snakemake.wildcards.iteration),
    **snakemake.params.config,
)
record(snakemake, name=f"iter{snakemake.wildcards.iteration}")
