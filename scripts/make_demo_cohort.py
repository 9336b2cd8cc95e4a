"""Generates the virtual cohort of `make demo`, unless the same one is there already."""

import argparse
import json
import sys
from pathlib import Path

import yaml

from lungtypes.phantom.cohort import CohortPlan, write_cohort
from lungtypes.phantom.generated import require_replaceable
from lungtypes.provenance import stamp

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--config", type=Path, required=True, help="config with the sections subjects and phantom")
parser.add_argument("--workers", type=int, default=2)


def main() -> None:
    """Write the cohort beside the sheet that the config names."""
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text())
    plan = CohortPlan(seed=config.get("seed", 1), **config["phantom"])
    folder = Path(config["subjects"]).parent
    made = folder / "plan.json"
    code = stamp("lungtypes.phantom.cohort")
    if made.exists() and json.loads(made.read_text()) == {**plan.__dict__, "code": code}:
        return
    require_replaceable(folder)
    sys.stdout.write(f"Generating the virtual cohort in {folder}/ ...\n")
    truth = write_cohort(folder, plan, workers=arguments.workers)
    made.write_text(json.dumps({**plan.__dict__, "code": code}, indent=1, sort_keys=True) + "\n")
    sys.stdout.write(f"{len(truth)} studies written.\n")


if __name__ == "__main__":  # the workers import this file
    main()
