"""New virtual patients in the clusters of a fitted CLAM: agreement with the planted subtypes, and how many are flagged.

    OMP_NUM_THREADS=1 PYTHONPATH=scripts python benchmarks/assign_held_out.py 126 175

After `make sarcoidosis`, whose model and template it takes. The numbers say how many new patients of each subtype are
drawn. They are registered already, as those of the study are, so what is tested is the assignment alone. Which cluster
is which subtype is read from the training patients.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from lungtypes.cohort.frozen import TEMPLATE_FILES, write_manifest
from lungtypes.device import set_torch
from lungtypes.evaluation.accuracy import accuracy_interval
from lungtypes.imaging.geometry import read_volume
from lungtypes.imaging.volume_files import read_cohort_array
from lungtypes.imaging.volumes import lung_hu_on_grid
from lungtypes.methods.frozen_stages import assign_scans, freeze_model, write_image_reference
from lungtypes.phantom.sarcoidosis import SarcoidosisPlan, draw_patient, plan_members, render_patient

ROOT = Path(__file__).resolve().parent.parent
RESULTS, STUDY = ROOT / "results/virtual_sarcoidosis", ROOT / "virtual_sarcoidosis"
DISEASES = ("diffuse", "hilar")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def freeze(folder: Path, cohort) -> Path:
    for name in TEMPLATE_FILES:
        (folder / name).write_bytes((RESULTS / "template" / name).read_bytes())
    options = {"method": "clam", "device": "cpu", "precision": "float32"}
    about = freeze_model(folder / "clam", RESULTS / "clam", cohort.array, cohort.splits, **options)
    write_image_reference(folder / "imaging.json", [])
    write_manifest(folder, settings={}, methods={"clam": about})
    return folder


def as_line(name: str, clusters, subtypes, names: dict[int, str]) -> str:
    called = [names[c] for c in clusters]
    found = accuracy_interval(called, list(subtypes))
    hits = np.mean([a == b for a, b in zip(called, subtypes, strict=True)])
    return f"{name:<22} n {len(called):>4}  accuracy {hits:.3f} (Wilson {found.low:.3f} to {found.high:.3f})"


def main(counts: list[int]) -> None:
    set_torch(threads=1)
    study = json.loads((STUDY / "plan.json").read_text())
    seed = study["seed"]
    cohort = read_cohort_array(RESULTS / "cohort/template.npy", RESULTS / "cohort/template.json")
    mask = read_volume(RESULTS / "template/mask.nii.gz")
    # patients with numbers that the study did not reach: of the same kind, and none of them in it
    larger = SarcoidosisPlan(seed, *(study[name] + n for name, n in zip(DISEASES, counts, strict=True)))
    new = {m.subject: m for m in plan_members(larger) if m.number >= study[m.subtype]}

    def read(subject: str):
        hu = render_patient(draw_patient(seed, new[subject]), seed=seed)
        return lung_hu_on_grid(mask.with_array(hu), mask, cohort.grid), 1.0

    with tempfile.TemporaryDirectory() as scratch:
        folder = freeze(Path(scratch), cohort)
        columns = {"subject": list(new), "stage": "register", "status": "analysed", "code": "", "message": ""}
        table = assign_scans(folder, "clam", pd.DataFrame(columns), read, {}, device="cpu")
        reference = json.loads((folder / "clam/reference.json").read_text())
    trained = pd.read_csv(RESULTS / "clam/assignment.tsv", sep="\t")
    truth = pd.read_csv(STUDY / "truth/subjects.tsv", sep="\t").set_index("subject").subtype[trained.subject]
    names = pd.crosstab(trained.cluster.to_numpy(), truth.to_numpy()).idxmax(axis=1).to_dict()
    say(as_line("training", trained.cluster, truth, names))
    say(as_line("new patients", table.cluster, [m.subtype for m in new.values()], names))
    say(f"largest difference of q, training patients one by one: {reference['largest_q_difference']:.1e}")
    say(f"flagged: {100 * table.out_of_distribution.mean():.1f} %")
    for name, limit in reference["limits"].items():
        above = 100 * (table[name] > np.percentile(reference[name], 99)).mean()
        beyond = 100 * (table[name] > limit).mean()
        say(f"  {name:<22} above the 99th percentile {above:4.1f} %, beyond the limit {beyond:4.1f} %")


if __name__ == "__main__":
    main([int(n) for n in sys.argv[1:]] or [126, 175])
