"""Generates the virtual sarcoidosis cohort, unless the same one is there already."""

import argparse
import sys
from pathlib import Path

import yaml

from lungtypes.phantom.generated import require_replaceable
from lungtypes.phantom.sarcoidosis import SarcoidosisPlan
from lungtypes.phantom.sarcoidosis_files import made_already, write_virtual_sarcoidosis
from lungtypes.provenance import stamp

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--config", type=Path, required=True, help="config with the sections subjects, virtual_sarcoidosis")
parser.add_argument("--workers", type=int, default=2)


def main() -> None:
    """Write the cohort as the folder of the sheet that the config names."""
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text())
    plan = SarcoidosisPlan(seed=config.get("seed", 1), **config["virtual_sarcoidosis"])
    folder = Path(config["subjects"]).parent
    made_by = {"code": stamp("lungtypes.phantom.sarcoidosis_files")}
    if made_already(folder, plan, made_by):
        return
    require_replaceable(folder)
    sys.stdout.write(f"Generating the virtual cohort in {folder}/ ...\n")
    truth = write_virtual_sarcoidosis(folder, plan, workers=arguments.workers, made_by=made_by)
    sys.stdout.write(f"{len(truth)} scans written.\n")


if __name__ == "__main__":  # the workers import this file
    main()
