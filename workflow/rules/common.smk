# What all rules share: checked config and sheets, paths, code stamps. Nothing heavier than pandas is imported.
import os
import sys
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

ROOT = Path(workflow.current_basedir).parent.parent
SCRIPTS = ROOT / "scripts"
sys.path.insert(0, str(SCRIPTS))
# For all jobs: a thread that waits sleeps sooner than OpenMP would let it. benchmarks/waiting_threads.py
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from lungtypes.cohort.check import check_inputs, load_inputs
from lungtypes.cohort.config import typed
from lungtypes.cohort.frozen import (
    check_frozen,
    check_weights,
    config_of_assignment,
    frozen_folder,
    frozen_settings,
    read_manifest,
    version_note,
)
from lungtypes.cohort.lesion_table import rows_checksum
from lungtypes.cohort.overrule import with_open_limits
from lungtypes.cohort.plan_notes import plan_notes
from lungtypes.cohort.sampling import sample_size
from lungtypes.device import limit_itk
from lungtypes.errors import InputError
from lungtypes.failures import FailedJob, describe_failures
from lungtypes.manifest import write_run_manifest
from lungtypes.provenance import stamp
from lungtypes.scheduler import fate_of_jobs_stays_unknown

DEFAULTS = ROOT / "config" / "config.yaml"
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
ENVIRONMENT = "../../envs/environment.yaml"


if Path("config/config.yaml").exists():

    configfile: "config/config.yaml"


# Whoever calls, `snakemake -d study` or a workflow that imports this one as a module, names only what differs.
merged = yaml.safe_load(DEFAULTS.read_text())
update_config(merged, config)
schema = yaml.safe_load(SCHEMA.read_text())
config.update(typed(merged, schema))


# A run that assigns scans to a frozen model takes settings and template from there. Its files are checked once, here,
# and each again when it is loaded.
FROZEN = frozen_folder(config)
MODELS = {}
if FROZEN:
    try:
        main = workflow.is_main_process
        MANIFEST = check_frozen(FROZEN) if main else read_manifest(FROZEN)
        config.update(config_of_assignment(config, FROZEN, MANIFEST))
        if main:
            check_weights(MANIFEST, config["lungs"]["lungmask_weights"])
    except InputError as fault:
        raise WorkflowError(f"The frozen model cannot be used.\n{fault}")
    MODELS = MANIFEST["methods"]


if workflow.is_main_process:
    try:
        INPUTS = check_inputs(
            config,
            schema,
            config_files=workflow.configfiles,
        )
    except InputError as fault:
        raise WorkflowError(
            f"The input needs mending before anything can run.\n{fault}"
        )
    print(f"lungtypes: {INPUTS.summary}", file=sys.stderr)
    for note in [
        *plan_notes(config, INPUTS),
        *filter(None, [version_note(MANIFEST) if FROZEN else ""]),
    ]:
        print(f"lungtypes: {note}", file=sys.stderr)
else:  # a job of a run that was checked when it started
    INPUTS = load_inputs(config)

SCANS = INPUTS.sheet.set_index("subject").to_dict("index")
SUBJECTS = list(SCANS)
SCANNED = [s for s in SUBJECTS if not SCANS[s].get("registered")]
CONTROLS = [s for s in SUBJECTS if SCANS[s].get("control") == "1"]
TRAINING = [s for s in SUBJECTS if INPUTS.splits[s] == "train"]
HAS_OUTCOMES = INPUTS.n_clinical > 0
METHODS = (["clam"] if config["clam"]["enabled"] else []) + config["dcam"]["methods"]
RESULTS = config["results"].rstrip("/")
STOPPED_PAGE = f"{RESULTS}/report/stopped.html"
INTERMEDIATES = []  # what `intermediate` named, below the results folder
NO_WORK = ("check", "verify")  # rules that make no product
THREADS = ("itk_threads", "torch_threads")
SHEETS = ("subjects", "clinical", "decisions", "apply")
AUDITED_COLUMNS = ("site", "sex")  # of the sheet, else of the clinical table


limit_itk()  # of all jobs, which inherit it; those that take more say so


# Snakemake limits gpu jobs only when somebody sets a limit. On this machine that is one; a cluster (where --jobs,
# the number of nodes, is set) has a queue of its own.
if workflow.resource_settings.nodes is None and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", 1)


wildcard_constraints:
    subject="[A-Za-z0-9][A-Za-z0-9_-]{0,63}",
    method="[a-z-]+",
    iteration=r"\d+",
    slot=r"\d+",
    refit=r"\d+",
    scenario="[a-z]+(-[a-z0-9]+)?",
    seed=r"\d+",


def results(path):
    """A path below the results folder."""
    return f"{RESULTS}/{path}"


def results_folder(wildcards):
    """The results folder as a param, for the records of provenance."""
    return RESULTS


def shown(files, category, **captions):
    """Outputs by name, those with a caption (a file of workflow/report) marked for Snakemake's own report."""
    marked = dict(files)
    for name, caption in captions.items():
        marked[name] = report(
            files[name], caption=f"../report/{caption}.rst", category=category
        )
    return marked


def intermediate(path):
    """A folder that `keep: results` deletes as soon as nothing needs it any more."""
    INTERMEDIATES.append(path)
    folder = directory(results(path))
    return temp(folder) if config["keep"] == "results" else folder


def settings(*sections, **more):
    """One dict of plain values for ``params: config=``: whole sections of the config and single values. Where speed goes
    before determinism, the number of threads is no setting: it is that of the job."""
    chosen = {name: config[name] for name in sections}
    if config["deterministic"] == "fast":
        chosen |= {name: "all" for name in sections if name in THREADS}
    return {**chosen, **more}


def job_threads(name):
    """Threads to ask for: the config's number, or every core of this machine (--set-threads gives others)."""
    fast = config["deterministic"] == "fast"
    return max(config[name], workflow.cores or 1) if fast else config[name]


def scan_settings(stage, *keys):
    """The ``params: config=`` of a per-scan stage: its section, strict, more keys, and a human's decision."""

    def of_scan(wildcards):
        decision = INPUTS.decisions.get((wildcards.subject, stage))
        chosen = settings(stage, "strict", *keys, decision=None)
        if decision:
            chosen["decision"] = {
                name: getattr(decision, name) for name in ("decision", "by", "reason")
            }
            if decision.decision == "accept":
                chosen[stage] = with_open_limits(chosen[stage], stage)
        if stage == "register":
            chosen[stage] = {
                **chosen[stage],
                "checks": gates(chosen[stage]["checks"]),
            }
        if stage == "ingest":
            chosen["series"] = sheet_value("series", wildcards.subject)
        return chosen

    return of_scan


def by_attempt(amount):
    """Memory or minutes that grow with every attempt: a cluster kills what asked for too little, and a retry that
    asks for the same would be killed again."""
    return lambda wildcards, attempt: amount * attempt


def registration_mb(wildcards, attempt):
    """Megabytes of a registration: 5.8 GB at 1 mm and 2.0 GB at 1.5 mm were measured, and lungs may be larger."""
    return int(1500 + 7000 / config["resample"]["spacing_mm"] ** 3) * attempt


def registration_minutes(wildcards, attempt):
    """Minutes of a registration: 7.1 at 1 mm and 1.6 at 1.5 mm were measured with two threads, and one is the default."""
    return int(10 + 50 / config["resample"]["spacing_mm"] ** 3) * attempt


def segmentation_minutes(wildcards, attempt):
    """Minutes of a segmentation: 10 s of the classical engine were measured; lungmask's network may run on one core."""
    return (30 if config["lungs"]["engine"] == "lungmask" else 5) * attempt


def gates(checks):
    """The limits that exclude. Those that warn are judged with the review, so that a change of them registers nothing."""
    return {name: {**limits, "warn": None} for name, limits in checks.items()}


def sheet_value(column, subject):
    """The sheet's entry, or empty where the column is absent."""
    return SCANS[subject].get(column, "")


def sheet_file(column):
    """Input function: the file that the sheet names for the subject, if any."""
    return lambda wildcards: sheet_value(column, wildcards.subject) or []


def lobes_of_template(wildcards):
    """The lobes warped from a labelled template, for a scan that came without a lobe mask."""
    if config["template"]["lobes"] and not sheet_value("lobes", wildcards.subject):
        return WARPED_LOBES.format(subject=wildcards.subject)
    return []


def warped_lobes(wildcards):
    """The lobes of all scans that came without a lobe mask, where the template's are labelled."""
    if not config["template"]["lobes"]:
        return []
    bare = [s for s in SCANNED if not sheet_value("lobes", s)]
    return expand(WARPED_LOBES, subject=bare)


def lesion_table(wildcards):
    """The table that dRAM learns from; says so when a method is asked for by its file and there is none."""
    if not config["dram"]["table"]:
        raise WorkflowError(
            "dRAM has nothing to learn from: dram.table is empty. Name a table of lesion percentages or grades by lobe "
            "or zone; config/README.md says what it holds."
        )
    return config["dram"]["table"]


def lesions_of_supervised(wildcards):
    """The lesion masks, for dram-supervised alone: the other methods learn without them."""
    return REGION_LESIONS if wildcards.method == "dram-supervised" else {}


def training_settings(wildcards):
    """What dRAM is trained with, and a checksum of the training scans' rows: those of others train nothing anew."""
    names = ("learn_from", "edges", "regions", "network", "training")
    return {
        **{name: config["dram"][name] for name in names},
        **settings("seed", "device", "torch_threads"),
        "rows": rows_checksum(lesion_table(wildcards), TRAINING),
    }


def dram_outputs(wildcards):
    """The files of all methods of lesion maps; says so when there are none."""
    if not DRAM_OUTPUTS:
        raise WorkflowError(
            "There is nothing to make: dram.methods is empty. Name dram (or one of its references, dram-cam and "
            "dram-supervised) there, and its lesion table in dram.table."
        )
    return DRAM_OUTPUTS


def scan_to_register(wildcards):
    """The resampled scan, unless the user brought a registered volume."""
    given = sheet_value("registered", wildcards.subject)
    return [] if given else RESAMPLED.format(subject=wildcards.subject)


def lungs_of_registered(wildcards):
    """The lung mask beside a registered volume; that of a scan to be registered lies in the scan's space."""
    given = sheet_value("registered", wildcards.subject)
    return sheet_value("lungs", wildcards.subject) or [] if given else []


def applied_folders(wildcards):
    """The folders of all subjects that have rows; says how to write the table when there are none."""
    if not INPUTS.applications:
        table = config["apply"] or "config/apply.tsv"
        raise WorkflowError(
            f"There is nothing to apply: {table} does not exist, has no rows, or is not named in the config (apply). "
            "Write it with the columns name, subject, file, kind and to; docs/transforms.md shows how."
        )
    return expand(APPLIED, subject=INPUTS.applications)


def files_to_apply(wildcards):
    """The subject's files, in the order of its rows."""
    return [row.file for row in INPUTS.applications.get(wildcards.subject, ())]


def own_files_to_apply(wildcards):
    """Those that the user made. What lies in a stage's folder is no output that Snakemake knows by itself (a failed
    scan has none), and stands there once the stages that the rule names are done."""
    inside = Path(RESULTS).resolve()
    return [
        file
        for file in files_to_apply(wildcards)
        if not Path(file).resolve().is_relative_to(inside)
    ]


def rows_to_apply(wildcards):
    """The ``params: config=`` of one subject. Its paths stay out, since this ends up below the results."""
    rows = [
        {"name": row.name, "kind": row.kind, "to": row.to}
        for row in INPUTS.applications.get(wildcards.subject, ())
    ]
    return settings("strict", "itk_threads", rows=rows)


def everything(wildcards):
    """What a run is for: a study's report, its cohort without a method, the simulation without a cohort, or new
    scans in the clusters of a frozen model."""
    if not SUBJECTS:
        return SIMULATION.values()
    if FROZEN:
        return assignments(wildcards)
    some = METHODS or config["dram"]["methods"]
    cohort = (
        [REPORT, SUBJECT_PAGES, *DRAM_OUTPUTS] if some else [*COHORT_ARRAY, ATTRITION]
    )
    return [*cohort, *ASSOCIATION_EXTERNAL.values()]


def of_a_study(files):
    """Input function: files that a study learns from. A run with a frozen model learns nothing."""

    def unless_frozen(wildcards):
        if FROZEN:
            raise WorkflowError(
                "This run assigns scans to a frozen model (assign.frozen), so nothing is clustered, trained or "
                "reported anew. Ask for `snakemake assign`; for a study of these scans take assign.frozen out."
            )
        return files

    return unless_frozen


def models_to_freeze(wildcards):
    """The fitted models; says so when there are none."""
    if not METHODS:
        raise WorkflowError(
            "There is nothing to freeze: clam.enabled is false and dcam.methods is empty. Name a method."
        )
    weights = {"clam": CLAM_MODEL["weights"]}
    return [weights.get(m) or DCAM_MODEL["weights"].format(method=m) for m in METHODS]


def arrays_to_freeze(wildcards):
    """Arrays that the methods were fitted on, by name; that of dCAM only where it is among them."""
    of_study = of_a_study(COHORT_ARRAY + DCAM_ARRAY)(wildcards)
    array, description, dcam_array, dcam_description = of_study
    named = {"clam_array": array, "clam_description": description}
    if config["dcam"]["methods"]:
        named |= {"dcam_array": dcam_array, "dcam_description": dcam_description}
    return named


def frozen_model(wildcards):
    """The files of one method in the frozen folder, by name; says what to do when there is none."""
    if not FROZEN:
        raise WorkflowError(
            "There is no frozen model to assign scans with: assign.frozen is empty. Freeze a study first (`snakemake "
            "freeze`), then name its folder in a config like config/assign.yaml; docs/assign.md shows how."
        )
    if wildcards.method not in MODELS:
        raise WorkflowError(
            f"{FROZEN}: found no model of {wildcards.method}, expected {' or '.join(MODELS)}. Ask for one of these."
        )
    own = [
        name for name in MANIFEST["files"] if name.startswith(f"{wildcards.method}/")
    ]
    return {
        "manifest": f"{FROZEN}/manifest.json",
        "imaging": f"{FROZEN}/imaging.json",
        "model": [f"{FROZEN}/{name}" for name in own],
    }


def assignments(wildcards):
    """The tables of all methods in the frozen folder; says what to do when there is none."""
    if not FROZEN:
        return results("assigned/clam.tsv")  # whose rule says it
    looked_at = expand(QUALITY, subject=SCANNED)
    return [*expand(ASSIGNED, method=MODELS), ATTRITION, REVIEW, SERIES, *looked_at]


def scans_in_own_space(wildcards):
    """Subjects whose resampled scan a frozen model needs: all that were scanned, or none when it sees the template's
    space."""
    native = MODELS.get(wildcards.method, {}).get("space") == "native"
    return SCANNED if native else []


def resampled_to_assign(wildcards):
    """Their resampled scans."""
    return expand(RESAMPLED, subject=scans_in_own_space(wildcards))


def assign_settings(wildcards):
    """The ``params: config=`` of one method's assignment."""
    return settings(
        "volumes",
        "device",
        "torch_threads",
        subjects=SUBJECTS,
        scanned=SCANNED,
        resampled=scans_in_own_space(wildcards),
        space=MODELS.get(wildcards.method, {}).get("space", ""),
    )


def reference_of_supervised(wildcards):
    """The reference labels, for dcam-supervised alone: no method that clusters may see them."""
    table = config["evaluate"]["reference_table"]
    return table if wildcards.method == "dcam-supervised" else []


def dcam_settings(**chosen):
    """Settings with the reference's column, which is empty for the methods that never see it: they do not rerun."""

    def of_method(wildcards):
        supervised = wildcards.method == "dcam-supervised"
        column = config["evaluate"]["reference_column"] if supervised else ""
        return {**chosen, "reference_column": column}

    return of_method


def scans_of_method(wildcards):
    """What a clustering method was trained on, and what CLAM's published maps are made of."""
    clam = wildcards.method == "clam"
    array, description = COHORT_ARRAY if clam else DCAM_ARRAY
    parts = CLAM_MAP_FOLDERS["parts"] if clam else []
    return {"array": array, "description": description, "parts": parts}


def given_slice(wildcards):
    """The user's template for the simulation study; a synthetic lung needs no file."""
    study = config["simulation"]
    return [study["image"], study["lungs"]] if study["image"] else []


def previous_mean(wildcards):
    """The template of the iteration before."""
    return TEMPLATE_MEAN.format(iteration=int(wildcards.iteration) - 1)


def association_files(cohort):
    """The files of one cohort, by name: every table as TSV, HTML and LaTeX, the figures' data, the methods."""
    folder = results(f"association/{cohort}")
    files = {
        f"{name}{suffix}": f"{folder}/{name}{ending}"
        for name in ASSOCIATION_TABLES
        for suffix, ending in (("", ".tsv"), ("_html", ".html"), ("_tex", ".tex"))
    }
    for name in ("points", "comparator_counts", "comparator_levels"):
        files[name] = f"{folder}/{name}.tsv"
    return {**files, "methods": f"{folder}/methods.md"}


def association_settings():
    """The section without the files of the external cohort: they change nothing in the other one."""
    section = {
        k: v
        for k, v in config["associate"].items()
        if k not in ("external", "phenotypes")
    }
    return {"associate": section, "seed": config["seed"]}


def phenotype_table(wildcards):
    """Where a phenotype stands: a dRAM method's own table, or the densitometry."""
    own = wildcards.phenotype in DRAM_METHODS
    return (
        DRAM_TABLES["phenotype"].format(method=wildcards.phenotype)
        if own
        else DENSITOMETRY
    )


def phenotype_column(wildcards):
    """Its column: the share of the lungs that a dRAM method calls lesion, or the one that it is named after."""
    return (
        "burden_percent" if wildcards.phenotype in DRAM_METHODS else wildcards.phenotype
    )


def evaluation_settings(*names):
    """Some values of that section with the seed, so that a change of the others reruns nothing."""
    return {
        **{name: config["evaluate"][name] for name in names},
        "seed": config["seed"],
    }


def clinical_of_audit(wildcards):
    """The clinical table where the sheet does not say site or sex of any subject."""
    said = [any(SCANS[s].get(name) for s in SUBJECTS) for name in AUDITED_COLUMNS]
    return [] if all(said) or not HAS_OUTCOMES else config["clinical"]


def codes_of_rules(*wildcards):
    """Stamp of every rule's code, by its name."""
    codes = {rule.name: rule.params.get("code") for rule in workflow.rules}
    return {name: code for name, code in codes.items() if code}


def any_work(jobs):
    """Whether some of the jobs make a product."""
    return any(job.rule.name not in NO_WORK for job in jobs)


def write_manifest(state):
    write_run_manifest(
        RESULTS,
        state=state,
        config={name: value for name, value in config.items() if name != "verify"},
        sheets={name: config[name] for name in SHEETS},
        code=codes_of_rules(),
        command=sys.argv,
        workflow=ROOT,
    )


def explain_failure():
    jobs = [
        part
        for job in workflow.scheduler.failed
        for part in getattr(job, "jobs", [job])
    ]
    failed = [
        FailedJob(
            job.rule.name,
            job.wildcards_dict.get("subject", ""),
            str(next(iter(job.log), "")),
        )
        for job in jobs
    ]
    reasons = describe_failures(failed)
    print(reasons, file=sys.stderr)
    return reasons


def write_stopped(reasons):
    """The page of a run that stopped; imports plotting, and so only where it is needed."""
    from lungtypes.report.stopped import write_stopped_page

    print(f"What became of the scans until then: {STOPPED_PAGE}", file=sys.stderr)
    write_stopped_page(
        Path(STOPPED_PAGE),
        results=Path(RESULTS),
        run_config=dict(config),
        reasons=reasons,
    )


onstart:
    # the first faulty scan stops the run, whatever the profile says
    if config["strict"]:
        workflow.scheduler.keepgoing = False
    asks_with = getattr(workflow.executor_settings, "status_command", None)
    if fault := fate_of_jobs_stays_unknown(asks_with):
        raise WorkflowError(fault)


onsuccess:
    if any_work(workflow.dag.finished_jobs):
        write_manifest("complete")
        Path(STOPPED_PAGE).unlink(missing_ok=True)


onerror:
    if any_work(workflow.dag.jobs):
        write_manifest("failed")
    reasons = explain_failure()
    if any_work(workflow.dag.jobs):
        write_stopped(reasons)
