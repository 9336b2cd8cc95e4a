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
    "groups": results("{method}/further_group_maps.tsv"),
}


rule compare_maps:
    input:
        unpack(scans_of_method),
        template_array=COHORT_ARRAY[0],
        template_description=COHORT_ARRAY[1],
        registered=expand(REGISTERED, subject=SUBJECTS),
        model=results("{method}/model.safetensors"),
        settings=results("{method}/model.json"),
        assignment=results("{method}/assignment.tsv"),
        embedding=results("{method}/embedding.tsv"),
        mask=TEMPLATE["mask"],
    output:
        **{name: directory(path) for name, path in FURTHER_MAPS.items()},
        **MAP_TABLES,
    log:
        results("logs/compare_maps/{method}.log"),
    benchmark:
        results("benchmarks/compare_maps/{method}.tsv")
    wildcard_constraints:
        method=f"clam|{DCAM_METHODS}",
    conda:
        ENVIRONMENT
    threads: config["torch_threads"]
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=720,
    params:
        config={
            **{
                k: config[k]
                for k in ("maps", "seed", "device", "torch_threads", "itk_threads")
            },
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
