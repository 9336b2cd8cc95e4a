# One page with everything that a reader needs.
REPORT = results("report/index.html")


rule write_report:
    input:
        attrition=of_a_study(ATTRITION),
        series=SERIES,
        densitometry=DENSITOMETRY,
        convergence=TEMPLATE["convergence"],
        template=TEMPLATE["template"],
        mask=TEMPLATE["mask"],
        review=REVIEW,
        quality=expand(QUALITY, subject=SCANNED),
        registered=expand(REGISTERED, subject=SUBJECTS),
        array=COHORT_ARRAY if METHODS else [],
        clam=list(CLAM.values()) if config["clam"]["enabled"] else [],
        dcam=[expand(path, method=config["dcam"]["methods"]) for path in DCAM.values()],
        maps=[
            expand(path, method=METHODS)
            for path in [*MAP_TABLES.values(), FURTHER_MAPS["group_maps"]]
        ],
        dram=DRAM_OUTPUTS,
        regions=(
            [*REGION_ARRAYS.values(), *REGION_LESIONS.values()]
            if config["dram"]["methods"]
            else []
        ),
        evaluation=expand(EVALUATION, method=METHODS),
        association=(
            [expand(path, method=METHODS) for path in ASSOCIATION.values()]
            if HAS_OUTCOMES
            else []
        ),
        external=list(ASSOCIATION_EXTERNAL.values()),
        phenotypes=ASSOCIATION_PHENOTYPES if HAS_OUTCOMES else [],
    output:
        page=REPORT,
        data=directory(results("report/data")),
    log:
        results("logs/write_report.log"),
    benchmark:
        results("benchmarks/write_report.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        config={
            "run": {
                k: v
                for k, v in config.items()
                if k not in ("phantom", "virtual_sarcoidosis", "apply")
            },
            "has_outcomes": HAS_OUTCOMES,
        },
        results=results_folder,
        code=stamp(
            "lungtypes.report.page",
            script="write_report.py",
            text="lungtypes/report/page.html.j2",
        ),
    script:
        "../../scripts/write_report.py"


rule report:
    input:
        REPORT,
