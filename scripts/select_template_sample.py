"""Rule select_template_sample: which subjects make the template, and which one it starts from."""

import shutil

import pandas as pd

from lungtypes.cohort.collect import lung_volumes
from lungtypes.cohort.gate import check_failures
from lungtypes.cohort.sampling import sample_table
from lungtypes.provenance import open_log, record, sha256_of, whole_folder, write_table

open_log(snakemake.log[0])
config = snakemake.params.config
folders = dict(zip(config["subjects"], snakemake.input.resampled, strict=True))
screening = snakemake.input.screening
statuses = pd.read_csv(screening, sep="\t", dtype=str, keep_default_na=False)
check_failures(statuses, max_failed_fraction=config["max_failed_fraction"], place=screening)
volumes = lung_volumes(folders, dict(zip(config["subjects"], snakemake.input.lungs, strict=True)))
checksums = {s: sha256_of(f"{folders[s]}/ct.nii.gz") for s in volumes.subject}
strata = dict(zip(config["subjects"], config["strata"], strict=True))
table = sample_table(volumes, strata, checksums, sampling=config["sampling"], size=config["size"], seed=config["seed"])
write_table(snakemake.output.table, table)
with whole_folder(snakemake.output.scans) as scans:  # the resampled ones may be deleted before the template is done
    for subject in table.subject:
        (scans / subject).mkdir()
        for name in ("ct.nii.gz", "lungs.nii.gz"):
            shutil.copy2(f"{folders[subject]}/{name}", scans / subject / name)
record(snakemake)
