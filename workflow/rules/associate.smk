# Do the clusters matter to patients? The only stage that reads the clinical table.
ASSOCIATION = {
    name: results(f"association/{{method}}/{name}.tsv")
    for name in ("table_one", "outcomes", "adjusted_means", "comparison")
}


def count_rows(path):
    """Rows below the header; no such file counts as none."""
    path = Path(path)
    return max(len(path.read_text().splitlines()) - 1, 0) if path.is_file() else 0


HAS_OUTCOMES = count_rows(config["clinical"]) > 0


rule associate_outcomes:
    input:
        assignment=results("{method}/assignment.tsv"),
        clinical=config["clinical"],
    output:
        **ASSOCIATION,
    log:
        results("logs/associate_outcomes/{method}.log"),
    benchmark:
        results("benchmarks/associate_outcomes/{method}.tsv")
    params:
        config=settings("associate", seed=config["seed"]),
        results=RESULTS,
        code=stamp("lungtypes.association.outcomes", script="associate_outcomes.py"),
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    conda:
        ENVIRONMENT
    script:
        "../../scripts/associate_outcomes.py"
