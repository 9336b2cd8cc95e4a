# lungtypes: from chest CT scans to explained, clinically tested subtypes.
# The way of the data is the order of the includes; each stage's name is also a target.
from snakemake.utils import min_version

min_version("9.27")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/ingest.smk"
include: "workflow/rules/lungs.smk"
include: "workflow/rules/quality.smk"
include: "workflow/rules/resample.smk"
include: "workflow/rules/template.smk"
include: "workflow/rules/register.smk"
include: "workflow/rules/lobes.smk"
include: "workflow/rules/apply.smk"
include: "workflow/rules/volumes.smk"
include: "workflow/rules/clam.smk"
include: "workflow/rules/dcam.smk"
include: "workflow/rules/dram.smk"
include: "workflow/rules/maps.smk"
include: "workflow/rules/freeze.smk"
include: "workflow/rules/assign.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/associate.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/simulate.smk"
include: "workflow/rules/verify.smk"


rule all:
    default_target: True
    input:
        everything,


rule check:
    input:
        [],  # the checks ran when this file was read; `snakemake check --cores 1` plans nothing else


rule ingest:
    input:
        SERIES,


rule lungs:
    input:
        expand(LUNGS, subject=SCANNED),
        expand(QUALITY, subject=SCANNED),
        DENSITOMETRY,


rule resample:
    input:
        expand(RESAMPLED, subject=SCANNED),


rule template:
    input:
        TEMPLATE.values(),


rule register:
    input:
        expand(REGISTERED, subject=SUBJECTS),
        ATTRITION,


rule apply:
    input:
        applied_folders,


rule volumes:
    input:
        COHORT_ARRAY,
        ATTRITION,


rule clam:
    input:
        CLAM.values(),


rule dcam:
    input:
        [expand(path, method=config["dcam"]["methods"]) for path in DCAM.values()],


rule maps:
    input:
        [expand(path, method=METHODS) for path in MAP_TABLES.values()],


rule dram:
    input:
        dram_outputs,


rule evaluate:
    input:
        expand(EVALUATION, method=METHODS),
        expand(DRAM_EVALUATION.values(), method=config["dram"]["methods"]),


rule associate:
    input:
        (
            [expand(path, method=METHODS) for path in ASSOCIATION.values()]
            if HAS_OUTCOMES
            else []
        ),
        ASSOCIATION_EXTERNAL.values(),
        ASSOCIATION_PHENOTYPES if HAS_OUTCOMES else [],


rule simulation:
    input:
        SIMULATION.values(),
