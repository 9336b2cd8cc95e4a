"""New scans by a frozen model: what is planned and refused, and a training scan that comes again as DICOM."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from lungtypes.cohort.config import typed
from lungtypes.cohort.frozen import TEMPLATE_FILES, frozen_settings, write_manifest

ROOT = Path(__file__).resolve().parents[2]
LEARNING = {"select_template_sample", "finish_template", "build_cohort_array", "build_native_array", "pretrain_clam"}
LEARNING |= {"cluster_clam", "train_dcam", "refit_clam", "map_clam", "evaluate_clusters", "associate_outcomes"}


def table(path):
    return pd.read_csv(path, sep="\t", keep_default_na=False, dtype={"subject": str})


def frozen_of_empty_files(folder, **changes):
    """A frozen folder that is complete as far as a plan can see; ``changes`` of config.yaml's sections."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    for section, values in changes.items():
        config[section] |= values
    spaces = {"clam": "template", "dcam": "native"}
    names = [*TEMPLATE_FILES, "imaging.json"]
    names += [f"{m}/{name}" for m in spaces for name in ("model.safetensors", "model.json", "reference.json")]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    methods = {m: {"k": 2, "flag": "", "classes": None, "space": space} for m, space in spaces.items()}
    write_manifest(folder, settings=frozen_settings(config), methods=methods)
    return folder


@pytest.fixture
def assigning(fake):
    """Twelve new scans and a frozen folder, both of empty files."""
    frozen_of_empty_files(fake.folder / "frozen", resample={"spacing_mm": 2.5}, clam={"strides": [2, 2, 1]})
    config = {"results": "new", "clinical": "", "assign": {"frozen": "frozen"}, "resample": {"spacing_mm": 9.0}}
    (fake.folder / "study.yaml").write_text(yaml.safe_dump(config))
    return fake


def test_freeze_plans_every_model_and_nothing_after_them(planned):
    found = planned.planned("freeze")
    assert found["freeze_models"] == 1 and found["cluster_clam"] == 1 and found["train_dcam"] == 2
    assert not {"map_clam", "map_dcam", "evaluate_clusters", "write_report"} & set(found)


def test_freeze_needs_a_method(fake):
    done = fake.snakemake("-n", "freeze", "--config", "clam={enabled: false}", check=False)
    assert done.returncode != 0 and "There is nothing to freeze" in done.stdout


def test_assign_plans_the_way_of_each_scan_and_learns_nothing(assigning):
    found = assigning.planned("assign")
    wanted = {"ingest_scan": 12, "segment_lungs": 12, "resample_scan": 12, "register_scan": 12, "draw_quality": 12}
    wanted |= {"adopt_template": 1, "assign_scans": 2, "collect_attrition": 1}
    assert {name: found.get(name) for name in wanted} == wanted and not LEARNING & set(found)
    assert assigning.planned() == {**{k: v for k, v in found.items() if k != "assign"}, "all": 1}


def test_only_models_of_native_space_ask_for_resampled_scans_and_all_for_a_gpu(assigning):
    text = assigning.snakemake("-n", "new/assigned/clam.tsv").stdout
    assert "frozen/clam/model.safetensors" in text and "frozen/template.nii.gz" in text
    job = next(job for job in re.split(r"\n(?=\[)", text) if "rule assign_scans:" in job)
    assert re.search(r"resources:.*\bgpu=1\b", job) and "new/resampled" not in job
    assert "new/resampled/S00001" in assigning.snakemake("-n", "new/assigned/dcam.tsv").stdout


@pytest.mark.parametrize("target", ["clam", "report", "new/dcam/model.json"])
def test_nothing_can_be_learnt_beside_a_frozen_model(assigning, target):
    done = assigning.snakemake("-n", target, check=False)
    assert done.returncode != 0 and ("take assign.frozen out" in done.stdout or "There is nothing to" in done.stdout)


def test_one_new_scan_is_enough(assigning):
    sheet = assigning.folder / "config/subjects.tsv"
    sheet.write_text("\n".join(sheet.read_text().splitlines()[:2]) + "\n")
    assert assigning.planned("assign")["register_scan"] == 1


def test_a_method_that_was_not_frozen_is_named(assigning):
    done = assigning.snakemake("-n", "new/assigned/dcam-encoder.tsv", check=False)
    assert done.returncode != 0 and "found no model of dcam-encoder, expected clam or dcam" in done.stdout


def test_assign_without_a_frozen_model_says_how_to_make_one(fake):
    done = fake.snakemake("-n", "assign", check=False)
    assert done.returncode != 0 and "assign.frozen is empty" in done.stdout and "snakemake freeze" in done.stdout


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: shutil.rmtree(folder), "without manifest.json"),
        (lambda folder: (folder / "dcam/model.json").write_text("{}"), "frozen/dcam/model.json: found SHA-256"),
    ],
)
def test_a_missing_or_edited_folder_is_refused_before_anything_runs(assigning, harm, words):
    harm(assigning.folder / "frozen")
    done = assigning.snakemake("-n", "assign", check=False)
    assert done.returncode != 0 and words in done.stdout and "snakemake freeze" in done.stdout
    assert "ingest_scan" not in done.stdout


def test_the_config_file_that_comes_along_fits_the_schema():
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    own = yaml.safe_load((ROOT / "config/assign.yaml").read_text())
    assert set(own) <= set(schema["properties"]) and typed(own, schema) == own and own["assign"]["frozen"]


@pytest.fixture(scope="module")
def assigned(finished, tmp_path_factory):
    """The finished study frozen, a copy of the folder elsewhere, and two scans of it assigned, one of them corrupt."""
    finished.snakemake("freeze", "--cores", "1", "--quiet", "all")
    folder = tmp_path_factory.mktemp("assigned")
    shutil.copytree(finished.results / "frozen", folder / "bundle")
    sheet = table(finished.folder / "demo/subjects.tsv")
    truth = table(finished.folder / "demo/truth/subjects.tsv").set_index("subject")
    corrupt = truth.corrupt[sheet.subject].astype(int).to_numpy()
    two = sheet.iloc[[int(np.flatnonzero(corrupt == 1)[0]), int(np.flatnonzero(corrupt == 0)[0])]].copy()
    for name in ("path", "lobes"):
        two[name] = [str(finished.folder / path) if path else "" for path in two[name]]
    two.assign(lesions="").to_csv(folder / "new.tsv", sep="\t", index=False)
    config = {"results": "new", "subjects": "new.tsv", "clinical": "", "assign": {"frozen": "bundle"}}
    (folder / "study.yaml").write_text(yaml.safe_dump(config | {"torch_threads": 1}))
    study = type(finished)(folder)
    study.results = folder / "new"
    targets = [f"new/assigned/{method}.tsv" for method in ("clam", "dcam", "dcam-supervised")]
    study.log = study.snakemake(*targets, "new/cohort/attrition.tsv", "--cores", "1", "--quiet", "all").stdout
    return study


@pytest.mark.parametrize("method", ["clam", "dcam", "dcam-supervised"])
def test_training_scan_comes_out_as_it_was_and_the_corrupt_one_is_listed(finished, assigned, method):
    bad, good = assigned_rows = table(assigned.folder / "new.tsv").subject.tolist()
    found = table(assigned.results / f"assigned/{method}.tsv")
    assert found.subject.tolist() == assigned_rows and found.status.tolist() == ["failed", "assigned"]
    before = table(finished.results / f"{method}/assignment.tsv").set_index("subject").loc[good]
    after = found.set_index("subject").loc[good]
    assert after.cluster == str(before.cluster) and before.split == "train"
    q = [name for name in found if re.fullmatch(r"q_\d+", name)]
    assert after[q].astype(float).to_numpy() == pytest.approx(before[q].astype(float).to_numpy(), abs=1e-5)
    assert found.set_index("subject").code[bad] == "DCM-TRUNCATED"
    attrition = table(assigned.results / "cohort/attrition.tsv").set_index("subject")
    assert attrition.status.to_dict() == {bad: "excluded", good: "analysed"}


def test_frozen_folder_holds_no_ids_paths_or_names(finished, assigned):
    bundle = [p for p in (assigned.folder / "bundle").rglob("*") if p.is_file()]
    subjects = table(finished.folder / "demo/subjects.tsv").subject
    for path in bundle:
        if path.suffix == ".json":
            text = path.read_text()
            assert not [s for s in subjects if f'"{s}"' in text] and "/" not in re.sub(r'"[\w-]+/[\w.]+"', "", text)
            assert "CANARY" not in text


def test_assigned_tables_have_the_columns_of_their_schema(assigned):
    schema = yaml.safe_load((ROOT / "workflow/schemas/tables/assigned.yaml").read_text())
    paths = list(assigned.results.glob(schema["path"]))
    assert len(paths) == 3
    for path in paths:
        assert [c for c in table(path) if not re.fullmatch(r"q_\d+", c)] == list(schema["columns"])
