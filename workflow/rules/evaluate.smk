# Are the clusters real, and are they of the lungs? Accuracy needs a reference, everything else does not.
EVALUATION_TABLES = {
    "table": results("evaluation/{method}.tsv"),
    "confusion": results("evaluation/{method}_confusion.tsv"),
}
CONFOUNDERS = results("evaluation/{method}_confounders.tsv")
EVALUATION = [*EVALUATION_TABLES.values(), CONFOUNDERS]


rule evaluate_clusters:
    input:
        assignment=results("{method}/assignment.tsv"),
        embedding=results("{method}/embedding.tsv"),
        choice=results("{method}/k_selection.json"),
        common=COMMON_SPACE,
        refits=expand(
            results("{{method}}/seeds/{i}.tsv"),
            i=range(1, config["evaluate"]["seeds"] + 1),
        ),
        reference=config["evaluate"]["reference_table"] or [],
    output:
        **shown(EVALUATION_TABLES, "Evaluation", table="evaluation"),
    log:
        results("logs/evaluate_clusters/{method}.log"),
    benchmark:
        results("benchmarks/evaluate_clusters/{method}.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(120),
    params:
        config=evaluation_settings(
            "reference_table",
            "reference_column",
            "reference_order",
            "n_permutations",
            "n_bootstrap",
            "n_resamples",
            "n_null",
        ),
        results=results_folder,
        code=stamp("lungtypes.evaluation.evaluate", script="evaluate_clusters.py"),
    script:
        "../../scripts/evaluate_clusters.py"


rule audit_confounders:
    input:
        assignment=results("{method}/assignment.tsv"),
        embedding=results("{method}/embedding.tsv"),
        series=SERIES,
        densitometry=DENSITOMETRY,
        registered=expand(REGISTERED, subject=SUBJECTS),
        clinical=clinical_of_audit,
    output:
        **shown({"table": CONFOUNDERS}, "Evaluation", table="confounders"),
    log:
        results("logs/audit_confounders/{method}.log"),
    benchmark:
        results("benchmarks/audit_confounders/{method}.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(60),
    params:
        config=evaluation_settings("n_permutations", "min_level"),
        subjects=SUBJECTS,
        # beside the config, since that ends up below the results
        sheet={
            s: {name: SCANS[s].get(name, "") for name in AUDITED_COLUMNS}
            for s in SUBJECTS
        },
        results=results_folder,
        code=stamp("lungtypes.evaluation.audit_files", script="audit_confounders.py"),
    script:
        "../../scripts/audit_confounders.py"
