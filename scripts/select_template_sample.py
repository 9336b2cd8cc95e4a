"""Rule select_template_sample: which subjects make the template, and which one it starts from."""

from lungtypes.cohort.collect import lung_volumes
from lungtypes.cohort.sampling import sample_table
from lungtypes.provenance import open_log, record, write_table

open_log(snakemake.log[0])
config = snakemake.params.config
volumes = lung_volumes(dict(zip(config["subjects"], snakemake.input.resampled, strict=True)))
strata = dict(zip(config["subjects"], config["strata"], strict=True))
write_table(snakemake.output.table, sample_table(volumes, strata, size=config["size"], seed=config["seed"]))
record(
    snakemake.params.results,
    snakemake.rule,
    "cohort",
    config=snakemake.params.config,
    code=snakemake.params.code,
    outputs=list(snakemake.output),
)
