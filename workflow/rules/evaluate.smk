# Are the clusters real? Accuracy needs a reference, everything else does not.
EVALUATION = results("evaluation/{method}.tsv")


rule evaluate_clusters:
    input:
        assignment=results("{method}/assignment.tsv"),
        embedding=results("{method}/embedding.tsv"),
        choice=results("{method}/k_selection.json"),
        reference=config["evaluate"]["reference_table"] or [],
    output:
        table=EVALUATION,
    log:
        results("logs/evaluate_clusters/{method}.log"),
    benchmark:
        results("benchmarks/evaluate_clusters/{method}.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        config=settings("evaluate", seed=config["seed"]),
        results=results_folder,
        code=stamp("lungtypes.evaluation.evaluate", script="evaluate_clusters.py"),
    script:
        "../../scripts/evaluate_clusters.py"
