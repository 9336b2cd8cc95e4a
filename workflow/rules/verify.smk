# Is every product what its job wrote? Reads records and results only. No input, so that it makes nothing; neither output
# nor benchmark, since a rule with one of them would not run a second time.
rule verify:
    log:
        results("logs/verify.log"),
    conda:
        ENVIRONMENT
    threads: 8
    resources:
        mem_mb=2000,
        runtime=600,
    params:
        config={
            "manifest": config["verify"]["manifest"],
            "keep": config["keep"],
            "temporary": INTERMEDIATES,
        },
        results=results_folder,
        codes=codes_of_rules,
    script:
        "../../scripts/verify_results.py"
