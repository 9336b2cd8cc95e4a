"""Rule write_paper: every table and figure of the study in one folder, without images of scans."""

from pathlib import Path

from lungtypes.provenance import open_log, record
from lungtypes.report.paper import write_paper

open_log(snakemake.log[0])
config = snakemake.params.config
write_paper(
    Path(snakemake.output.folder),
    results=Path(snakemake.params.results),
    run_config=config["run"],
    has_outcomes=config["has_outcomes"],
    dpi=config["dpi"],
)
record(snakemake)
