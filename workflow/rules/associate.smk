# Do the clusters matter to patients? The only stage that reads the clinical table.
ASSOCIATION = {
    f"{name}{suffix}": results(f"association/{{method}}/{name}{ending}")
    for name in ("table_one", "outcomes", "adjusted_means", "comparison")
    for suffix, ending in (("", ".tsv"), ("_html", ".html"))
}


rule associate_outcomes:
    input:
        assignment=results("{method}/assignment.tsv"),
        clinical=config["clinical"] or [],
    output:
        **ASSOCIATION,
    log:
        results("logs/associate_outcomes/{method}.log"),
    benchmark:
        results("benchmarks/associate_outcomes/{method}.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        config=settings("associate", seed=config["seed"]),
        results=results_folder,
        code=stamp("lungtypes.association.outcomes", script="associate_outcomes.py"),
    script:
        "../../scripts/associate_outcomes.py"
