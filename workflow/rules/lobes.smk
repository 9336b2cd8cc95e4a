# Lobes of scans that came without a lobe mask, from a template whose lobes are labelled (template.lobes).
TEMPLATE_LOBES = results("template/lobes.nii.gz")


rule adopt_template_lobes:
    input:
        lobes=config["template"]["lobes"] or [],
        mask=TEMPLATE["mask"],
    output:
        lobes=TEMPLATE_LOBES,
    log:
        results("logs/adopt_template_lobes.log"),
    benchmark:
        results("benchmarks/adopt_template_lobes.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(10),
    params:
        config={"lobe_labels": config["lungs"]["lobe_labels"]},
        results=results_folder,
        code=stamp("lungtypes.imaging.template_lobes", script="adopt_template_lobes.py"),
    script:
        "../../scripts/adopt_template_lobes.py"


rule warp_lobes:
    input:
        lungs=LUNGS,
        registered=REGISTERED,
        lobes=TEMPLATE_LOBES,
    output:
        folder=directory(WARPED_LOBES),
    log:
        results("logs/warp_lobes/{subject}.log"),
    benchmark:
        results("benchmarks/warp_lobes/{subject}.tsv")
    conda:
        ENVIRONMENT
    threads: job_threads("itk_threads")
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(20),
    params:
        config=settings("strict", "itk_threads"),
        results=results_folder,
        code=stamp("lungtypes.imaging.template_lobes", script="warp_lobes.py"),
    script:
        "../../scripts/warp_lobes.py"
