# SyN of every scan to the template (or the volume that the user registered), and who is left.
REGISTERED = results("registered/{subject}")
ATTRITION = results("cohort/attrition.tsv")
REVIEW = results("cohort/review.tsv")


rule register_scan:
    input:
        scan=scan_to_register,
        registered=sheet_file("registered"),
        lungs=lungs_of_registered,
        template=TEMPLATE["template"],
        mask=TEMPLATE["mask"],
    output:
        folder=directory(REGISTERED),
    log:
        results("logs/register_scan/{subject}.log"),
    benchmark:
        results("benchmarks/register_scan/{subject}.tsv")
    conda:
        ENVIRONMENT
    threads: job_threads("itk_threads")
    resources:
        mem_mb=registration_mb,
        runtime=registration_minutes,
    params:
        config=scan_settings("register", "seed", "itk_threads"),
        results=results_folder,
        code=stamp("lungtypes.imaging.registration_files", script="register_scan.py"),
    script:
        "../../scripts/register_scan.py"


rule collect_attrition:
    input:
        registered=expand(REGISTERED, subject=SUBJECTS),
        density=expand(DENSITY, subject=SCANNED),
        lungs=expand(LUNGS, subject=SCANNED),
    output:
        **shown({"table": ATTRITION}, "Scans", table="attrition"),
        review=REVIEW,
    log:
        results("logs/collect_attrition.log"),
    benchmark:
        results("benchmarks/collect_attrition.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        config={
            "subjects": SUBJECTS,
            "scanned": SCANNED,
            "register_checks": config["register"]["checks"],
            "decided": [list(pair) for pair in INPUTS.decisions],
        },
        results=results_folder,
        code=stamp(
            "lungtypes.cohort.attrition",
            "lungtypes.cohort.review",
            script="collect_attrition.py",
        ),
    script:
        "../../scripts/collect_attrition.py"
