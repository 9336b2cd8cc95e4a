"""Rule write_report: one HTML page with findings, maps, tables and how it was made."""

from pathlib import Path

from lungtypes.provenance import open_log, record
from lungtypes.report.page import write_page

open_log(snakemake.log[0])
config = snakemake.params.config
write_page(
    Path(snakemake.output.page),
    results=Path(snakemake.params.results),
    run_config=config["run"],
    has_outcomes=config["has_outcomes"],
    **config["report"],
)
record(snakemake)
