"""A printed table as LaTeX for \\input: booktabs and longtable, every text escaped."""

from __future__ import annotations

import unicodedata

from lungtypes.association.table_print import Line, Printed

PREAMBLE = "% \\usepackage{booktabs,longtable} in the preamble; LaTeX of 2020 or later, file in UTF-8"
ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "[": "{[}",  # after \\ or \midrule a bracket would be an argument
    "]": "{]}",
    "\N{EN DASH}": "--",
    "\N{EM SPACE}": r"\quad{}",
    "\N{NO-BREAK SPACE}": "~",
    "\N{MINUS SIGN}": "$-$",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{LESS-THAN OR EQUAL TO}": r"$\leq$",
    "\N{GREATER-THAN OR EQUAL TO}": r"$\geq$",
    "\N{SUPERSCRIPT TWO}": r"\textsuperscript{2}",
    "\N{SUPERSCRIPT THREE}": r"\textsuperscript{3}",
    "\N{MICRO SIGN}": r"\textmu{}",
    "\N{GREEK SMALL LETTER MU}": r"\textmu{}",
    "\N{DEGREE SIGN}": r"\textdegree{}",
    "\N{DAGGER}": r"\textdagger{}",
    "\N{GREEK SMALL LETTER ETA}": r"$\eta$",
}


def escape_latex(text: str) -> str:
    """The text with every character that LaTeX would act upon replaced; line breaks become spaces."""
    plain = " ".join(text.split()) if "\N{EM SPACE}" not in text else text
    found = []
    for character in plain:
        if character in ESCAPES:
            found.append(ESCAPES[character])
        elif unicodedata.category(character).startswith("C"):  # control characters stop the compiler
            found.append(" ")
        else:
            found.append(character)
    return "".join(found)


def to_latex(table: Printed, *, flag: str = "") -> str:
    """A longtable with caption, booktabs rules and footnotes; ``flag`` is a warning as first footnote."""
    columns = "l" + "r" * (len(table.header) - 1)
    head = " & ".join(map(escape_latex, table.header))
    body = "\n".join(f"{_line(line)} \\\\" for line in table.lines)
    notes = [*([f"Read with care: {flag}."] if flag else []), *table.footnotes]
    foot = "\n\n".join(escape_latex(note) for note in notes)
    return (
        f"{PREAMBLE}\n\\begingroup\\footnotesize\n\\begin{{longtable}}{{{columns}}}\n"
        f"\\caption{{{escape_latex(table.caption)}}}\\\\\n"
        f"\\toprule\n{head} \\\\\n\\midrule\n\\endfirsthead\n\\toprule\n{head} \\\\\n\\midrule\n\\endhead\n"
        f"\\bottomrule\n\\endlastfoot\n{body}\n\\end{{longtable}}\n\n\\noindent {foot}\n\\par\\endgroup\n"
    )


def _line(line: Line) -> str:
    first, *rest = map(escape_latex, line.cells)
    return " & ".join([f"\\quad {first}" if line.inset else first, *rest])
