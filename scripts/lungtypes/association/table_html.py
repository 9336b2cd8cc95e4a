"""A printed table as HTML: every text escaped."""

from __future__ import annotations

from html import escape

from lungtypes.association.table_print import Line, Printed, format_p

__all__ = ["format_p", "to_html"]


def to_html(table: Printed, *, flag: str = "") -> str:
    """A table of the class "association" with its footnotes below; ``flag`` is a warning above it."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in table.header)
    body = "\n".join(_line(line) for line in table.lines)
    foot = "".join(f"<p>{escape(note)}</p>" for note in table.footnotes)
    warning = f'<p class="flag">{escape(f"Read with care: {flag}.")}</p>\n' if flag else ""
    return (
        f'{warning}<table class="association">\n<caption>{escape(table.caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
        f'<div class="footnotes">{foot}</div>\n'
    )


def _line(line: Line) -> str:
    name = f"\N{EM SPACE}{line.cells[0]}" if line.inset else line.cells[0]
    cells = "".join(f"<td>{escape(cell)}</td>" for cell in line.cells[1:])
    return f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'
