"""What Snakemake plans, refuses and says, without running anything."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GPU_RULES = {"pretrain_clam", "cluster_clam", "refit_clam", "map_clam"}
GPU_RULES |= {"embed_dcam_start", "train_dcam", "refit_dcam", "map_dcam", "train_dram", "segment_dram"}
GPU_RULES |= {"compare_maps", "freeze_models"}


def plan(study, *arguments):
    return study.snakemake("-n", *arguments, "--quiet", "host").stdout


def test_bare_run_plans_the_whole_way(planned):
    text = plan(planned)
    for rule in ("ingest_scan", "register_scan", "cluster_clam", "map_clam", "associate_outcomes", "write_report"):
        assert re.search(rf"^{rule} +\d+$", text, re.M), rule
    assert re.search(r"^ingest_scan +9$", text, re.M)


@pytest.mark.parametrize(
    ("stage", "present", "absent"),
    [
        ("ingest", "collect_series", "segment_lungs"),
        ("lungs", "collect_densitometry", "resample_scan"),
        ("resample", "resample_scan", "register_scan"),
        ("template", "finish_template", "register_scan"),
        ("register", "collect_attrition", "build_cohort_array"),
        ("volumes", "build_cohort_array", "pretrain_clam"),
        ("clam", "map_clam", "evaluate_clusters"),
        ("dcam", "map_dcam", "evaluate_clusters"),
        ("dram", "evaluate_dram", "register_scan"),
        ("freeze", "freeze_models", "map_clam"),
        ("evaluate", "evaluate_clusters", "associate_outcomes"),
        ("associate", "associate_outcomes", "write_report"),
        ("report", "write_subject_pages", "write_paper"),
        ("paper", "write_paper", "write_report"),
    ],
)
def test_every_stage_is_a_target(planned, stage, present, absent):
    text = plan(planned, stage)
    assert present in text and absent not in text


def test_scans_of_the_template_are_kept_until_it_is_done(planned):
    """`keep: results` deletes resampled scans after use; the template's jobs read copies that they name as inputs."""
    text = planned.snakemake("-n", "template", "--config", "keep=results").stdout
    for rule in ("start_template", "register_template_slot"):
        jobs = re.findall(rf"^rule {rule}:\n    input: (.*)$", text, re.M)
        assert jobs and all("template/scans" in inputs for inputs in jobs)


@pytest.mark.parametrize("target", ["clam", "results/dcam/maps/dcam", "results/dcam-encoder/seeds/1.tsv"])
def test_clustering_never_sees_outcomes_reference_or_lesions(planned, target):
    text = planned.snakemake("-n", target).stdout
    inputs = "\n".join(re.findall(r"^    input: (.*)$", text, re.M))
    assert "dicom" in inputs
    assert not [name for name in ("clinical.tsv", "truth", "lobe_scores.tsv", "lesions") if name in inputs]


def test_lesion_maps_are_learnt_from_the_lesion_table_and_masks_by_the_supervised_network_alone(planned):
    readers = {}
    for method in ("dram", "dram-cam", "dram-supervised"):
        text = planned.snakemake("-n", f"results/{method}/phenotype.tsv").stdout
        inputs = dict(re.findall(r"^rule (\w+):\n    input: (.*)$", text, re.M))
        for name in ("clinical.tsv", "truth", "lobe_scores.tsv", "regions_lesions.npy"):
            readers[method, name] = {rule for rule, files in inputs.items() if name in files}
    for method in ("dram", "dram-cam", "dram-supervised"):
        assert readers[method, "clinical.tsv"] == readers[method, "truth"] == set()
        assert readers[method, "lobe_scores.tsv"] == {"train_dram", "segment_dram"}
        masks = {"train_dram"} if method == "dram-supervised" else set()
        assert readers[method, "regions_lesions.npy"] == masks


def test_only_the_supervised_network_sees_the_reference(planned):
    text = planned.snakemake("-n", "results/dcam-supervised/assignment.tsv").stdout
    inputs = dict(re.findall(r"^rule (\w+):\n    input: (.*)$", text, re.M))
    assert {rule for rule, files in inputs.items() if "truth/subjects.tsv" in files} == {
        "choose_dcam_clusters",
        "train_dcam",
    }


def test_every_job_has_log_benchmark_and_memory(planned):
    text = planned.snakemake("-n").stdout
    jobs = [j for j in re.split(r"\n\n(?=\[)|\n(?=\[)", text) if re.search(r"^rule (?!all|report)", j, re.M)]
    assert len(jobs) > 20
    for job in jobs:
        assert "log:" in job and "benchmark:" in job and "mem_mb" in job, job


def test_gpu_rules_ask_for_one_gpu_and_only_they(planned):
    text = planned.snakemake("-n", "all", "freeze").stdout
    with_gpu = set()
    for job in re.split(r"\n(?=\[)", text):
        name = re.search(r"^rule (\w+):", job, re.M)
        if name and re.search(r"resources:.*\bgpu=1\b", job):
            with_gpu.add(name[1])
    assert with_gpu == GPU_RULES


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("cores=2", "1"),
        ("cores=2, resources={'gpu': 2}", "2"),
        ("nodes=50", "None"),  # a cluster: its own queue holds the GPU jobs
    ],
)
def test_one_gpu_job_at_a_time_here_unless_told_and_no_limit_on_a_cluster(planned, settings, expected):
    code = (
        "import sys; from pathlib import Path\n"
        "from snakemake.api import ConfigSettings, ResourceSettings, SnakemakeApi\n"
        "from snakemake.settings.types import OutputSettings\n"
        "with SnakemakeApi(OutputSettings(quiet={'all'})) as api:\n"
        f"    resources = ResourceSettings({settings})\n"
        "    config = ConfigSettings(configfiles=[Path('study.yaml')])\n"
        "    flow = api.workflow(resource_settings=resources, config_settings=config, snakefile=Path(sys.argv[1]))\n"
        "    found = flow._workflow.global_resources.get('gpu')\n"
        "print('gpu', getattr(found, 'value', None))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "Snakefile")], cwd=planned.folder, text=True, capture_output=True
    )
    assert f"gpu {expected}" in done.stdout, done.stdout + done.stderr


def test_untouched_template_sheet_says_what_to_do():
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n"], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode != 0
    assert "config/subjects.tsv holds no scans yet" in done.stdout and "make demo" in done.stdout


def test_unknown_config_key_is_refused_with_the_nearest_one(planned):
    done = planned.snakemake("-n", "--config", "devise=cpu", check=False)
    assert done.returncode != 0 and "Did you mean device?" in done.stdout


def test_config_on_the_command_line_is_heard(planned):
    assert "other/ingest" in planned.snakemake("-n", "ingest", "--config", "results=other").stdout


def test_workflow_passes_snakemakes_lint(planned):
    done = planned.snakemake("--lint")
    assert "Congratulations" in done.stdout or not re.search(r"^Lints for", done.stdout, re.M), done.stdout[-3000:]


def test_rule_files_import_neither_torch_nor_simpleitk(planned):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import lungtypes.cohort.config, lungtypes.cohort.sampling, lungtypes.cohort.sheet, lungtypes.provenance\n"
        "bad = {'torch', 'SimpleITK', 'ants', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(repr(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code, str(ROOT / "scripts")], check=True)


def test_methods_and_phantom_arrays_need_no_imaging_libraries():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import lungtypes.methods.clam_stages, lungtypes.methods.clam_maps, lungtypes.maps.group_maps\n"
        "import lungtypes.evaluation.evaluate, lungtypes.evaluation.choose_k, lungtypes.phantom.scan\n"
        "import lungtypes.evaluation.confounders, lungtypes.evaluation.refits, lungtypes.evaluation.common_space\n"
        "import lungtypes.methods.dcam_stages, lungtypes.methods.dcam_maps, lungtypes.phantom.emphysema\n"
        "import lungtypes.methods.dram_training, lungtypes.methods.dram_stages, lungtypes.cohort.lesion_table\n"
        "import lungtypes.methods.frozen_stages\n"
        "bad = {'SimpleITK', 'ants', 'pydicom', 'matplotlib', 'statsmodels'} & set(sys.modules)\n"
        "sys.exit(repr(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code, str(ROOT / "scripts")], check=True)
