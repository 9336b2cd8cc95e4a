# CLAM: pre-train the autoencoder, choose K on its embedding, cluster, map. Three of the four use a GPU.
CLAM_PRETRAINED = results("clam/pretrained")
CLAM_K = {
    "table": results("clam/k_selection.tsv"),
    "choice": results("clam/k_selection.json"),
}
CLAM_MODEL = {
    "weights": results("clam/model.safetensors"),
    "description": results("clam/model.json"),
    "assignment": results("clam/assignment.tsv"),
    "embedding": results("clam/embedding.tsv"),
    "history": results("clam/history.tsv"),
}
CLAM_MAP_FOLDERS = {
    "maps": results("clam/maps/clam"),
    "group_maps": results("clam/group_maps"),
    "parts": results("clam/map_parts"),
}
if config["clam"]["map"]["official"]:
    CLAM_MAP_FOLDERS["official"] = results("clam/maps/clam-official")
CLAM_MAP_TABLES = {
    "summary": results("clam/map_summary.tsv"),
    "regions": results("clam/map_regions.tsv"),
    "groups": results("clam/group_maps.tsv"),
}
CLAM_MAPS = {**CLAM_MAP_FOLDERS, **CLAM_MAP_TABLES}
CLAM = {**CLAM_K, **CLAM_MODEL, **CLAM_MAPS}

# settings of the two phases, for the fit and its refits
CLAM_TRAINING = {
    **{
        k: config["clam"][k]
        for k in ("window_hu", "background", "loss", "batch", "pretrain")
    },
    "network": {
        k: config["clam"][k]
        for k in ("filters", "strides", "latent", "slope", "output")
    },
}
CLAM_CLUSTERING = {k: config["clam"][k] for k in ("loss", "cluster", "batch")}
CLAM_MACHINE = settings("seed", "device", "torch_threads")


rule pretrain_clam:
    input:
        array=COHORT_ARRAY[0],
        description=COHORT_ARRAY[1],
    output:
        folder=directory(CLAM_PRETRAINED),
    log:
        results("logs/pretrain_clam.log"),
    benchmark:
        results("benchmarks/pretrain_clam.tsv")
    conda:
        ENVIRONMENT
    threads: job_threads("torch_threads")
    resources:
        gpu=1,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(240),
    params:
        config={**CLAM_TRAINING, **CLAM_MACHINE},
        results=results_folder,
        code=stamp("lungtypes.methods.clam", script="pretrain_clam.py"),
    script:
        "../../scripts/pretrain_clam.py"


rule choose_clam_clusters:
    input:
        pretrained=CLAM_PRETRAINED,
    output:
        **shown(CLAM_K, "Number of clusters", table="k_selection"),
    log:
        results("logs/choose_clam_clusters.log"),
    benchmark:
        results("benchmarks/choose_clam_clusters.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(120),
    params:
        config={"k": config["clam"]["k"], "seed": config["seed"]},
        results=results_folder,
        code=stamp("lungtypes.evaluation.choose_k", script="choose_clam_clusters.py"),
    script:
        "../../scripts/choose_clam_clusters.py"


rule cluster_clam:
    input:
        array=COHORT_ARRAY[0],
        description=COHORT_ARRAY[1],
        pretrained=CLAM_PRETRAINED,
        choice=CLAM_K["choice"],
    output:
        **shown(CLAM_MODEL, "Clusters", assignment="assignment"),
    log:
        results("logs/cluster_clam.log"),
    benchmark:
        results("benchmarks/cluster_clam.tsv")
    conda:
        ENVIRONMENT
    threads: job_threads("torch_threads")
    resources:
        gpu=1,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(240),
    params:
        config={**CLAM_CLUSTERING, **CLAM_MACHINE},
        results=results_folder,
        code=stamp("lungtypes.methods.clam", script="cluster_clam.py"),
    script:
        "../../scripts/cluster_clam.py"


rule refit_clam:
    input:
        array=COHORT_ARRAY[0],
        description=COHORT_ARRAY[1],
        choice=CLAM_K["choice"],
    output:
        table=results("clam/seeds/{refit}.tsv"),
    log:
        results("logs/refit_clam/{refit}.log"),
    benchmark:
        results("benchmarks/refit_clam/{refit}.tsv")
    conda:
        ENVIRONMENT
    threads: job_threads("torch_threads")
    resources:
        gpu=1,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(480),
    params:
        config={
            "training": CLAM_TRAINING,
            "clustering": CLAM_CLUSTERING,
            **CLAM_MACHINE,
        },
        results=results_folder,
        code=stamp("lungtypes.methods.clam", script="refit_clam.py"),
    script:
        "../../scripts/refit_clam.py"


rule map_clam:
    input:
        array=COHORT_ARRAY[0],
        description=COHORT_ARRAY[1],
        model=CLAM_MODEL["weights"],
        settings=CLAM_MODEL["description"],
        assignment=CLAM_MODEL["assignment"],
        mask=TEMPLATE["mask"],
    output:
        **{name: directory(path) for name, path in CLAM_MAP_FOLDERS.items()},
        **CLAM_MAP_TABLES,
    log:
        results("logs/map_clam.log"),
    benchmark:
        results("benchmarks/map_clam.tsv")
    conda:
        ENVIRONMENT
    threads: job_threads("torch_threads")
    resources:
        gpu=1,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(240),
    params:
        config={
            # which population map the report shows changes no map
            "map": {
                k: v for k, v in config["clam"]["map"].items() if k != "population"
            },
            **settings("device", "torch_threads"),
        },
        results=results_folder,
        code=stamp("lungtypes.methods.clam_maps", script="map_clam.py"),
    script:
        "../../scripts/map_clam.py"
