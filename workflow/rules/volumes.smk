# The cohort as one array in template space: what the networks read.
COHORT_ARRAY = [results("cohort/template.npy"), results("cohort/template.json")]
NATIVE_ARRAY = [results("cohort/native.npy"), results("cohort/native.json")]


rule build_cohort_array:
    input:
        folders=of_a_study(expand(REGISTERED, subject=SUBJECTS)),
        mask=TEMPLATE["mask"],
    output:
        array=COHORT_ARRAY[0],
        description=COHORT_ARRAY[1],
    log:
        results("logs/build_cohort_array.log"),
    benchmark:
        results("benchmarks/build_cohort_array.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(60),
    params:
        config={
            "volumes": {k: config["volumes"][k] for k in ("size", "spacing_mm")},
            "max_failed_fraction": config["max_failed_fraction"],
            "splits": INPUTS.splits,
        },
        results=results_folder,
        code=stamp("lungtypes.imaging.volume_files", script="build_cohort_array.py"),
    script:
        "../../scripts/build_cohort_array.py"


rule build_native_array:
    input:
        registered=of_a_study(expand(REGISTERED, subject=SUBJECTS)),
        resampled=expand(RESAMPLED, subject=SUBJECTS),
    output:
        array=NATIVE_ARRAY[0],
        description=NATIVE_ARRAY[1],
    log:
        results("logs/build_native_array.log"),
    benchmark:
        results("benchmarks/build_native_array.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(60),
    params:
        config={"native": config["volumes"]["native"], "splits": INPUTS.splits},
        results=results_folder,
        code=stamp("lungtypes.imaging.volume_files", script="build_native_array.py"),
    script:
        "../../scripts/build_native_array.py"


# A space that no method was trained in, to compare methods by.
COMMON_SPACE = results("cohort/common_space.tsv")


rule build_common_space:
    input:
        array=COHORT_ARRAY[0],
        description=COHORT_ARRAY[1],
    output:
        table=COMMON_SPACE,
    log:
        results("logs/build_common_space.log"),
    benchmark:
        results("benchmarks/build_common_space.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(60),
    params:
        config={},
        results=results_folder,
        code=stamp("lungtypes.evaluation.common_space", script="build_common_space.py"),
    script:
        "../../scripts/build_common_space.py"
