# The simulation study of the CLAM paper: each scenario with each seed is a job; no scan is needed.
LUNG_SLICE = results("simulation/lung")
SIMULATED = results("simulation/scenarios/{scenario}/seed{seed}")
SIMULATION = {
    "page": results("simulation/index.html"),
    "fits": results("simulation/fits.tsv"),
    "claims": results("simulation/claims.tsv"),
    "tests": results("simulation/tests.tsv"),
    "figures": results("simulation/figures"),
}


rule draw_lung_slice:
    input:
        given=given_slice,
    output:
        lung=directory(LUNG_SLICE),
    log:
        results("logs/draw_lung_slice.log"),
    benchmark:
        results("benchmarks/draw_lung_slice.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(30),
    params:
        config={
            **{k: config["simulation"][k] for k in ("size", "spacing_mm", "people")},
            "seed": config["seed"],
        },
        results=results_folder,
        code=stamp("lungtypes.phantom.lung_slices", script="draw_lung_slice.py"),
    script:
        "../../scripts/draw_lung_slice.py"


rule simulate_scenario:
    input:
        lung=LUNG_SLICE,
    output:
        folder=directory(SIMULATED),
    log:
        results("logs/simulate_scenario/{scenario}-{seed}.log"),
    benchmark:
        results("benchmarks/simulate_scenario/{scenario}-{seed}.tsv")
    conda:
        ENVIRONMENT
    threads: job_threads("torch_threads")
    resources:
        gpu=1,
        mem_mb=by_attempt(4000),
        runtime=by_attempt(1440),
    params:
        config={
            "study": {
                k: config["simulation"][k]
                for k in ("subjects", "strides", "fitted", "lesions")
            },
            "method": {
                **{
                    k: config["clam"][k]
                    for k in (
                        "window_hu",
                        "background",
                        "filters",
                        "latent",
                        "slope",
                        "output",
                        "loss",
                        "batch",
                        "pretrain",
                        "cluster",
                    )
                },
                "k": {
                    k: v for k, v in config["clam"]["k"].items() if k != "n_clusters"
                },
                "map": {
                    k: config["clam"]["map"][k]
                    for k in ("chunk_channels", "correct_shift")
                },
            },
            **settings("device", "torch_threads"),
        },
        results=results_folder,
        code=stamp("lungtypes.phantom.simulation", script="simulate_scenario.py"),
    script:
        "../../scripts/simulate_scenario.py"


rule summarise_simulation:
    input:
        expand(
            SIMULATED,
            scenario=config["simulation"]["scenarios"],
            seed=config["simulation"]["seeds"],
        ),
    output:
        **{k: v for k, v in SIMULATION.items() if k != "figures"},
        figures=directory(SIMULATION["figures"]),
    log:
        results("logs/summarise_simulation.log"),
    benchmark:
        results("benchmarks/summarise_simulation.tsv")
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=by_attempt(2000),
        runtime=by_attempt(30),
    params:
        config={
            **{
                k: v
                for k, v in config["simulation"].items()
                if k not in ("image", "lungs")
            },
            "template": "given" if config["simulation"]["image"] else "synthetic",
            **{
                k: config["clam"][k]
                for k in (
                    "filters",
                    "latent",
                    "background",
                    "window_hu",
                    "batch",
                    "loss",
                    "pretrain",
                    "cluster",
                )
            },
        },
        results=results_folder,
        code=stamp(
            "lungtypes.report.simulation.page",
            script="summarise_simulation.py",
            texts=PAGE_TEXTS,
        ),
    script:
        "../../scripts/summarise_simulation.py"
