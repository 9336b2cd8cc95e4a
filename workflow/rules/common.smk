# What all rules share: checked config and sheet, paths, code stamps. Nothing heavier than pandas is imported.
import sys
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

ROOT = Path(workflow.current_basedir).parent.parent
SCRIPTS = ROOT / "scripts"
sys.path.insert(0, str(SCRIPTS))

from lungtypes.cohort.config import check_config
from lungtypes.cohort.sampling import sample_size
from lungtypes.cohort.sheet import read_sheet
from lungtypes.errors import InputError
from lungtypes.provenance import stamp, write_run_manifest

SCHEMAS = ROOT / "workflow" / "schemas"
ENVIRONMENT = "../../envs/environment.yaml"


# the defaults of this repository, then the study's own file where `snakemake -d study` runs elsewhere
configfile: str(ROOT / "config" / "config.yaml")


if Path("config/config.yaml").exists():

    configfile: "config/config.yaml"


try:
    check_config(config, yaml.safe_load((SCHEMAS / "config.schema.yaml").read_text()))
    SHEET = read_sheet(config["subjects"])
except InputError as fault:
    raise WorkflowError(f"The input needs mending before anything can run.\n{fault}")
if SHEET.empty:
    raise WorkflowError(
        f"{config['subjects']} holds no scans yet. Add one row a scan: its id in column subject, its DICOM folder "
        "or NIfTI file in column path (see config/README.md). To try lungtypes without data of your own: make demo"
    )

SUBJECTS = SHEET.subject.tolist()
PATHS = dict(zip(SHEET.subject, SHEET.path))
TRAINING = [
    s
    for s in SUBJECTS
    if "split" not in SHEET or SHEET.set_index("subject").split[s] != "test"
]
if len(TRAINING) < 3:
    raise WorkflowError(
        f"{config['subjects']}: found {len(TRAINING)} scans to learn from, expected at least 3 (rows whose split is not test)."
    )
METHODS = ["clam"] if config["clam"]["enabled"] else []
RESULTS = config["results"].rstrip("/")


# Snakemake limits gpu jobs only when somebody sets a limit. On this machine that is one; a cluster (where --jobs,
# the number of nodes, is set) has a queue of its own.
if workflow.resource_settings.nodes is None and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", 1)


wildcard_constraints:
    subject="[A-Za-z0-9][A-Za-z0-9_-]{0,63}",
    method="[a-z-]+",
    iteration=r"\d+",
    slot=r"\d+",


def results(path):
    """A path below the results folder."""
    return f"{RESULTS}/{path}"


def results_folder(wildcards):
    """The results folder as a param, for the records of provenance."""
    return RESULTS


def settings(*sections, **more):
    """One dict of plain values for ``params: config=``: whole sections of the config and single values."""
    chosen = {name: config[name] for name in sections}
    return {**chosen, **more}


def sheet_value(column, subject):
    """The sheet's entry, or empty where the column is absent."""
    if column not in SHEET.columns:
        return ""
    return str(SHEET.loc[SHEET.subject == subject, column].iloc[0])


def count_rows(path):
    """Rows below the header; no such file counts as none."""
    path = Path(path)
    return max(len(path.read_text().splitlines()) - 1, 0) if path.is_file() else 0


def previous_mean(wildcards):
    """The template of the iteration before."""
    return TEMPLATE_MEAN.format(iteration=int(wildcards.iteration) - 1)


def write_manifest(state):
    write_run_manifest(
        RESULTS,
        state=state,
        config=dict(config),
        sheet=config["subjects"],
        command=sys.argv,
    )


def explain_failure():
    print(
        f"lungtypes: a job failed. The job's name, its subject and its log are named above; logs lie in "
        f"{RESULTS}/logs/. Mend the cause and run the same command again: finished work is kept.",
        file=sys.stderr,
    )


onsuccess:
    write_manifest("complete")


onerror:
    write_manifest("failed")
    explain_failure()
