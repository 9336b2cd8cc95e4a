"""Rule adopt_template_lobes: the user's lobe labels of the template, checked, with our numbers."""

from lungtypes.imaging.template_lobes import adopt_template_lobes
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0], hide=[snakemake.input.lobes])
adopt_template_lobes(snakemake.input.lobes, snakemake.input.mask, snakemake.output.lobes, **snakemake.params.config)
record(snakemake)
