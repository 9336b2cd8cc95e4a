# What a study learnt, in one folder that goes on without it: to assign scans that come later, here or elsewhere.
FROZEN_FOLDER = results("frozen")


rule freeze_models:
    input:
        unpack(arrays_to_freeze),
        models=models_to_freeze,
        template=TEMPLATE["template"],
        mask=TEMPLATE["mask"],
        registered=expand(REGISTERED, subject=SUBJECTS),
        lungs=expand(LUNGS, subject=SCANNED),
        weights=(
            config["lungs"]["lungmask_weights"]
            if config["lungs"]["engine"] == "lungmask"
            else []
        ),
    output:
        folder=directory(FROZEN_FOLDER),
    log:
        results("logs/freeze_models.log"),
    benchmark:
        results("benchmarks/freeze_models.tsv")
    conda:
        ENVIRONMENT
    threads: job_threads("torch_threads")
    resources:
        gpu=1,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(240),
    params:
        config={
            "settings": frozen_settings(config),
            "methods": METHODS,
            "subjects": SUBJECTS,
            "scanned": SCANNED,
            **settings("device", "torch_threads"),
        },
        results=results_folder,
        code=stamp("lungtypes.methods.frozen_stages", script="freeze_models.py"),
    script:
        "../../scripts/freeze_models.py"


rule freeze:
    input:
        FROZEN_FOLDER,
