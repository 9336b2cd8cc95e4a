# Every scan becomes one CT in HU, or a reason why not.
INGESTED = results("ingest/{subject}")
SCAN_SERIES = results("series/{subject}.tsv")
SERIES = results("ingest/series.tsv")


rule ingest_scan:
    input:
        scan=sheet_file("path"),
    output:
        folder=intermediate("ingest/{subject}"),
        series=SCAN_SERIES,
    log:
        results("logs/ingest_scan/{subject}.log"),
    benchmark:
        results("benchmarks/ingest_scan/{subject}.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(5),
    params:
        config=scan_settings("ingest"),
        results=results_folder,
        code=stamp("lungtypes.imaging.ingest", script="ingest_scan.py"),
    script:
        "../../scripts/ingest_scan.py"


rule collect_series:
    input:
        tables=expand(SCAN_SERIES, subject=SCANNED),
    output:
        table=SERIES,
    log:
        results("logs/collect_series.log"),
    benchmark:
        results("benchmarks/collect_series.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        config={"subjects": SCANNED},
        results=results_folder,
        code=stamp("lungtypes.cohort.collect", script="collect_series.py"),
    script:
        "../../scripts/collect_series.py"
