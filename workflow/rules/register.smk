# SyN of every scan to the template, and who is left.
REGISTERED = results("registered/{subject}")
ATTRITION = results("cohort/attrition.tsv")


rule register_scan:
    input:
        scan=RESAMPLED,
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
    threads: config["itk_threads"]
    resources:
        mem_mb=6000,
        runtime=120,
    params:
        config=settings(
            "register",
            strict=config["strict"],
            seed=config["seed"],
            itk_threads=config["itk_threads"],
        ),
        results=results_folder,
        code=stamp("lungtypes.imaging.registration", script="register_scan.py"),
    script:
        "../../scripts/register_scan.py"


rule collect_attrition:
    input:
        folders=expand(REGISTERED, subject=SUBJECTS),
    output:
        table=ATTRITION,
    log:
        results("logs/collect_attrition.log"),
    benchmark:
        results("benchmarks/collect_attrition.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        config={
            "subjects": SUBJECTS,
            "max_failed_fraction": config["max_failed_fraction"],
        },
        results=results_folder,
        code=stamp("lungtypes.cohort.attrition", script="collect_attrition.py"),
    script:
        "../../scripts/collect_attrition.py"
