"""Tables of single scans become tables of the cohort, also where no scan has one."""

import pandas as pd

from lungtypes.cohort.collect import collect_tables


def test_tables_are_stacked_with_their_subject(tmp_path):
    pd.DataFrame({"region": ["lungs"], "mean_hu": [-800.0]}).to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    table = collect_tables({"S1": tmp_path / "a.tsv", "S2": tmp_path / "none.tsv"}, columns=("region", "mean_hu"))
    assert table.values.tolist() == [["S1", "lungs", -800.0]]


def test_cohort_without_any_keeps_the_columns(tmp_path):
    pd.DataFrame(columns=["region", "mean_hu"]).to_csv(tmp_path / "empty.tsv", sep="\t", index=False)
    for files in ({}, {"S1": tmp_path / "none.tsv"}, {"S1": tmp_path / "empty.tsv"}):
        table = collect_tables(files, columns=("region", "mean_hu"))
        assert table.empty and list(table.columns) == ["subject", "region", "mean_hu"]
