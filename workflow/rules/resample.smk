# One isotropic grid per scan, cropped to the lungs.
RESAMPLED = results("resampled/{subject}")


rule resample_scan:
    input:
        scan=INGESTED,
        lungs=LUNGS,
    output:
        folder=intermediate("resampled/{subject}"),
    log:
        results("logs/resample_scan/{subject}.log"),
    benchmark:
        results("benchmarks/resample_scan/{subject}.tsv")
    conda:
        ENVIRONMENT
    threads: job_threads("itk_threads")
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(5),
    params:
        config=scan_settings("resample", "itk_threads"),
        results=results_folder,
        code=stamp("lungtypes.imaging.resample", script="resample_scan.py"),
    script:
        "../../scripts/resample_scan.py"
