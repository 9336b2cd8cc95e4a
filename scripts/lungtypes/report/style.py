"""One look for all figures: sizes, colours safe for colour-blind readers, and bytes that never change."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

DPI = 120
WIDTH = 9.0  # inches; 1080 pixels, the width of the page's column
# Okabe and Ito, Color Universal Design (2008), strongest contrasts first; yellow darkened for white paper
CLUSTER_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#B8A900", "#000000")
CLUSTER_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
NEUTRAL = "#5F6B76"
ACCENT = "#D55E00"
RC = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.4,
    "text.parse_math": False,  # a label with $ is a label, not a formula
    "svg.hashsalt": "lungtypes",
}


class Png(bytes):
    """A PNG that can be drawn again at another resolution."""

    draw: Callable[[int], bytes]

    def at(self, dpi: int) -> bytes:
        """The same figure with so many pixels an inch."""
        return self.draw(dpi)


def cluster_colour(cluster: int) -> str:
    """Colour of cluster 1, 2, ...; repeats after eight."""
    return CLUSTER_COLOURS[(int(cluster) - 1) % len(CLUSTER_COLOURS)]


def cluster_marker(cluster: int) -> str:
    """Marker of cluster 1, 2, ..., so that no figure relies on colour alone."""
    return CLUSTER_MARKERS[(int(cluster) - 1) % len(CLUSTER_MARKERS)]


def draw_png(draw: Callable[[Figure], None], *, height: float, width: float = WIDTH, arrange: bool = True) -> Png:
    """Let ``draw`` fill an empty figure (inches) and return it as PNG without text chunks.

    arrange : find room for all labels; not where ``draw`` puts everything in its place itself, which is much faster.
    """
    png = Png(_drawn(draw, height, width, arrange, DPI))
    png.draw = lambda dpi: _drawn(draw, height, width, arrange, dpi)
    return png


def _drawn(draw: Callable[[Figure], None], height: float, width: float, arrange: bool, dpi: int) -> bytes:
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **RC}):
        figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained" if arrange else None, facecolor="white")
        FigureCanvasAgg(figure)
        if arrange:
            figure.get_layout_engine().set(w_pad=0.06, h_pad=0.05)
        draw(figure)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def data_uri(png: bytes) -> str:
    """PNG bytes as the address of an image inside the page."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
