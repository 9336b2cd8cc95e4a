"""Rule finish_template: the last iteration becomes the template of the study."""

from pathlib import Path

from lungtypes.imaging.template_files import convergence_table, copy_last_iteration, write_regions
from lungtypes.provenance import open_log, record, write_table

open_log(snakemake.log[0])
means = [Path(folder) for folder in snakemake.input.means]
out = snakemake.output
copy_last_iteration(means, hu=out.template, lungs=out.mask, probability=out.probability, sd=out.sd)
write_regions(out.mask, labels=out.regions, names=out.region_names)
write_table(out.convergence, convergence_table(means))
record(snakemake)
