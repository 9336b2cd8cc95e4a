"""Rule start_template: the first template is the subject nearest to the medians, or an image that the user brought."""

from pathlib import Path

from lungtypes.cohort.sampling import read_sample
from lungtypes.imaging.template_files import start_iteration
from lungtypes.provenance import open_log, record, whole_folder

brought = snakemake.input.get("image")
open_log(snakemake.log[0], hide=[path for path in (brought, snakemake.input.get("lungs")) if path])
scan = Path(snakemake.input.scans) / read_sample(snakemake.input.sample).start
with whole_folder(snakemake.output.folder) as folder:
    start_iteration(
        folder,
        ct=brought or scan / "ct.nii.gz",
        lungs=snakemake.input.lungs if brought else scan / "lungs.nii.gz",
        brought=bool(brought),
        **snakemake.params.config,
    )
record(snakemake)
