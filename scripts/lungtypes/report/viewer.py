"""The group maps on the template, to be sliced and turned inside the page: small volumes, and the code that draws them.

NiiVue draws (vendor/README.md); viewer.js ties it to the controls. Only group means are embedded, never a single scan.
"""

from __future__ import annotations

import base64
import gzip
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib
import nibabel as nib
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from lungtypes.imaging.geometry import Volume, from_sitk, to_sitk
from lungtypes.report.blocks import Paragraph, Section, Viewer, method_name
from lungtypes.report.profile_sections import cropped_to, group_counts, population_map
from lungtypes.report.results import Results, clusters_of
from lungtypes.report.slices import CT_WINDOW_HU, MAP_SCALE, Scale
from lungtypes.report.trust_section import SIGNED, kind_name, most_faithful

logger = logging.getLogger(__name__)

BUDGET_BYTES = 4_000_000  # of base64, all volumes of a page together
COARSEST = 8  # times the finest spacing; past it the maps say nothing, and the page is simply larger
STEPS = 255  # of 0 to 1 in uint8
SIGNED_STEPS = 510  # of 0 to 1 in int16
KNOTS = 33  # colours of a scale; NiiVue fills in between
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
FOLDER = Path(__file__).parent
SCRIPT, LIBRARY = FOLDER / "viewer.js", FOLDER / "vendor" / "niivue.umd.js"


@dataclass(frozen=True)
class Layer:
    """A volume and the lungs on its grid (uint8, 1 right, 2 left), both cut to the lungs and their margin."""

    name: str
    values: Volume
    lungs: Volume


@dataclass(frozen=True)
class MapKind:
    """One kind of map of one method: a layer for each cluster, and how values become colours."""

    name: str
    scale: Scale
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Scene:
    """What the viewer shows: a CT in HU and at least one kind of map."""

    ct: Layer
    kinds: tuple[MapKind, ...]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The CT, then all maps."""
        return (self.ct, *(layer for kind in self.kinds for layer in kind.layers))


def viewer_section(results: Results, config: Mapping[str, object], *, budget: int = BUDGET_BYTES) -> Section | None:
    """The viewer of all group maps; None without group maps, or without a CT to lay them on.

    budget : bytes of base64 that all volumes may take; above it they are brought to a coarser grid.
    """
    scene = _scene(results, config)
    if scene is None:
        return None
    shown, data = _fitted(scene, budget)
    words = (
        f"The group maps of this report on the {scene.ct.name}, in any plane. A value is that of the voxel under the "
        "cross. Maps are those of the pictures below, with the same colours: nothing is drawn outside the lungs, or "
        "below the threshold. Patient's right is on the left."
    )
    library = base64.b64encode(gzip.compress(LIBRARY.read_bytes(), mtime=0)).decode("ascii")
    viewer = Viewer({**data, "library": library}, (SCRIPT.read_text(), LIBRARY.read_text()), _caption(shown, scene))
    return Section("viewer", "The maps in three planes", "Viewer", (Paragraph(words), viewer))


def embed_map(layer: Layer, *, two_sided: bool) -> str:
    """A map of 0 to 1 (uint8), or -1 to 1 (int16), as base64 of a gzipped NIfTI; off by at most 1/255.

    0 stands outside the lungs and nowhere else: a zero inside becomes the smallest step, so that the viewer can tell.
    """
    steps, dtype = (SIGNED_STEPS, np.int16) if two_sided else (STEPS, np.uint8)
    raw = np.rint(np.clip(layer.values.array, -1.0 if two_sided else 0.0, 1.0) * steps).astype(dtype)
    raw[raw == 0] = 1
    raw[layer.lungs.array == 0] = 0
    return _nifti(layer.values.with_array(raw), slope=1 / steps, intercept=0.0)


def embed_ct(ct: Volume) -> str:
    """A CT in HU, clipped to the lung window, as base64 of a gzipped NIfTI of uint8 whose slope gives HU back."""
    low, high = CT_WINDOW_HU
    raw = np.rint((np.clip(ct.array, low, high) - low) / (high - low) * STEPS).astype(np.uint8)
    return _nifti(ct.with_array(raw), slope=(high - low) / STEPS, intercept=low)


def coarser(layer: Layer, spacing_mm: float, *, within_lungs: bool) -> Layer:
    """The layer at about ``spacing_mm``: each voxel the mean of a block of whole voxels.

    within_lungs : the mean of a block's lung voxels alone, where it has some: what lies beside the lungs is no map.
    """
    factors = [max(1, round(spacing_mm / own)) for own in layer.values.spacing_mm]
    if factors == [1, 1, 1]:
        return layer
    lungs = (layer.lungs.array > 0).astype(np.float32)
    values = layer.values.array.astype(np.float32)
    share = _blocks(layer.lungs.with_array(lungs), factors)
    means = _blocks(layer.values.with_array(values), factors)
    if within_lungs:
        inside = _blocks(layer.values.with_array(values * lungs), factors).array
        means = means.with_array(np.divide(inside, share.array, out=means.array, where=share.array > 0))
    return Layer(layer.name, means, share.with_array((share.array >= 0.5).astype(np.uint8)))


def _scene(results: Results, config: Mapping[str, object]) -> Scene | None:
    methods = results.methods()
    found = [kind for method in methods for kind in _kinds(results, method, config)]
    kinds = tuple(kind for kind in found if kind.layers)
    means = [("mean CT of all scans", f"{method}/group_maps/ct_mean_population.nii.gz") for method in methods]
    for name, file in (("template CT", "template/template.nii.gz"), *means):
        ct = _layer(results, name, file)
        if ct is not None and kinds:
            return Scene(ct, kinds)
    return None


def _kinds(results: Results, method: str, config: Mapping[str, object]) -> list[MapKind]:
    """The published map, and the most faithful one where that is another."""
    assignment = results.table(f"{method}/assignment.tsv")
    sizes = {c: int((assignment["cluster"] == c).sum()) for c in clusters_of(assignment)}
    counts = group_counts(results, method, sizes, "n_maps")
    start = f"{method}/group_maps/{method}"
    everyone = {f"all (n = {sum(counts.values())})": f"{start}_population_{population_map(config, method)}_mean.nii.gz"}
    files = {f"cluster {c} (n = {n})": f"{start}_cluster{c}_mean.nii.gz" for c, n in counts.items()}
    kinds = [MapKind(kind_name(method), MAP_SCALE, _layers(results, everyone | files))]
    summary = results.table(f"{method}/faithfulness_summary.tsv")
    best = method if summary is None or summary.empty else most_faithful(summary)
    groups = results.table(f"{method}/further_group_maps.tsv")
    if best != method and groups is not None:
        n_maps = groups.set_index("group")["n_maps"]
        files = {
            f"cluster {c} (n = {int(n_maps[f'{best}_cluster{c}'])})": f"{best}_cluster{c}_mean.nii.gz"
            for c in sizes
            if n_maps.get(f"{best}_cluster{c}", 0) > 0
        }
        files = {label: f"{method}/further_group_maps/{file}" for label, file in files.items()}
        name = f"{method_name(method)}: {kind_name(best)} (most faithful)"
        kinds.append(MapKind(name, SIGNED, _layers(results, files)))
    return kinds


def _layers(results: Results, files: Mapping[str, str]) -> tuple[Layer, ...]:
    return tuple(filter(None, (_layer(results, name, file) for name, file in files.items())))


def _layer(results: Results, name: str, file: str) -> Layer | None:
    volume = results.volume(file)
    if volume is None:
        return None
    lungs = volume.with_array(results.lungs_on(volume))
    lungs, volume = cropped_to(lungs, [lungs, volume])
    return Layer(name, volume, lungs)


def _fitted(scene: Scene, budget: int) -> tuple[Scene, dict[str, object]]:
    """The scene at the finest spacing that keeps to the budget, and its data for the page."""
    finest = min(min(layer.values.spacing_mm) for layer in scene.layers)
    for factor in range(1, COARSEST + 1):
        shown = _at_spacing(scene, factor * finest)
        data = _data(shown)
        size = len(data["ct"]) + sum(len(layer["volume"]) for kind in data["kinds"] for layer in kind["layers"])
        if size <= budget:
            break
    logger.info("viewer: %d volumes, %.2f MB, %g x the finest spacing", len(shown.layers), size / 1e6, factor)
    return shown, data


def _at_spacing(scene: Scene, spacing_mm: float) -> Scene:
    kinds = [
        replace(kind, layers=tuple(coarser(layer, spacing_mm, within_lungs=True) for layer in kind.layers))
        for kind in scene.kinds
    ]
    return Scene(coarser(scene.ct, spacing_mm, within_lungs=False), tuple(kinds))


def _data(scene: Scene) -> dict[str, object]:
    """What viewer.js reads."""
    return {
        "ct": embed_ct(scene.ct.values),
        "window_hu": list(CT_WINDOW_HU),
        "start_ras_mm": _highest(scene.kinds[0].layers[0]),
        "kinds": [
            {
                "name": kind.name,
                "value": kind.scale.label,
                "high": kind.scale.high,
                "colours": _colours(kind.scale, 0.5 if kind.scale.centred else 0.0, 1.0),
                "colours_below": _colours(kind.scale, 0.5, 0.0) if kind.scale.centred else None,
                "layers": [
                    {"name": layer.name, "volume": embed_map(layer, two_sided=kind.scale.centred)}
                    for layer in kind.layers
                ],
            }
            for kind in scene.kinds
        ],
    }


def _highest(layer: Layer) -> list[float]:
    """Where in the lungs the map is largest, in mm of RAS: the cross starts there."""
    values = np.where(layer.lungs.array > 0, layer.values.array, -np.inf)
    z, y, x = np.unravel_index(int(np.argmax(values)), values.shape)
    return [round(float(v), 3) for v in (_ras_affine(layer.values) @ [x, y, z, 1])[:3]]


def _colours(scale: Scale, start: float, stop: float) -> list[list[int]]:
    """Red, green and blue (0-255) from one place of the scale's colour map (0-1) to another."""
    cmap = matplotlib.colormaps[scale.cmap]
    return np.rint(255 * cmap(np.linspace(start, stop, KNOTS))[:, :3]).astype(int).tolist()


def _caption(shown: Scene, scene: Scene) -> str:
    finer = " (made coarser for the page)"
    ct, maps = (f"{', '.join(_spacings(layers))} mm" for layers in ([shown.ct], shown.layers[1:]))
    ct += finer if _spacings([shown.ct]) != _spacings([scene.ct]) else ""
    maps += finer if _spacings(shown.layers[1:]) != _spacings(scene.layers[1:]) else ""
    low, high = CT_WINDOW_HU
    return (
        f"Shown at: {scene.ct.name} {ct}, maps {maps}. Group means only; no single scan is embedded. Places are in mm "
        f"of LPS: x to the patient's left, y to the back, z to the head. CT in the lung window, {low:g} to {high:g} "
        "HU, its density to 10 HU; maps to 1/255."
    )


def _spacings(layers: Sequence[Layer]) -> list[str]:
    return sorted({f"{max(layer.values.spacing_mm):.1f}" for layer in layers})


def _blocks(volume: Volume, factors: Sequence[int]) -> Volume:
    """Mean of each block of ``factors`` (z, y, x) voxels; the last block repeats the border where it is not full."""
    widths = [(0, -n % f) for n, f in zip(volume.array.shape, factors, strict=True)]
    padded = replace(volume, array=np.pad(volume.array, widths, mode="edge"))  # at the far ends: the origin stays
    return from_sitk(sitk.BinShrink(to_sitk(padded), list(factors)[::-1]))


def _ras_affine(volume: Volume) -> NDArray[np.float64]:
    """Voxel (x, y, z) to mm of RAS, as NIfTI has it."""
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(volume.direction) * np.array(volume.spacing_mm[::-1])
    affine[:3, 3] = volume.origin_mm
    return LPS_TO_RAS @ affine


def _nifti(volume: Volume, *, slope: float, intercept: float) -> str:
    """Base64 of a gzipped NIfTI of raw integers; the same bytes whenever it is made."""
    image = nib.Nifti1Image(volume.array.transpose(2, 1, 0), _ras_affine(volume))  # (Z, Y, X) -> (X, Y, Z)
    image.header.set_slope_inter(slope, intercept)
    image.header.set_xyzt_units("mm")
    return base64.b64encode(gzip.compress(image.to_bytes(), mtime=0)).decode("ascii")
