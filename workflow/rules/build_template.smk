# Builds the study template from a sample of the cohort (included by template.smk).
N_SLOTS = sample_size(
    len(TRAINING),
    fraction=config["template"]["fraction"],
    minimum=config["template"]["minimum"],
    maximum=config["template"]["maximum"],
)
LAST_ITERATION = config["template"]["max_iterations"]


rule screen_cohort:
    input:
        resampled=expand(RESAMPLED, subject=TRAINING),
    output:
        table=SCREENING,
    log:
        results("logs/screen_cohort.log"),
    benchmark:
        results("benchmarks/screen_cohort.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        config={"subjects": TRAINING},
        results=results_folder,
        code=stamp("lungtypes.cohort.gate", script="screen_cohort.py"),
    script:
        "../../scripts/screen_cohort.py"


rule select_template_sample:
    input:
        screening=SCREENING,
        resampled=expand(RESAMPLED, subject=TRAINING),
        lungs=expand(LUNGS, subject=TRAINING),
    output:
        table=SAMPLE,
        scans=intermediate("template/scans"),
    log:
        results("logs/select_template_sample.log"),
    benchmark:
        results("benchmarks/select_template_sample.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(1000),
        runtime=by_attempt(10),
    params:
        config={
            "subjects": TRAINING,
            "strata": [
                f"{sheet_value('sex', s)}/{sheet_value('site', s)}" for s in TRAINING
            ],
            "size": N_SLOTS,
            "sampling": config["template"]["sampling"],
            "max_failed_fraction": config["max_failed_fraction"],
            "seed": config["seed"],
        },
        results=results_folder,
        code=stamp("lungtypes.cohort.sampling", script="select_template_sample.py"),
    script:
        "../../scripts/select_template_sample.py"


rule start_template:
    input:
        sample=SAMPLE,
        scans=TEMPLATE_SCANS,
        image=config["template"]["start_image"] or [],
        lungs=config["template"]["start_lungs"] or [],
    output:
        folder=intermediate("template/iter0/mean"),
    log:
        results("logs/start_template.log"),
    benchmark:
        results("benchmarks/start_template.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(10),
    params:
        config={
            "padding_mm": config["template"]["padding_mm"],
            "spacing_mm": config["resample"]["spacing_mm"],
            "margin_mm": config["resample"]["margin_mm"],
        },
        results=results_folder,
        code=stamp("lungtypes.imaging.template_files", script="start_template.py"),
    script:
        "../../scripts/start_template.py"


rule register_template_slot:
    input:
        sample=SAMPLE,
        scans=TEMPLATE_SCANS,
        mean=previous_mean,
    output:
        folder=intermediate("template/iter{iteration}/slot{slot}"),
    log:
        results("logs/register_template_slot/iter{iteration}_slot{slot}.log"),
    benchmark:
        results("benchmarks/register_template_slot/iter{iteration}_slot{slot}.tsv")
    conda:
        ENVIRONMENT
    threads: job_threads("itk_threads")
    resources:
        mem_mb=registration_mb,
        runtime=registration_minutes,
    params:
        config=settings(
            "seed",
            "itk_threads",
            register={
                **config["register"],
                "representation": config["template"]["representation"],
                "iterations": config["template"]["iterations"],
                "checks": gates(config["register"]["checks"]),
            },
        ),
        results=results_folder,
        code=stamp(
            "lungtypes.imaging.registration_files", script="register_template_slot.py"
        ),
    script:
        "../../scripts/register_template_slot.py"


rule update_template:
    input:
        mean=previous_mean,
        slots=lambda wildcards: expand(
            TEMPLATE_SLOT, iteration=wildcards.iteration, slot=range(N_SLOTS)
        ),
    output:
        folder=intermediate("template/iter{iteration}/mean"),
    log:
        results("logs/update_template/iter{iteration}.log"),
    benchmark:
        results("benchmarks/update_template/iter{iteration}.tsv")
    # Not that of start_template: a job of a cluster knows its own rule only, and would look for iteration -1.
    wildcard_constraints:
        iteration=r"[1-9]\d*",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(8000),
        runtime=by_attempt(60),
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
        **TEMPLATE_REGIONS,
        sd=results("template/sd.nii.gz"),
    log:
        results("logs/finish_template.log"),
    benchmark:
        results("benchmarks/finish_template.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(10),
    params:
        config={"max_iterations": LAST_ITERATION},
        results=results_folder,
        code=stamp("lungtypes.imaging.zones", script="finish_template.py"),
    script:
        "../../scripts/finish_template.py"
