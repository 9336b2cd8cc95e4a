"""Rule adopt_template: the user's own template, checked, instead of one built from the cohort."""

from lungtypes.imaging.template_files import adopt_template
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0], hide=[snakemake.input.image, snakemake.input.lungs])
out = snakemake.output
adopt_template(
    snakemake.input.image,
    snakemake.input.lungs,
    hu=out.template,
    mask=out.mask,
    probability=out.probability,
    convergence=out.convergence,
    regions=out.regions,
    region_names=out.region_names,
)
record(snakemake)
