"""Rule write_subject_pages: a page for every scan of the sheet, beside the report."""

from pathlib import Path

from lungtypes.device import set_itk
from lungtypes.provenance import open_log, record
from lungtypes.report.subject_pages import write_subject_pages

open_log(snakemake.log[0])
set_itk(threads=1, seed=1)  # of each process
write_subject_pages(Path(snakemake.output.pages), Path(snakemake.params.results), workers=snakemake.threads)
record(snakemake)
