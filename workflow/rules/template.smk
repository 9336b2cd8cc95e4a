# The study template: a sample of the cohort, averaged by iterated SyN. The plan holds every iteration up to the
# maximum; what comes after convergence ends at once.
SAMPLE = results("template/sample.tsv")
TEMPLATE_MEAN = results("template/iter{iteration}/mean")
TEMPLATE_SLOT = results("template/iter{iteration}/slot{slot}")
TEMPLATE = {
    "template": results("template/template.nii.gz"),
    "mask": results("template/mask.nii.gz"),
    "probability": results("template/probability.nii.gz"),
    "convergence": results("template/convergence.tsv"),
}
N_SLOTS = sample_size(
    len(TRAINING),
    fraction=config["template"]["fraction"],
    minimum=config["template"]["minimum"],
    maximum=config["template"]["maximum"],
)
LAST_ITERATION = config["template"]["max_iterations"]


rule select_template_sample:
    input:
        resampled=expand(RESAMPLED, subject=TRAINING),
    output:
        table=SAMPLE,
    log:
        results("logs/select_template_sample.log"),
    benchmark:
        results("benchmarks/select_template_sample.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        config={
            "subjects": TRAINING,
            "strata": [
                f"{sheet_value('sex', s)}/{sheet_value('site', s)}" for s in TRAINING
            ],
            "size": N_SLOTS,
            "seed": config["seed"],
        },
        results=results_folder,
        code=stamp("lungtypes.cohort.sampling", script="select_template_sample.py"),
    script:
        "../../scripts/select_template_sample.py"


rule start_template:
    input:
        sample=SAMPLE,
    output:
        folder=directory(TEMPLATE_MEAN.format(iteration=0)),
    log:
        results("logs/start_template.log"),
    benchmark:
        results("benchmarks/start_template.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=10,
    params:
        config={"padding_mm": config["template"]["padding_mm"]},
        results=results_folder,
        code=stamp("lungtypes.imaging.template", script="start_template.py"),
    script:
        "../../scripts/start_template.py"


rule register_template_slot:
    input:
        sample=SAMPLE,
        mean=previous_mean,
    output:
        folder=directory(TEMPLATE_SLOT),
    log:
        results("logs/register_template_slot/iter{iteration}_slot{slot}.log"),
    benchmark:
        results("benchmarks/register_template_slot/iter{iteration}_slot{slot}.tsv")
    conda:
        ENVIRONMENT
    threads: config["itk_threads"]
    resources:
        mem_mb=6000,
        runtime=120,
    params:
        config=settings(
            seed=config["seed"],
            itk_threads=config["itk_threads"],
            min_dice=config["register"]["min_dice"],
            **{
                k: config["template"][k]
                for k in ("representation", "iterations", "mask_sigma_mm")
            },
        ),
        results=results_folder,
        code=stamp("lungtypes.imaging.registration", script="register_template_slot.py"),
    script:
        "../../scripts/register_template_slot.py"


rule update_template:
    input:
        mean=previous_mean,
        slots=lambda wildcards: expand(
            TEMPLATE_SLOT, iteration=wildcards.iteration, slot=range(N_SLOTS)
        ),
    output:
        folder=directory(TEMPLATE_MEAN),
    log:
        results("logs/update_template/iter{iteration}.log"),
    benchmark:
        results("benchmarks/update_template/iter{iteration}.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        config={
            k: config["template"][k]
            for k in (
                "step",
                "applications",
                "min_dice",
                "max_update_mm",
                "max_volume_percent",
            )
        },
        results=results_folder,
        code=stamp("lungtypes.imaging.template", script="update_template.py"),
    script:
        "../../scripts/update_template.py"


rule finish_template:
    input:
        means=expand(TEMPLATE_MEAN, iteration=range(LAST_ITERATION + 1)),
    output:
        **TEMPLATE,
    log:
        results("logs/finish_template.log"),
    benchmark:
        results("benchmarks/finish_template.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        config={"max_iterations": LAST_ITERATION},
        results=results_folder,
        code=stamp("lungtypes.imaging.geometry", script="finish_template.py"),
    script:
        "../../scripts/finish_template.py"


ruleorder: start_template > update_template
