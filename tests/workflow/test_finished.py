"""The small demo, once through: what it leaves, what it must not leave, and that it stays as it is."""

import base64
import gzip
import hashlib
import json
import re
import shutil
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk
import yaml

from lungtypes.imaging.geometry import read_volume
from lungtypes.imaging.registration import dice

ROOT = Path(__file__).resolve().parents[2]


def table(path):
    return pd.read_csv(path, sep="\t", keep_default_na=False, dtype={"subject": str})


def analysed(study):
    attrition = table(study.results / "cohort/attrition.tsv")
    return attrition.subject[attrition.status == "analysed"].tolist()


def test_attrition_accounts_for_every_scan(finished):
    attrition = table(finished.results / "cohort/attrition.tsv")
    assert len(attrition) == 9 and attrition.subject.is_unique
    excluded = attrition[attrition.status == "excluded"]
    assert excluded.stage.tolist() == ["ingest"] and excluded.code.tolist() == ["DCM-TRUNCATED"]
    truth = table(finished.folder / "demo/truth/subjects.tsv")
    assert excluded.subject.tolist() == truth.subject[truth.corrupt == 1].tolist()


def test_failed_scan_has_a_status_in_every_stage_and_no_images(finished):
    (bad,) = set(table(finished.folder / "demo/subjects.tsv").subject) - set(analysed(finished))
    for stage in ("ingest", "lungs", "resampled", "registered"):
        folder = finished.results / stage / bad
        assert {p.name for p in folder.glob("[!.]*")} - {"series.tsv"} == {"status.json"}
        assert json.loads((folder / "status.json").read_text())["stage"] == "ingest"


def test_localizer_and_thick_reconstruction_are_listed_and_not_chosen(finished):
    series = table(finished.results / "ingest/series.tsv")
    assert {"DCM-TYPE", "DCM-THICK"} & set(series.code)
    assert (series[series.verdict == "chosen"].groupby("subject").size() == 1).all()


def test_lungs_equal_the_planted_ones(finished):
    for subject in analysed(finished):
        truth = read_volume(finished.folder / f"demo/truth/{subject}/lungs.nii.gz").array
        found = read_volume(finished.results / f"lungs/{subject}/lungs.nii.gz").array
        assert min(dice(found == side, truth == side) for side in (1, 2)) >= 0.95, subject


def test_registered_lungs_fit_the_template(finished):
    mask = read_volume(finished.results / "template/mask.nii.gz")
    for subject in analysed(finished):
        warped = read_volume(finished.results / f"registered/{subject}/lungs.nii.gz")
        assert dice(warped.array > 0, mask.array > 0) >= 0.95, subject
        hu = read_volume(finished.results / f"registered/{subject}/ct.nii.gz").array
        assert -950 < np.median(hu[mask.array > 0]) < -550


def test_registered_folder_holds_the_contract(finished):
    expected = {
        "ct.nii.gz",
        "lungs.nii.gz",
        "affine.mat",
        "warp.nii.gz",
        "inverse_warp.nii.gz",
        "log_jacobian.nii.gz",
        "registration.json",
        "status.json",
    }
    for subject in analysed(finished):
        assert {p.name for p in (finished.results / "registered" / subject).glob("[!.]*")} == expected


def test_assignment_is_one_row_a_subject_with_probabilities(finished):
    assignment = table(finished.results / "clam/assignment.tsv")
    choice = json.loads((finished.results / "clam/k_selection.json").read_text())
    assert assignment.subject.tolist() == analysed(finished)
    q = assignment[[f"q_{k + 1}" for k in range(choice["k"])]].astype(float).to_numpy()
    assert q.sum(axis=1) == pytest.approx(1) and (q.argmax(axis=1) + 1 == assignment.cluster).all()


def test_maps_lie_in_template_space_with_values_from_zero_to_one(finished):
    description = json.loads((finished.results / "cohort/template.json").read_text())
    for subject in analysed(finished):
        image = sitk.ReadImage(str(finished.results / f"clam/maps/clam/{subject}.nii.gz"))
        assert image.GetSpacing() == pytest.approx((9.0,) * 3)
        assert image.GetOrigin() == pytest.approx(description["origin_mm"])
        values = sitk.GetArrayFromImage(image)
        assert values.min() >= 0 and values.max() == pytest.approx(1.0)
    means = list((finished.results / "clam/group_maps").glob("clam_cluster*_mean.nii.gz"))
    used = table(finished.results / "clam/assignment.tsv").cluster.nunique()
    assert len(means) == used
    assert (finished.results / "clam/group_maps/clam_population_balanced_mean.nii.gz").exists()


def test_tables_have_the_columns_of_their_schemas(finished):
    schemas = sorted((ROOT / "workflow/schemas/tables").glob("*.yaml"))
    assert len(schemas) >= 10
    for schema in schemas:
        content = yaml.safe_load(schema.read_text())
        for path in finished.results.glob(content["path"]):
            found = list(table(path).columns)
            named = [c for c in found if not any(re.fullmatch(p, c) for p in content.get("patterns", {}))]
            assert named == list(content["columns"]), path


def test_planted_identities_and_source_paths_are_nowhere_in_the_results(finished):
    tokens = set()
    for file in (finished.folder / "demo/dicom").rglob("IM00001.dcm"):
        header = pydicom.dcmread(file, stop_before_pixels=True)
        tokens |= {str(header.PatientID), str(header.AccessionNumber), str(header.PatientBirthDate)}
        tokens |= set(str(header.PatientName).split("^")) | {"Quillfeather", "Saint Elsewhere", file.parts[-3]}
    assert len(tokens) > 20
    needles = [token.lower().encode() for token in tokens]
    for path in finished.results.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            content = (gzip.decompress(content) if path.suffix == ".gz" else content).lower()
            hits = [n for n in needles if n in content]
            assert not hits, f"{path.relative_to(finished.results)}: {hits}"


def texts_of_png(content):
    """The text chunks of a PNG, compressed ones too."""
    place, texts = 8, []
    while place < len(content):
        size = int.from_bytes(content[place : place + 4], "big")
        kind, body = content[place + 4 : place + 8], content[place + 8 : place + 8 + size]
        if kind in (b"tEXt", b"iTXt", b"zTXt", b"eXIf"):
            texts.append(body)
            compressed = body.partition(b"\0")[2].lstrip(b"\0\x01")
            texts.append(zlib.decompress(compressed) if compressed[:1] == b"\x78" else b"")
        place += size + 12
    return b"".join(texts)


def readable_bytes(path):
    """Every byte of a file that can be read: gzip unpacked, PNG text taken out, images of a page decoded."""
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content += gzip.decompress(content)
    pictures = [content] if content[:8] == b"\x89PNG\r\n\x1a\n" else []
    pictures += [base64.b64decode(found) for found in re.findall(rb"data:image/png;base64,([A-Za-z0-9+/=]+)", content)]
    return content + b"".join(texts_of_png(picture) for picture in pictures)


def test_no_canary_of_headers_names_or_dates_is_in_any_byte_of_the_results(finished):
    planted = [p for p in (finished.folder / "demo/dicom").iterdir() if "CANARY" in p.name]
    assert len(planted) == 2 and all("CANARY" in f.name for p in planted for f in p.rglob("*") if f.is_file())
    headers = b"".join(f.read_bytes()[:6000] for f in sorted(planted[0].rglob("*.dcm"))[:3])
    assert headers.count(b"CANARY") > 100  # the tokens are there to be found
    assert b"canary" in readable_bytes(finished.folder / "demo/subjects.tsv").lower()
    for path in finished.results.rglob("*"):
        if path.is_file():
            content = readable_bytes(path).lower()
            assert b"canary" not in content and b"19130713" not in content, path.relative_to(finished.results)
        assert "canary" not in path.name.lower()


def test_report_is_written_and_needs_no_network(finished):
    page = (finished.results / "report/index.html").read_text()
    assert "<img" in page and not re.search(r"(src|href)=[\"']https?:", page)
    assert "DCM-TRUNCATED" in page


def test_second_run_has_nothing_to_do(finished):
    done = finished.snakemake("--cores", "1")
    assert "Nothing to be done" in done.stdout


def test_provenance_names_versions_seed_and_checksums(finished):
    manifest = json.loads((finished.results / "provenance/manifest.json").read_text())
    assert manifest["run"]["state"] == "complete" and manifest["run"]["packages"]["torch"]
    assert manifest["config"]["seed"] == 1
    record = json.loads((finished.results / "provenance/cluster_clam/cohort.json").read_text())
    path = finished.results / "clam/assignment.tsv"
    assert record["sha256"]["clam/assignment.tsv"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_scan_that_was_read_has_its_picture(finished):
    pictures = {path.parent.name for path in finished.results.glob("quality/*/lungs.png")}
    assert pictures == set(analysed(finished))
    page = (finished.results / "report/index.html").read_text()
    assert all(f'href="subjects/{subject}.html"' in page for subject in pictures)
    for subject in pictures:
        assert "border of the lungs" in (finished.results / f"report/subjects/{subject}.html").read_text()


def test_every_job_left_a_log_and_a_benchmark(finished):
    for rule in ("ingest_scan", "segment_lungs", "resample_scan", "register_scan", "measure_densitometry"):
        for kind, suffix in (("logs", "log"), ("benchmarks", "tsv")):
            assert len(list((finished.results / kind / rule).glob(f"*.{suffix}"))) == 9


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished study, to be changed."""
    shutil.copytree(finished.folder, tmp_path / "study")
    return type(finished)(tmp_path / "study")


@pytest.mark.parametrize(
    ("file", "rule"),
    [
        ("clam/assignment.tsv", "pretrain_clam"),
        ("dcam/assignment.tsv", "train_dcam"),
        ("dram/percentages.tsv", "train_dram"),
    ],
)
def test_training_again_gives_the_same_bytes(copied, file, rule):
    path = copied.results / file
    before = path.read_bytes()
    target = str(path.relative_to(copied.folder))
    copied.snakemake(target, "--cores", "2", "--forcerun", rule, "--quiet", "rules")
    assert path.read_bytes() == before


def test_dense_maps_lie_in_each_scans_own_space_and_in_the_templates(finished):
    subject = analysed(finished)[0]
    folder = finished.results / "dcam/maps"
    own = sitk.ReadImage(str(folder / f"dcam/{subject}.nii.gz"))
    brought = sitk.ReadImage(str(folder / f"dcam-template/{subject}.nii.gz"))
    template = sitk.ReadImage(str(finished.results / f"clam/maps/clam/{subject}.nii.gz"))
    lungs = sitk.ReadImage(str(finished.results / f"lungs/{subject}/lungs.nii.gz"))
    assert brought.GetSize() == template.GetSize() and brought.GetOrigin() == pytest.approx(template.GetOrigin())
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(lungs > 0)
    centre = own.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in own.GetSize()])
    assert np.linalg.norm(np.subtract(centre, shape.GetCentroid(1))) < 60  # mm; around this scan's own lungs
    assert own.GetOrigin() != pytest.approx(template.GetOrigin(), abs=0.1)


def test_refits_of_every_method_were_compared(finished):
    for method in ("clam", "dcam", "dcam-supervised"):
        assert set(table(finished.results / f"{method}/seeds/1.tsv").columns) == {"subject", "cluster", "split"}
        metrics = table(finished.results / f"evaluation/{method}.tsv")
        assert metrics.loc[metrics.metric.str.contains("refit|seed"), "value"].notna().any()


def test_registering_again_gives_the_same_bytes(copied):
    subject = analysed(copied)[0]
    path = copied.results / f"registered/{subject}/ct.nii.gz"
    before = path.read_bytes()
    target = Path("results/registered") / subject
    copied.snakemake(str(target), "--cores", "1", "--force", "--quiet", "rules")
    assert path.read_bytes() == before


def test_disease_names_do_not_reach_the_clustering_outputs(finished):
    for name in ("assignment.tsv", "embedding.tsv", "model.json", "k_selection.json"):
        assert "sarcoid" not in (finished.results / "clam" / name).read_text()


def test_every_scan_has_its_lobes_or_zones_and_its_lesion_mask_if_there_is_one(finished):
    text = json.loads((finished.results / "cohort/regions.json").read_text())
    sheet = table(finished.folder / "demo/subjects.tsv").set_index("subject")
    assert text["subjects"] == analysed(finished)
    given = [bool(sheet.lobes[s]) for s in text["subjects"]]
    assert text["labelling"] == ["lobes" if lobes else "zones" for lobes in given] and 0 < sum(given) < len(given)
    masked = json.loads((finished.results / "cohort/regions_lesions.json").read_text())
    assert masked["subjects"] == text["subjects"] and masked["refused"] == {}
    assert masked["lesions"] == [bool(sheet.lesions[s]) for s in text["subjects"]] and 0 < sum(masked["lesions"]) < 8
    labels = np.load(finished.results / "cohort/regions_labels.npy")
    found = [set(np.unique(scan)) - {0} for scan in labels]
    assert found == [set(range(1, 6)) if lobes else set(range(6, 12)) for lobes in given]


def test_lesion_maps_lie_in_each_scans_own_space_and_their_numbers_agree(finished):
    for method in ("dram", "dram-supervised"):
        burden = table(finished.results / f"{method}/phenotype.tsv").set_index("subject")
        assert burden.index.tolist() == analysed(finished)
        for subject in analysed(finished)[:3]:
            heat = read_volume(finished.results / f"{method}/maps/{method}/{subject}.nii.gz")
            mask = read_volume(finished.results / f"{method}/maps/{method}-lesions/{subject}.nii.gz")
            assert heat.spacing_mm == (9.0,) * 3 and 0 <= heat.array.min() <= heat.array.max() <= 1
            assert float(burden.segmented_ml[subject]) == pytest.approx((mask.array > 0).sum() * 0.729)
        errors = table(finished.results / f"evaluation/{method}_percentages.tsv")
        percentages = table(finished.results / f"{method}/percentages.tsv")
        whole = errors[errors.grade == "all"].iloc[0]
        assert int(whole.n) == (percentages.given_kind == "percent").sum() > 30
        dice = table(finished.results / f"evaluation/{method}_dice.tsv")
        sheet = table(finished.folder / "demo/subjects.tsv")
        assert dice.subject.tolist() == [s for s in sheet.subject[sheet.lesions != ""] if s in analysed(finished)]


def test_burden_enters_the_statistics_as_a_number(finished):
    page = (finished.results / "association/dram/table_one.html").read_text()
    assert "burden percent" in page and "Lowest third" in page and "Cluster" not in page
    outcomes = table(finished.results / "association/dram/outcomes.tsv").set_index("outcome")
    assert outcomes.n["fev1_l"] == len(analysed(finished)) == 8  # all of them were joined, too few for a model


@pytest.mark.parametrize("method", ["clam", "dcam"])
def test_maps_are_held_against_the_lesion_masks_of_the_sheet(finished, method):
    sheet = table(finished.folder / "demo/subjects.tsv").set_index("subject")
    rows = table(finished.results / f"{method}/localisation.tsv")
    assert set(rows["subject"]) == {s for s in analysed(finished) if sheet.lesions[s]}
    assert {method, "margin", "departure", "wrong_cluster"} <= set(rows["map"])
    assert pd.to_numeric(rows["lesion_share"]).between(0, 1).all()


def test_every_scan_has_its_page_and_the_shared_report_names_none(finished):
    subjects = table(finished.folder / "demo/subjects.tsv").subject
    assert {f"{s}.html" for s in subjects} == {p.name for p in (finished.results / "report/subjects").glob("*.html")}
    text = (finished.results / "report/share/index.html").read_text()
    words = re.sub(r'data:[^"]*"|<script.*?</script>|<style.*?</style>', "", text, flags=re.S)
    assert "Characteristics" in words
    assert not [s for s in subjects if re.search(rf"\b{s}\b", words)]


def test_snakemakes_own_report_has_tables_and_figures_by_category(finished, tmp_path):
    finished.snakemake("--report", str(tmp_path / "own.html"))
    html = (tmp_path / "own.html").read_text()
    for category in ("Clinical association", "Number of clusters", "Evaluation", "Figures", "Scans"):
        assert category in html, category
    assert "clam_mean_map.png" in html and "how each file was made" in html
