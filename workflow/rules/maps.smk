# Maps beside the published ones, for every clustering method, and how faithful each of them is. Nothing later needs
# them but the report.
FURTHER_MAPS = {
    **{
        kind: results(f"{{method}}/maps/{kind}")
        for kind in [*config["maps"]["kinds"], "occlusion"]
    },
    "group_maps": results("{method}/further_group_maps"),
}
MAP_TABLES = {
    "table": results("{method}/faithfulness.tsv"),
    "summary": results("{method}/faithfulness_summary.tsv"),
    "randomised": results("{method}/map_randomisation.tsv"),
    "located": results("{method}/localisation.tsv"),
    "located_summary": results("{method}/localisation_summary.tsv"),
    "groups": results("{method}/further_group_maps.tsv"),
}


rule compare_maps:
    input:
        unpack(scans_of_method),
        template_array=COHORT_ARRAY[0],
        template_description=COHORT_ARRAY[1],
        registered=expand(REGISTERED, subject=SUBJECTS),
        lesions=GIVEN_LESIONS,
        model=results("{method}/model.safetensors"),
        settings=results("{method}/model.json"),
        assignment=results("{method}/assignment.tsv"),
        embedding=results("{method}/embedding.tsv"),
        mask=TEMPLATE["mask"],
    output:
        **{name: directory(path) for name, path in FURTHER_MAPS.items()},
        **shown(MAP_TABLES, "Maps", summary="faithfulness"),
    log:
        results("logs/compare_maps/{method}.log"),
    benchmark:
        results("benchmarks/compare_maps/{method}.tsv")
    wildcard_constraints:
        method=f"clam|{DCAM_METHODS}",
    conda:
        ENVIRONMENT
    threads: job_threads("torch_threads")
    resources:
        gpu=1,
        mem_mb=by_attempt(8000),
        runtime=by_attempt(720),
    params:
        config={
            **settings("maps", "seed", "device", "torch_threads", "itk_threads"),
            "published": {
                "chunk": config["clam"]["map"]["chunk_channels"],
                "correct_shift": config["clam"]["map"]["correct_shift"],
            },
            "subjects": SUBJECTS,
            "controls": CONTROLS,
        },
        results=results_folder,
        code=stamp("lungtypes.methods.map_stages", script="compare_maps.py"),
    script:
        "../../scripts/compare_maps.py"
