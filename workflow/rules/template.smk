# The study template: a sample of the cohort, averaged by iterated SyN. The plan holds every iteration up to the
# maximum; what comes after convergence ends at once. The user's own template, or one that is frozen, skips all that.
SCREENING = results("cohort/screening.tsv")
SAMPLE = results("template/sample.tsv")
TEMPLATE_SCANS = results("template/scans")
TEMPLATE_MEAN = results("template/iter{iteration}/mean")
TEMPLATE_SLOT = results("template/iter{iteration}/slot{slot}")
TEMPLATE = {
    "template": results("template/template.nii.gz"),
    "mask": results("template/mask.nii.gz"),
    "probability": results("template/probability.nii.gz"),
    "convergence": results("template/convergence.tsv"),
}
TEMPLATE_REGIONS = {
    "regions": results("template/regions.nii.gz"),
    "region_names": results("template/regions.tsv"),
}


if config["template"]["image"]:

    rule adopt_template:
        input:
            image=config["template"]["image"],
            lungs=config["template"]["lungs"],
        output:
            **TEMPLATE,
            **TEMPLATE_REGIONS,
        log:
            results("logs/adopt_template.log"),
        benchmark:
            results("benchmarks/adopt_template.tsv")
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=by_attempt(2000),
            runtime=by_attempt(10),
        params:
            config={},
            results=results_folder,
            code=stamp("lungtypes.imaging.template_files", script="adopt_template.py"),
        script:
            "../../scripts/adopt_template.py"

elif not config["template"]["frozen"]:

    include: "build_template.smk"
