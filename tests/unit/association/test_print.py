"""Tables for print: numbers, footnotes, and texts that could break HTML or LaTeX."""

import re

import numpy as np
import pandas as pd
import pytest

from lungtypes.association.comparison import COMPARISON_COLUMNS
from lungtypes.association.contrasts import CONTRAST_COLUMNS
from lungtypes.association.outcome_print import print_comparison, print_contrasts, print_outcomes
from lungtypes.association.outcomes import OUTCOME_COLUMNS
from lungtypes.association.rows import AssociationPlan
from lungtypes.association.table_html import to_html
from lungtypes.association.table_latex import escape_latex, to_latex
from lungtypes.association.table_print import Line, Marks, Printed, Wording, estimate, format_p, listed

HOSTILE = r"<script>&amp; 50 % of $x_1^2$ #1 {a}~\end{longtable}\input{/etc/passwd}" + "\n\x07|[b]"
PLAN = AssociationPlan((), ("Age", "Sex"), ("Scanner",), "Scadding", "hc3", 0.03, 5, 10, 0, 1)


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")


def outcomes(**changes):
    row = dict.fromkeys(OUTCOME_COLUMNS, np.nan) | {"outcome": "fev1", "label": "FEV1", "unit": "L", "family": "lung"}
    row |= {"type": "continuous", "same_image": False, "model": "linear", "predictor": "Cluster", "n": 90}
    row |= {"status": "ok", "test": "Wald F, HC3", "p_crude": 0.002, "p_value": 0.01, "p_technical": 0.03}
    row |= {"q_value": 0.02, "r2_kind": "adjusted R2", "r2_gain": 0.1, "gain_ci_low": 0.02, "gain_ci_high": 0.2}
    return row | {"effect_name": "Hedges g", "minimum_detectable": 0.62, "note": ""} | changes


def contrast(model_set, pair="2 - 1", **changes):
    row = dict.fromkeys(CONTRAST_COLUMNS, np.nan) | {"outcome": "fev1", "label": "FEV1", "unit": "L", "family": "lung"}
    row |= {"model_set": model_set, "contrast": pair, "scale": "difference", "estimate": -0.5, "ci_low": -0.8}
    return row | {"ci_high": -0.2, "p_value": 0.001, "p_holm": 0.004, "note": ""} | changes


def printed_outcomes(rows, contrasts, **options):
    tables = pd.DataFrame(rows, columns=OUTCOME_COLUMNS), pd.DataFrame(contrasts, columns=CONTRAST_COLUMNS)
    return print_outcomes(*tables, PLAN, **options)


def test_crude_adjusted_and_scanner_stand_side_by_side():
    found = printed_outcomes(
        [outcomes()],
        [contrast("crude"), contrast("adjusted", estimate=-0.6), contrast("technical", estimate=-0.7)],
    )
    line = dict(zip(map(plain, found.header[:4]), map(plain, found.lines[0].cells[:4]), strict=True))
    assert line == {
        "Outcome": "FEV1 (L)",
        "n": "90",
        "Effect": "difference, 2 - 1",
        "Crude (95 % CI)": "-0.50 (-0.80 to -0.20)",
    }
    cells = [plain(cell) for cell in found.lines[0].cells[4:]]
    assert cells[:3] == ["0.002", "-0.60 (-0.80 to -0.20)", "0.010 [a]"]
    assert cells[3:] == ["0.020", "-0.70 (-0.80 to -0.20)", "0.030", "0.100 (0.020 to 0.200)", ""]
    notes = " ".join(found.footnotes)
    assert "Age and Sex" in notes and "Scanner" in notes and "lung: 1" in notes and "[a] Wald F, HC3" in notes


def test_the_detectable_effect_stands_beside_every_null_and_nowhere_else():
    rows = [outcomes(p_value=p) for p in (0.049, 0.051, 0.9)]
    found = printed_outcomes(rows, [contrast("adjusted")])
    assert [plain(line.cells[-1]) for line in found.lines] == ["", "g 0.62", "g 0.62"]
    assert "80 % power" in " ".join(found.footnotes)


def test_outcomes_that_were_not_fitted_say_why_and_do_not_count_in_the_family():
    rows = [outcomes(), outcomes(outcome="x", label="X", status="not_fitted:one_cluster", p_value=np.nan)]
    found = printed_outcomes(rows, [contrast("adjusted")])
    assert found.lines[1].cells[:3] == ("X (L)", "90", "not fitted: one cluster")
    assert len({len(line.cells) for line in found.lines} | {len(found.header)}) == 1
    assert "size: lung: 1" in " ".join(found.footnotes)


def test_reader_scores_of_the_same_image_and_log_scales_have_a_footnote():
    found = printed_outcomes([outcomes(same_image=True, type="skewed")], [contrast("adjusted")])
    assert "\N{DAGGER}" in found.lines[0].cells[0] and "[a]" in found.lines[0].cells[0]
    notes = " ".join(found.footnotes)
    assert "in part circular" in notes and "logarithm of 1 + value" in notes
    assert "circular" not in " ".join(printed_outcomes([outcomes()], [contrast("adjusted")]).footnotes)


def test_with_three_clusters_contrasts_with_the_largest_stand_below_the_joint_test():
    pairs = [contrast(m, pair) for m in ("crude", "adjusted") for pair in ("2 - 1", "3 - 1", "3 - 2")]
    found = printed_outcomes([outcomes(p_technical=np.nan)], pairs, reference=2)
    assert [plain(line.cells[0]) for line in found.lines] == ["FEV1 (L)", "2 - 1", "3 - 2"]
    assert [line.inset for line in found.lines] == [False, True, True]
    assert not any("scanner" in cell for cell in found.header)
    assert found.lines[1].cells[4] == "0.004"  # Holm's


def test_wording_follows_a_phenotype():
    wording = Wording(noun="density axis", nouns="the values of density axis")
    found = printed_outcomes([outcomes()], [contrast("adjusted", "per SD")], wording=wording)
    text = " ".join([found.caption, *found.footnotes, *found.lines[0].cells])
    assert "density axis" in text and "cluster" not in text.lower() and "per SD" in text


def test_verdicts_are_defined_with_their_margin():
    row = dict.fromkeys(COMPARISON_COLUMNS, np.nan) | {"outcome": "fev1", "label": "FEV1", "unit": "L", "n": 90}
    row |= {"status": "ok", "r2_kind": "adjusted R2", "difference": 0.05, "ci_low": 0.01, "ci_high": 0.09}
    table = pd.DataFrame([row | {"verdict": "cluster explains more"}], columns=COMPARISON_COLUMNS)
    found = print_comparison(table, PLAN, other="Scadding")
    notes = plain(" ".join(found.footnotes))
    for words in ("explains more", "Not worse", "-0.03", "Not shown"):
        assert words in notes
    assert found.lines[0].cells[-1] == "cluster explains more"


def test_html_escapes_every_text():
    table = Printed(HOSTILE, (HOSTILE, HOSTILE), (Line((HOSTILE, HOSTILE)),), (HOSTILE,))
    html = to_html(table, flag=HOSTILE)
    assert "<script>" not in html and html.count("&lt;script&gt;") == 7
    assert html.count('class="association"') == 1


def test_latex_has_no_command_of_the_data():
    table = Printed(HOSTILE, (HOSTILE, HOSTILE), (Line((HOSTILE, HOSTILE)), Line(("a", "b"), inset=True)), (HOSTILE,))
    text = to_latex(table, flag=HOSTILE)
    assert text.count(r"\end{longtable}") == 1 and r"\input" not in text
    allowed = (
        "textbackslash textless textgreater textbar textasciitilde textasciicircum quad toprule midrule bottomrule "
    )
    allowed += (
        "endfirsthead endhead endlastfoot begin end caption usepackage begingroup endgroup footnotesize noindent par"
    )
    assert set(re.findall(r"\\([a-z]+)", text)) <= set(allowed.split())
    bare = re.sub(r"\\[\\&%$#_{}]|\$-\$", "", "\n".join(text.splitlines()[1:]))
    assert not re.search(r"[%$#_^~|]", bare)  # each of them is escaped
    assert bare.count("{") == bare.count("}")
    assert all(line.count("&") - line.count(r"\&") == 1 for line in text.splitlines() if line.endswith(r" \\"))


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("5 % & more", r"5 \% \& more"),
        ("a_b", r"a\_b"),
        ("C:\\x", r"C:\textbackslash{}x"),
        ("−0.5 (95 % CI)", r"$-$0.5 (95 \% CI)"),
        ("[a]", "{[}a{]}"),
        ("R²", r"R\textsuperscript{2}"),
        ("Müller\nx\x00", "Müller x "),
    ],
)
def test_latex_escapes(text, escaped):
    assert escape_latex(text) == escaped


def test_numbers_are_printed_as_in_journals():
    printed = [format_p(p) for p in (0.00099, 0.001, 0.0451, 0.0996, 0.355, 1.0, None)]
    assert printed == ["<0.001", "0.001", "0.045", "0.10", "0.35", "1.00", "\N{EN DASH}"]
    assert plain(estimate(-0.5, -12.0, 11.0)) == "0 (-12 to 11)"
    assert plain(estimate(0.1234, 0.1, 0.15)) == "0.123 (0.100 to 0.150)"
    assert estimate(np.nan, 0, 1) == "\N{EN DASH}" and plain(estimate(1.0, np.nan, np.nan)) == "1.00"
    assert [listed(["a"] * n) for n in (0, 1, 3)] == ["none", "a", "a, a and a"]


def test_the_same_footnote_has_one_letter_and_letters_do_not_end():
    marks = Marks()
    assert plain(marks.mark("x")) == " [a]" and plain(marks.mark("y")) == " [b]" and plain(marks.mark("x")) == " [a]"
    assert marks.mark("") == "" and marks.mark(np.nan) == ""
    assert plain([marks.mark(str(i)) for i in range(25)][-1]) == " [aa]"


def test_empty_tables_can_be_printed():
    empty = pd.DataFrame(columns=CONTRAST_COLUMNS)
    assert print_contrasts(empty).lines == () and printed_outcomes([], []).lines == ()
    assert print_comparison(pd.DataFrame(columns=COMPARISON_COLUMNS), PLAN).lines == ()
