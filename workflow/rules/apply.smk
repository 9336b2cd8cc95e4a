# Files of the user's own, brought to the template or to a scan by the scan's registration (config/apply.tsv).
APPLIED = results("applied/{subject}")


rule apply_transforms:
    input:
        registered=REGISTERED,
        lungs=LUNGS,
        template=TEMPLATE["template"],
        files=own_files_to_apply,
    output:
        folder=directory(APPLIED),
    log:
        results("logs/apply_transforms/{subject}.log"),
    benchmark:
        results("benchmarks/apply_transforms/{subject}.tsv")
    conda:
        ENVIRONMENT
    threads: job_threads("itk_threads")
    resources:
        mem_mb=by_attempt(4000),
        runtime=by_attempt(20),
    params:
        config=rows_to_apply,
        files=files_to_apply,  # which name has which file
        results=results_folder,
        code=stamp("lungtypes.imaging.apply_files", script="apply_transforms.py"),
    script:
        "../../scripts/apply_transforms.py"
