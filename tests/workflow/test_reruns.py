"""What runs again after a change, and what does not. Plans only; the killed run at the end is real."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DRAFT = ("import numpy as np", "import numpy as np\n\nDRAFT = 1")
DCAM = {"embed_dcam_start": 2, "choose_dcam_clusters": 2, "train_dcam": 2, "refit_dcam": 2, "map_dcam": 2}
DCAM |= {"compare_maps": 3, "evaluate_clusters": 2, "audit_confounders": 2, "associate_outcomes": 2}
PAGES = {"write_report": 1, "write_subject_pages": 1}
AFTER_MAPS = {"associate_outcomes": 3} | PAGES
DRAM = {"segment_dram": 2, "evaluate_dram": 2, "associate_phenotype": 2} | PAGES
COHORT_AND_AFTER = {"build_cohort_array", "pretrain_clam", "cluster_clam", "map_clam", "write_report"}


@pytest.fixture
def clone(finished, tmp_path):
    """The finished study seen from a fresh copy of the repository, whose files are all newer than the results."""
    for name in ("Snakefile", "workflow", "scripts", "config", "profiles", "envs"):
        source = ROOT / name
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, tmp_path / name, ignore=ignore) if source.is_dir() else shutil.copy(source, tmp_path)
    for path in tmp_path.rglob("*.py"):
        os.utime(path)
    return type(finished)(finished.folder, tmp_path / "Snakefile")


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.fixture
def sheet(finished):
    """The study's sheet, put back after the test."""
    path = finished.folder / "demo/subjects.tsv"
    before = path.read_bytes()
    yield path
    path.write_bytes(before)


def set_cell(path, line, column, value):
    rows = [row.split("\t") for row in path.read_text().splitlines()]
    if column not in rows[0]:
        rows = [[*rows[0], column], *[[*row, ""] for row in rows[1:]]]
    rows[line - 1][rows[0].index(column)] = value
    path.write_text("\n".join("\t".join(row) for row in rows) + "\n")
    return rows[line - 1][rows[0].index("subject")]


def test_fresh_clone_and_touched_files_rerun_nothing(clone):
    assert clone.planned() == {}


def test_comments_and_docstrings_rerun_nothing(clone):
    module = clone.snakefile.parent / "scripts/lungtypes/imaging/geometry.py"
    edit(module, "TOLERANCE = 1e-4\n", "# why not\nTOLERANCE = 1e-4\n")
    edit(module, '"""Arrays that travel', '"""All arrays that travel')
    assert clone.planned() == {}


@pytest.mark.parametrize(
    ("module", "old", "new", "expected"),
    [
        (
            "imaging/densitometry.py",
            "HIGH_ATTENUATION_HU = (-600.0",
            "HIGH_ATTENUATION_HU = (-601.0",
            {"measure_densitometry": 9, "collect_densitometry": 1, "collect_attrition": 1}
            | {"audit_confounders": 3, "associate_outcomes": 3}
            | PAGES,
        ),
        ("maps/group_maps.py", *DRAFT, {"map_clam": 1, "map_dcam": 2, "compare_maps": 3} | AFTER_MAPS),
        ("maps/attribution.py", *DRAFT, {"map_clam": 1, "map_dcam": 2, "compare_maps": 3} | AFTER_MAPS),
        ("maps/faithfulness.py", *DRAFT, {"compare_maps": 3} | PAGES),
        ("association/models.py", *DRAFT, {"associate_outcomes": 3, "associate_phenotype": 2, "write_report": 1}),
        ("methods/dram_maps.py", *DRAFT, DRAM),
        ("methods/dram_targets.py", *DRAFT, {"train_dram": 2} | DRAM),
        ("methods/deep_cluster.py", *DRAFT, DCAM | PAGES),
        ("cohort/reasons.py", "Mend the path in", "Mend it in", {"collect_attrition": 1} | PAGES),
        ("report/page.html.j2", "<head>", "<head><!-- x -->", PAGES),
    ],
)
def test_library_edit_reruns_exactly_the_rules_that_use_it(clone, module, old, new, expected):
    edit(clone.snakefile.parent / "scripts/lungtypes" / module, old, new)
    assert clone.planned() == {**expected, "all": 1}


def test_swapped_config_values_rerun(finished):
    assert finished.planned("ingest", "--config", "ingest={min_slices: 200, min_coverage_mm: 30.0}")["ingest_scan"] == 9


def test_another_rule_for_lesion_masks_trains_nothing(finished):
    planned = finished.planned("dram", "--config", "dram={mask: {rule: half}}")
    assert planned == {"segment_dram": 2, "evaluate_dram": 2, "dram": 1}


@pytest.fixture
def learnt(fake):
    """Maps of dRAM that count as made, of empty files: S00001 has a lesion mask, S00002 is held out."""
    rows = [row.split("\t") for row in (fake.folder / "config/subjects.tsv").read_text().splitlines()]
    more = {"subject": ["split", "lesions"], "S00001": ["", "m.nii.gz"], "S00002": ["test", ""]}
    rows = [row + more.get(row[0], ["", ""]) for row in rows]
    (fake.folder / "config/subjects.tsv").write_text("\n".join("\t".join(row) for row in rows) + "\n")
    scores = "subject\tregion\tpercent\nS00001\tleft_upper_zone\t10\nS00002\tleft_upper_zone\t20\n"
    (fake.folder / "scores.tsv").write_text(scores)
    dram = {"methods": ["dram", "dram-supervised"], "table": "scores.tsv"}
    (fake.folder / "study.yaml").write_text(yaml.safe_dump({"dram": dram}))
    (fake.folder / "m.nii.gz").touch()
    files = [f"cohort/regions{end}" for end in (".npy", "_labels.npy", ".json", "_lesions.npy", "_lesions.json")]
    folders = ["lesions/S00001"]
    for method in dram["methods"]:
        names = ("model.safetensors", "model.json", "history.tsv", "phenotype.tsv", "percentages.tsv")
        files += [f"{method}/{name}" for name in names]
        files += [f"evaluation/{method}_{name}.tsv" for name in ("percentages", "dice")]
        folders += [f"{method}/maps/{method}", f"{method}/maps/{method}-lesions"]
    for folder in folders:
        (fake.results / folder).mkdir(parents=True)
    for file in files:
        (fake.results / file).parent.mkdir(parents=True, exist_ok=True)
        (fake.results / file).touch()
    fake.snakemake("dram", "--touch", "--forcerun", "train_dram", "--cores", "1")
    assert fake.planned("dram") == {}
    return fake


def test_only_rows_of_training_scans_in_the_lesion_table_train_anew(learnt):
    after = {"segment_dram": 2, "evaluate_dram": 2, "dram": 1}
    edit(learnt.folder / "scores.tsv", "S00002\tleft_upper_zone\t20", "S00002\tleft_upper_zone\t21")
    assert learnt.planned("dram") == after
    edit(learnt.folder / "scores.tsv", "S00001\tleft_upper_zone\t10", "S00001\tleft_upper_zone\t11")
    assert learnt.planned("dram") == {"train_dram": 2, **after}


def test_lesion_masks_train_the_supervised_network_alone(learnt):
    (learnt.results / "cohort/regions_lesions.npy").write_text("another mask")
    assert learnt.planned("dram") == {"train_dram": 1, "segment_dram": 1, "evaluate_dram": 2, "dram": 1}


def test_edited_row_reruns_that_subject_and_what_depends_on_the_cohort(finished, sheet):
    set_cell(sheet, 3, "series", "2")
    planned = finished.planned()
    assert {planned[name] for name in ("ingest_scan", "segment_lungs", "resample_scan", "measure_densitometry")} == {1}
    assert set(planned) >= COHORT_AND_AFTER | {"collect_series", "collect_attrition"}


def test_edited_number_of_the_sheet_is_seen_and_reruns_only_what_reads_it(finished, sheet):
    set_cell(sheet, 3, "split", "test")
    assert "ingest_scan" not in finished.planned() and set(finished.planned()) >= COHORT_AND_AFTER
    sheet.write_text(sheet.read_text())
    set_cell(sheet, 3, "split", "")
    set_cell(sheet, 3, "control", "1")
    assert finished.planned() == {"compare_maps": 3, "all": 1} | PAGES


def test_edited_number_of_the_clinical_table_reruns_the_statistics_only(finished):
    path = finished.folder / "demo/clinical.tsv"
    before = path.read_text()
    rows = [row.split("\t") for row in before.splitlines()]
    column = rows[0].index("age")
    rows[2][column] = str(float(rows[2][column]) + 1)
    try:
        path.write_text("\n".join("\t".join(row) for row in rows) + "\n")
        planned = finished.planned()
        assert set(planned) - {"all"} == {"associate_outcomes", "associate_phenotype", "write_report"}
    finally:
        path.write_text(before)


def test_decision_reruns_that_subject_from_its_stage_on(finished):
    config = finished.folder / "config"
    config.mkdir(exist_ok=True)
    decisions = config / "decisions.tsv"
    subject = finished.folder.joinpath("demo/subjects.tsv").read_text().splitlines()[1].split("\t")[0]
    try:
        decisions.write_text(f"subject\tstage\tdecision\tby\treason\n{subject}\tregister\texclude\tAB\tmoved\n")
        planned = finished.planned()
    finally:
        decisions.unlink()
    assert planned["register_scan"] == 1 and "resample_scan" not in planned and "start_template" not in planned
    assert set(planned) >= COHORT_AND_AFTER


def test_frozen_template_takes_a_new_scan_without_moving_the_old_ones(finished, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(finished.folder, folder, symlinks=True)
    study = type(finished)(folder)
    rows = (folder / "demo/subjects.tsv").read_text().splitlines()
    source = dict(zip(rows[0].split("\t"), rows[1].split("\t"), strict=True))
    shutil.copytree(folder / source["path"], folder / "demo/dicom/again")
    new = {**source, "subject": "S999", "path": "demo/dicom/again"}.values()
    (folder / "demo/subjects.tsv").write_text("\n".join([*rows, "\t".join(new)]) + "\n")
    truth = folder / "demo/truth/subjects.tsv"  # dcam-supervised learns from it: every training scan has a label
    labels = truth.read_text().splitlines()
    own = next(line for line in labels if line.startswith(f"{source['subject']}\t"))
    truth.write_text("\n".join([*labels, own.replace(source["subject"], "S999", 1)]) + "\n")
    text = study.snakemake("-n", "register", "--config", "associate={unmatched: allow}").stdout
    assert "1 added, 0 removed: S999" in text and "template: {frozen: true}" in text
    assert study.planned("register", "--config", "associate={unmatched: allow}")["register_scan"] == 10

    frozen = ["--config", "associate={unmatched: allow}", "template={frozen: true}"]
    before = {p: p.read_bytes() for p in (folder / "results/registered").rglob("*") if p.is_file()}
    before |= {p: p.read_bytes() for p in (folder / "results/template").glob("*.nii.gz")}
    text = study.snakemake("register", "--cores", "2", *frozen).stdout
    assert "the template is frozen: 1 new scans will be registered to it (S999)" in text
    assert (folder / "results/registered/S999/warp.nii.gz").exists()
    assert all(path.read_bytes() == content for path, content in before.items())
    attrition = (folder / "results/cohort/attrition.tsv").read_text()
    assert attrition.splitlines()[-1].startswith("S999\tregister\tanalysed")


def test_killed_run_explains_its_lock_and_resumes_without_redoing_finished_work(planned, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(planned.folder, folder, ignore=shutil.ignore_patterns(".snakemake", "results"))
    study = type(planned)(folder)
    with open(tmp_path / "out", "w") as out:
        run = subprocess.Popen(
            study.command("ingest", "--cores", "2"), cwd=folder, stdout=out, stderr=out, start_new_session=True
        )
        done = folder / "results/ingest"
        while run.poll() is None and len(list(done.glob("S*/status.json"))) < 3:
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    finished = {p: p.stat().st_mtime_ns for p in done.glob("S*/status.json")}
    assert 3 <= len(finished) < 9
    refused = study.snakemake("ingest", "--cores", "2", check=False)
    assert refused.returncode != 0
    assert "this folder is locked" in refused.stdout and "snakemake --unlock" in refused.stdout
    study.snakemake("--unlock")
    study.snakemake("ingest", "--cores", "2")
    assert len(list(done.glob("S*/status.json"))) == 9 and not list(done.glob(".part-*"))
    redone = [p for p, stamp in finished.items() if p.stat().st_mtime_ns != stamp]
    assert len(redone) <= 2  # the jobs that had written their folder and had not been entered as finished


def test_no_two_gpu_jobs_at_once_unless_allowed(tmp_path):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"subjects": "subjects.tsv", "clinical": ""}))
    for number in range(3):
        (tmp_path / f"{number}.nii.gz").touch()
    rows = "".join(f"S{n}\t{n}.nii.gz\n" for n in range(3))
    (tmp_path / "subjects.tsv").write_text(f"subject\tpath\n{rows}")
    (tmp_path / "Snakefile").write_text(
        f"include: {str(ROOT / 'workflow/rules/common.smk')!r}\n"
        "rule ends:\n    default_target: True\n    input: expand('{n}.end', n=range(4))\n"
        "rule work:\n    output: '{n}.end'\n    resources: gpu=1\n"
        "    shell: 'date +%s%N > {wildcards.n}.start; sleep 1; date +%s%N > {output}'\n"
    )

    def most_at_once(*arguments):
        for path in [*tmp_path.glob("*.start"), *tmp_path.glob("*.end")]:
            path.unlink()
        command = ["snakemake", "--cores", "4", *arguments, "--configfile", "study.yaml"]
        subprocess.run([os.sys.executable, "-m", *command], cwd=tmp_path, check=True, capture_output=True, text=True)
        spans = [(int(p.read_text()), int(p.with_suffix(".end").read_text())) for p in tmp_path.glob("*.start")]
        assert len(spans) == 4
        return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)

    assert most_at_once() == 1
    assert most_at_once("--resources", "gpu=2") == 2
