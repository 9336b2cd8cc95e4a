# One picture a scan: three planes with the lungs' border, histogram, area of each slice. Also of scans without usable lungs.
QUALITY = results("quality/{subject}")


rule draw_quality:
    input:
        scan=INGESTED,
        lungs=LUNGS,
    output:
        folder=directory(QUALITY),
    log:
        results("logs/draw_quality/{subject}.log"),
    benchmark:
        results("benchmarks/draw_quality/{subject}.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(5),
    params:
        config={"strict": config["strict"]},
        results=results_folder,
        code=stamp("lungtypes.report.scan_quality", script="draw_quality.py"),
    script:
        "../../scripts/draw_quality.py"
