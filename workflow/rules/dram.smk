# dRAM: lesion maps learnt from how much of each lobe or zone is diseased. {method} is dram or one of its references;
# they alone see the lesion table and lesion masks.
DRAM_METHODS = ("dram", "dram-cam", "dram-supervised")
LESIONS = results("lesions/{subject}")
GIVEN_LESIONS = [
    LESIONS.format(subject=s) for s in SCANNED if sheet_value("lesions", s)
]
REGION_ARRAYS = {
    "array": results("cohort/regions.npy"),
    "labels": results("cohort/regions_labels.npy"),
    "description": results("cohort/regions.json"),
}
REGION_LESIONS = {
    "lesions": results("cohort/regions_lesions.npy") if GIVEN_LESIONS else [],
    "masked": results("cohort/regions_lesions.json"),
}
DRAM_MODEL = {
    "weights": results("{method}/model.safetensors"),
    "description": results("{method}/model.json"),
    "history": results("{method}/history.tsv"),
}
DRAM_TABLES = {
    "phenotype": results("{method}/phenotype.tsv"),
    "percentages": results("{method}/percentages.tsv"),
}
DRAM_MAPS = {
    "maps": results("{method}/maps/{method}"),
    "masks": results("{method}/maps/{method}-lesions"),
}
DRAM_EVALUATION = {
    "percentages": results("evaluation/{method}_percentages.tsv"),
    "dice": results("evaluation/{method}_dice.tsv"),
}
DRAM_OUTPUTS = [
    path.format(method=method)
    for method in config["dram"]["methods"]
    for files in (DRAM_MODEL, DRAM_TABLES, DRAM_MAPS, DRAM_EVALUATION)
    for path in files.values()
]


rule adopt_lesions:
    input:
        scan=INGESTED,
        lesions=sheet_file("lesions"),
    output:
        folder=directory(LESIONS),
    log:
        results("logs/adopt_lesions/{subject}.log"),
    benchmark:
        results("benchmarks/adopt_lesions/{subject}.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(10),
    params:
        config=settings("strict"),
        results=results_folder,
        code=stamp("lungtypes.imaging.given", script="adopt_lesions.py"),
    script:
        "../../scripts/adopt_lesions.py"


rule build_region_arrays:
    input:
        resampled=of_a_study(expand(RESAMPLED, subject=SCANNED)),
        lobes=warped_lobes,
    output:
        **REGION_ARRAYS,
    log:
        results("logs/build_region_arrays.log"),
    benchmark:
        results("benchmarks/build_region_arrays.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(60),
    params:
        config={
            "volumes": config["dram"]["volumes"],
            "max_failed_fraction": config["max_failed_fraction"],
            "splits": INPUTS.splits,
        },
        results=results_folder,
        code=stamp("lungtypes.imaging.region_files", script="build_region_arrays.py"),
    script:
        "../../scripts/build_region_arrays.py"


# Apart from the scans, so that masks with which lesions are merely compared train nothing anew.
rule build_region_lesions:
    input:
        array=REGION_ARRAYS["array"],
        description=REGION_ARRAYS["description"],
        given=GIVEN_LESIONS,
    output:
        **REGION_LESIONS,
    log:
        results("logs/build_region_lesions.log"),
    benchmark:
        results("benchmarks/build_region_lesions.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(30),
    params:
        config={},
        results=results_folder,
        code=stamp("lungtypes.imaging.region_files", script="build_region_lesions.py"),
    script:
        "../../scripts/build_region_lesions.py"


rule train_dram:
    input:
        unpack(lesions_of_supervised),
        **REGION_ARRAYS,
        # which of its rows count, the params say
        table=ancient(lesion_table),
    output:
        **DRAM_MODEL,
    log:
        results("logs/train_dram/{method}.log"),
    benchmark:
        results("benchmarks/train_dram/{method}.tsv")
    wildcard_constraints:
        method="|".join(DRAM_METHODS),
    conda:
        ENVIRONMENT
    threads: job_threads("torch_threads")
    resources:
        gpu=1,
        mem_mb=by_attempt(16000),
        runtime=by_attempt(1440),
    params:
        config=training_settings,
        results=results_folder,
        code=stamp("lungtypes.methods.dram_training", script="train_dram.py"),
    script:
        "../../scripts/train_dram.py"


rule segment_dram:
    input:
        **REGION_ARRAYS,
        model=DRAM_MODEL["weights"],
        settings=DRAM_MODEL["description"],
        table=lesion_table,
    output:
        **DRAM_TABLES,
        **{name: directory(path) for name, path in DRAM_MAPS.items()},
    log:
        results("logs/segment_dram/{method}.log"),
    benchmark:
        results("benchmarks/segment_dram/{method}.tsv")
    wildcard_constraints:
        method="|".join(DRAM_METHODS),
    conda:
        ENVIRONMENT
    threads: job_threads("torch_threads")
    resources:
        gpu=1,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(240),
    params:
        config={
            "mask": config["dram"]["mask"],
            **settings("device", "torch_threads"),
        },
        results=results_folder,
        code=stamp("lungtypes.methods.dram_stages", script="segment_dram.py"),
    script:
        "../../scripts/segment_dram.py"


rule evaluate_dram:
    input:
        **REGION_ARRAYS,
        **REGION_LESIONS,
        percentages=DRAM_TABLES["percentages"],
        masks=DRAM_MAPS["masks"],
    output:
        **DRAM_EVALUATION,
    log:
        results("logs/evaluate_dram/{method}.log"),
    benchmark:
        results("benchmarks/evaluate_dram/{method}.tsv")
    wildcard_constraints:
        method="|".join(DRAM_METHODS),
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(30),
    params:
        config={"edges": config["dram"]["edges"]},
        results=results_folder,
        code=stamp("lungtypes.evaluation.segmentation_files", script="evaluate_dram.py"),
    script:
        "../../scripts/evaluate_dram.py"
