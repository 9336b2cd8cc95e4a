"""Rule summarise_simulation: the paper's claims beside our values, and its figures redone."""

from pathlib import Path

from lungtypes.provenance import open_log, record
from lungtypes.report.simulation.page import write_simulation

open_log(snakemake.log[0])
write_simulation(
    Path(snakemake.output.page).parent,
    scenarios=Path(snakemake.params.results) / "simulation/scenarios",
    settings=snakemake.params.config,
)
record(snakemake)
