# Do the clusters matter to patients? The only stage that reads outcomes.
ASSOCIATION_TABLES = (
    "table_one",
    "outcomes",
    "contrasts",
    "adjusted_means",
    "diagnostics",
    "comparison",
    "missing",
    "imputed",
    "descriptive",
)
ASSOCIATION = association_files("{method}")
EXTERNAL = config["associate"]["external"]
ASSOCIATION_EXTERNAL = association_files("external") if EXTERNAL["assignment"] else {}
ASSOCIATION_PHENOTYPES = [
    path
    for name in [*config["associate"]["phenotypes"], *config["dram"]["methods"]]
    for path in association_files(name).values()
]


rule associate_outcomes:
    input:
        assignment=results("{method}/assignment.tsv"),
        clinical=config["clinical"] or [],
        densitometry=DENSITOMETRY,
        map_summary=results("{method}/map_summary.tsv"),
        series=SERIES,
    output:
        **shown(
            ASSOCIATION,
            "Clinical association",
            table_one="table_one",
            outcomes="outcomes",
        ),
    log:
        results("logs/associate_outcomes/{method}.log"),
    benchmark:
        results("benchmarks/associate_outcomes/{method}.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(60),
    params:
        config=association_settings(),
        results=results_folder,
        code=stamp("lungtypes.association.stage", script="associate_outcomes.py"),
    script:
        "../../scripts/associate_outcomes.py"


ruleorder: associate_external > associate_phenotype > associate_outcomes


# The same tables for a cohort that was only assigned: any table with the columns subject and cluster.
rule associate_external:
    input:
        assignment=EXTERNAL["assignment"] or [],
        clinical=EXTERNAL["clinical"] or [],
    output:
        **association_files("external"),
    log:
        results("logs/associate_external.log"),
    benchmark:
        results("benchmarks/associate_external.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(60),
    params:
        config=association_settings(),
        results=results_folder,
        code=stamp("lungtypes.association.stage", script="associate_outcomes.py"),
    script:
        "../../scripts/associate_outcomes.py"


# The same tables for a number of each scan instead of clusters: the burden of dRAM, or a column of the densitometry of
# both lungs.
rule associate_phenotype:
    input:
        assignment=phenotype_table,
        clinical=config["clinical"] or [],
        series=SERIES,
    output:
        **association_files("{phenotype}"),
    log:
        results("logs/associate_phenotype/{phenotype}.log"),
    benchmark:
        results("benchmarks/associate_phenotype/{phenotype}.tsv")
    wildcard_constraints:
        phenotype="|".join([*config["associate"]["phenotypes"], *DRAM_METHODS]),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(60),
    params:
        config=association_settings(),
        column=phenotype_column,
        subjects=[s for s in SUBJECTS if INPUTS.splits[s] != "repeat"],
        results=results_folder,
        code=stamp("lungtypes.association.stage", script="associate_outcomes.py"),
    script:
        "../../scripts/associate_outcomes.py"
