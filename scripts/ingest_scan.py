"""Rule ingest_scan: one scan of the sheet becomes CT in HU."""

from pathlib import Path

import pandas as pd

from lungtypes.cohort.status import run_scan_stage
from lungtypes.imaging.geometry import write_volume
from lungtypes.imaging.ingest import ingest_scan, series_table
from lungtypes.provenance import open_log, record, write_json, write_table

open_log(snakemake.log[0], hide=[snakemake.input.scan])
subject, config = snakemake.wildcards.subject, snakemake.params.config


def write_series(table: pd.DataFrame) -> None:
    write_table(snakemake.output.series, table)


def work(folder: Path) -> None:
    scan = ingest_scan(
        Path(snakemake.input.scan),
        wanted_series=config["series"] or None,
        on_series=write_series,
        **config["ingest"],
    )
    write_volume(scan.volume, folder / "ct.nii.gz")
    write_series(scan.series)
    protocol = {"scanner": scan.scanner, "kernel": scan.kernel, "thickness_mm": scan.thickness_mm}
    write_json(folder / "protocol.json", protocol)


write_series(series_table([], None))  # a scan without any series has its table too
run_scan_stage(
    snakemake.output.folder,
    subject=subject,
    stage="ingest",
    upstream=[],
    strict=config["strict"],
    decision=config["decision"],
    work=work,
)
record(snakemake, name=subject)
