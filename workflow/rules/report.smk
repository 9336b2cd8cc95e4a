# One page with everything that a reader needs.
REPORT = results("report/index.html")
SUBJECT_PAGES = results("report/subjects")
PAPER = results("paper")
PAGE_TEXTS = (
    "lungtypes/report/page.html.j2",
    "lungtypes/report/viewer.js",
    "lungtypes/report/vendor/niivue.umd.js",
)


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
        figures=(
            [
                report(
                    directory(results("report/figures")),
                    patterns=["{name}.png"],
                    caption="../report/figures.rst",
                    category="Figures",
                )
            ]
            if config["report"]["print_dpi"]
            else []
        ),
        share=[directory(results("report/share"))] if config["report"]["share"] else [],
    log:
        results("logs/write_report.log"),
    benchmark:
        results("benchmarks/write_report.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(30),
    params:
        config={
            "run": {
                k: v
                for k, v in config.items()
                if k
                not in ("phantom", "virtual_sarcoidosis", "apply", "report", "verify")
            },
            "has_outcomes": HAS_OUTCOMES,
            "report": config["report"],
        },
        results=results_folder,
        code=stamp(
            "lungtypes.report.page",
            script="write_report.py",
            texts=PAGE_TEXTS,
        ),
    script:
        "../../scripts/write_report.py"


# Of the same inputs as the report, for a supplement: snakemake paper
rule write_paper:
    input:
        **rules.write_report.input,
    output:
        folder=directory(PAPER),
    log:
        results("logs/write_paper.log"),
    benchmark:
        results("benchmarks/write_paper.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(30),
    params:
        config={
            **{
                k: rules.write_report.params.config[k] for k in ("run", "has_outcomes")
            },
            "dpi": config["report"]["print_dpi"] or 300,
        },
        results=results_folder,
        code=stamp("lungtypes.report.paper", script="write_paper.py"),
    script:
        "../../scripts/write_paper.py"


# The report links to them; it does not wait for them.
rule write_subject_pages:
    input:
        attrition=of_a_study(ATTRITION),
        series=SERIES,
        densitometry=DENSITOMETRY,
        review=REVIEW,
        quality=expand(QUALITY, subject=SCANNED),
        registered=expand(REGISTERED, subject=SUBJECTS),
        arrays=[
            *(COHORT_ARRAY if config["clam"]["enabled"] else []),
            *(DCAM_ARRAY if config["dcam"]["methods"] else []),
        ],
        clam=(
            [*CLAM_MODEL.values(), *CLAM_MAPS.values()]
            if config["clam"]["enabled"]
            else []
        ),
        dcam=[
            expand(path, method=config["dcam"]["methods"])
            for files in (DCAM_MODEL, DCAM_MAP_FOLDERS, DCAM_MAP_TABLES)
            for path in files.values()
        ],
        maps=[
            expand(path, method=METHODS)
            for path in [MAP_TABLES["summary"], *FURTHER_MAPS.values()]
        ],
        dram=[
            path.format(method=method)
            for method in config["dram"]["methods"]
            for path in [*DRAM_MODEL.values(), *DRAM_TABLES.values()]
        ],
    output:
        pages=directory(SUBJECT_PAGES),
    log:
        results("logs/write_subject_pages.log"),
    benchmark:
        results("benchmarks/write_subject_pages.tsv")
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(30),
    params:
        config={},
        results=results_folder,
        code=stamp(
            "lungtypes.report.subject_pages",
            script="write_subject_pages.py",
            texts=PAGE_TEXTS,
        ),
    script:
        "../../scripts/write_subject_pages.py"


rule report:
    input:
        REPORT,
        SUBJECT_PAGES,


rule paper:
    input:
        PAPER,
