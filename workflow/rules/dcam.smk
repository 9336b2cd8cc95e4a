# dCAM: features of an untrained U-Net, number of clusters, DeepCluster, dense maps. {method} is dcam or one of its
# references; the supervised one alone sees the reference labels.
DCAM_METHODS = "dcam|dcam-encoder|dcam-supervised"
DCAM_SPACE = config["dcam"]["space"]
DCAM_ARRAY = NATIVE_ARRAY if DCAM_SPACE == "native" else COHORT_ARRAY
DCAM_START = results("{method}/start.tsv")
DCAM_K = {
    "table": results("{method}/k_selection.tsv"),
    "choice": results("{method}/k_selection.json"),
}
DCAM_MODEL = {
    "weights": results("{method}/model.safetensors"),
    "description": results("{method}/model.json"),
    "assignment": results("{method}/assignment.tsv"),
    "embedding": results("{method}/embedding.tsv"),
    "logits": results("{method}/logits.tsv"),
    "history": results("{method}/history.tsv"),
}
DCAM_MAP_FOLDERS = {
    "maps": results("{method}/maps/{method}"),
    "raw": results("{method}/maps/{method}-raw"),
    "group_maps": results("{method}/group_maps"),
}
if DCAM_SPACE == "native":
    DCAM_MAP_FOLDERS["brought"] = results("{method}/maps/{method}-template")
DCAM_MAP_TABLES = {
    "summary": results("{method}/map_summary.tsv"),
    "regions": results("{method}/map_regions.tsv"),
    "groups": results("{method}/group_maps.tsv"),
}
DCAM = {**DCAM_K, **DCAM_MODEL, **DCAM_MAP_FOLDERS, **DCAM_MAP_TABLES}

# settings for the fit and its refits
DCAM_FIT = {
    **{
        k: config["dcam"][k] for k in ("network", "window_hu", "background", "training")
    },
    **settings("seed", "device", "torch_threads"),
}


rule embed_dcam_start:
    input:
        array=DCAM_ARRAY[0],
        description=DCAM_ARRAY[1],
    output:
        table=DCAM_START,
    log:
        results("logs/embed_dcam_start/{method}.log"),
    benchmark:
        results("benchmarks/embed_dcam_start/{method}.tsv")
    wildcard_constraints:
        method=DCAM_METHODS,
    conda:
        ENVIRONMENT
    threads: job_threads("torch_threads")
    resources:
        gpu=1,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(60),
    params:
        config=DCAM_FIT,
        results=results_folder,
        code=stamp("lungtypes.methods.dcam_stages", script="embed_dcam_start.py"),
    script:
        "../../scripts/embed_dcam_start.py"


rule choose_dcam_clusters:
    input:
        start=DCAM_START,
        reference=reference_of_supervised,
    output:
        **shown(DCAM_K, "Number of clusters", table="k_selection"),
    log:
        results("logs/choose_dcam_clusters/{method}.log"),
    benchmark:
        results("benchmarks/choose_dcam_clusters/{method}.tsv")
    wildcard_constraints:
        method=DCAM_METHODS,
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(120),
    params:
        config=dcam_settings(k=config["dcam"]["k"], seed=config["seed"]),
        results=results_folder,
        code=stamp("lungtypes.evaluation.choose_k", script="choose_dcam_clusters.py"),
    script:
        "../../scripts/choose_dcam_clusters.py"


rule train_dcam:
    input:
        array=DCAM_ARRAY[0],
        description=DCAM_ARRAY[1],
        start=DCAM_START,
        choice=DCAM_K["choice"],
        reference=reference_of_supervised,
    output:
        **shown(DCAM_MODEL, "Clusters", assignment="assignment"),
    log:
        results("logs/train_dcam/{method}.log"),
    benchmark:
        results("benchmarks/train_dcam/{method}.tsv")
    wildcard_constraints:
        method=DCAM_METHODS,
    conda:
        ENVIRONMENT
    threads: job_threads("torch_threads")
    resources:
        gpu=1,
        mem_mb=by_attempt(16000),
        runtime=by_attempt(1440),
    params:
        config=dcam_settings(**DCAM_FIT, space=DCAM_SPACE),
        results=results_folder,
        code=stamp("lungtypes.methods.dcam_stages", script="train_dcam.py"),
    script:
        "../../scripts/train_dcam.py"


rule map_dcam:
    input:
        array=DCAM_ARRAY[0],
        description=DCAM_ARRAY[1],
        template_array=COHORT_ARRAY[0],
        template_description=COHORT_ARRAY[1],
        registered=expand(REGISTERED, subject=SUBJECTS),
        model=DCAM_MODEL["weights"],
        settings=DCAM_MODEL["description"],
        assignment=DCAM_MODEL["assignment"],
        mask=TEMPLATE["mask"],
    output:
        **{name: directory(path) for name, path in DCAM_MAP_FOLDERS.items()},
        **DCAM_MAP_TABLES,
    log:
        results("logs/map_dcam/{method}.log"),
    benchmark:
        results("benchmarks/map_dcam/{method}.tsv")
    wildcard_constraints:
        method=DCAM_METHODS,
    conda:
        ENVIRONMENT
    threads: job_threads("torch_threads")
    resources:
        gpu=1,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(240),
    params:
        config={
            **settings("device", "torch_threads", "itk_threads"),
            "subjects": SUBJECTS,
        },
        results=results_folder,
        code=stamp("lungtypes.methods.dcam_maps", script="map_dcam.py"),
    script:
        "../../scripts/map_dcam.py"


rule refit_dcam:
    input:
        array=DCAM_ARRAY[0],
        description=DCAM_ARRAY[1],
        start=DCAM_START,
        choice=DCAM_K["choice"],
        reference=reference_of_supervised,
    output:
        table=results("{method}/seeds/{refit}.tsv"),
    log:
        results("logs/refit_dcam/{method}-{refit}.log"),
    benchmark:
        results("benchmarks/refit_dcam/{method}-{refit}.tsv")
    wildcard_constraints:
        method=DCAM_METHODS,
    conda:
        ENVIRONMENT
    threads: job_threads("torch_threads")
    resources:
        gpu=1,
        mem_mb=by_attempt(16000),
        runtime=by_attempt(1440),
    params:
        config=dcam_settings(**DCAM_FIT, space=DCAM_SPACE),
        results=results_folder,
        code=stamp("lungtypes.methods.dcam_stages", script="refit_dcam.py"),
    script:
        "../../scripts/refit_dcam.py"
