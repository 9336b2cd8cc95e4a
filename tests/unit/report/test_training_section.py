"""What the page says of the epoch of pre-training that was kept."""

import json

import pandas as pd
import pytest

from lungtypes.report.blocks import Paragraph
from lungtypes.report.method_sections import training_section
from lungtypes.report.results import Results


def words(run, *, kept_epoch, n_held_out):
    clam = run.results / "clam"
    history = pd.read_csv(clam / "history.tsv", sep="\t")
    history["held_out"] = history["reconstruction"] if n_held_out else float("nan")
    history.to_csv(clam / "history.tsv", sep="\t", index=False)
    model = json.loads((clam / "model.json").read_text())
    model["pretrained"] = {"kept_epoch": kept_epoch, "n_held_out": n_held_out}
    (clam / "model.json").write_text(json.dumps(model))
    (text,) = [b.text for b in training_section(Results(run.results), "clam").blocks if isinstance(b, Paragraph)]
    return text


@pytest.mark.parametrize(("kept_epoch", "last"), [(1, False), (2, True)])
def test_kept_epoch_is_named_and_that_it_is_the_last_one(run, kept_epoch, last):
    text = words(run, kept_epoch=kept_epoch, n_held_out=3)
    assert f"epoch {kept_epoch} was kept, where the error of 3 scans" in text
    assert ("It is the last one" in text) == last


def test_without_scans_held_out_no_epoch_is_named(run):
    assert "was kept" not in words(run, kept_epoch=2, n_held_out=0)
