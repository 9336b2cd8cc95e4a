# New scans in the clusters of a frozen model. Until the template's space they go the way of every scan.
ASSIGNED = results("assigned/{method}.tsv")


rule assign_scans:
    input:
        unpack(frozen_model),
        mask=TEMPLATE["mask"],
        registered=expand(REGISTERED, subject=SUBJECTS),
        resampled=resampled_to_assign,
        lungs=expand(LUNGS, subject=SCANNED),
    output:
        table=ASSIGNED,
    log:
        results("logs/assign_scans/{method}.log"),
    benchmark:
        results("benchmarks/assign_scans/{method}.tsv")
    conda:
        ENVIRONMENT
    threads: job_threads("torch_threads")
    resources:
        gpu=1,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(240),
    params:
        config=assign_settings,
        results=results_folder,
        code=stamp("lungtypes.methods.frozen_stages", script="assign_scans.py"),
    script:
        "../../scripts/assign_scans.py"


rule assign:
    input:
        assignments,
