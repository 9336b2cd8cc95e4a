# Right and left lung of every scan, checked, and their densitometry on native HU.
LUNGS = results("lungs/{subject}")
DENSITY = results("densitometry/{subject}")
WARPED_LOBES = results("lobes/{subject}")
DENSITOMETRY = results("densitometry.tsv")


rule segment_lungs:
    input:
        scan=INGESTED,
        lungs=sheet_file("lungs"),
        lobes=sheet_file("lobes"),
    output:
        folder=directory(LUNGS),
    log:
        results("logs/segment_lungs/{subject}.log"),
    benchmark:
        results("benchmarks/segment_lungs/{subject}.tsv")
    conda:
        ENVIRONMENT
    threads: job_threads("itk_threads")
    resources:
        mem_mb=by_attempt(4000),
        runtime=segmentation_minutes,
    params:
        config=scan_settings("lungs", "itk_threads"),
        results=results_folder,
        code=stamp("lungtypes.imaging.lobes", script="segment_lungs.py"),
    script:
        "../../scripts/segment_lungs.py"


rule measure_densitometry:
    input:
        scan=INGESTED,
        lungs=LUNGS,
        lobes=lobes_of_template,
    output:
        folder=directory(DENSITY),
    log:
        results("logs/measure_densitometry/{subject}.log"),
    benchmark:
        results("benchmarks/measure_densitometry/{subject}.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(5),
    params:
        config={"strict": config["strict"]},
        results=results_folder,
        code=stamp("lungtypes.imaging.densitometry", script="measure_densitometry.py"),
    script:
        "../../scripts/measure_densitometry.py"


rule collect_densitometry:
    input:
        folders=expand(DENSITY, subject=SCANNED),
    output:
        table=DENSITOMETRY,
    log:
        results("logs/collect_densitometry.log"),
    benchmark:
        results("benchmarks/collect_densitometry.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        config={"subjects": SCANNED},
        results=results_folder,
        code=stamp("lungtypes.cohort.collect", script="collect_densitometry.py"),
    script:
        "../../scripts/collect_densitometry.py"
