"""Rule select_template_sample: which subjects make the template, and which one it starts from."""

from lungtypes.cohort.collect import failed_scans, lung_volumes
from lungtypes.cohort.sampling import sample_table
from lungtypes.errors import InputError
from lungtypes.provenance import open_log, record, sha256_of, write_table

open_log(snakemake.log[0])
config = snakemake.params.config
folders = dict(zip(config["subjects"], snakemake.input.resampled, strict=True))
volumes = lung_volumes(folders)
if len(volumes) < 3:
    raise InputError(
        f"template: found {len(volumes)} usable scans, expected at least 3. Failed: {failed_scans(folders)}"
    )
checksums = {s: sha256_of(f"{folders[s]}/ct.nii.gz") for s in volumes.subject}
strata = dict(zip(config["subjects"], config["strata"], strict=True))
table = sample_table(volumes, strata, checksums, size=config["size"], seed=config["seed"])
write_table(snakemake.output.table, table)
record(
    snakemake.params.results,
    snakemake.rule,
    "cohort",
    config=snakemake.params.config,
    code=snakemake.params.code,
    outputs=list(snakemake.output),
)
