"""The one interface behind which registration engines stand. A new one (on a GPU, say) is one function and one name.

An engine gets the lungs of a template (fixed) and of a scan (moving), both cropped, and leaves the three ITK files of
:class:`lungtypes.imaging.transforms.TransformFiles` in a folder. It decides nothing about quality: cropping, applying,
judging and trying again are the same for every engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lungtypes.imaging.geometry import Volume
from lungtypes.imaging.transforms import TransformFiles


@dataclass(frozen=True)
class Lungs:
    """One chest, cropped to its lungs: hu (HU) and labels (1 right, 2 left) on one grid."""

    hu: Volume
    labels: Volume


@dataclass(frozen=True)
class RegistrationSettings:
    """How scans are brought over; the sections ``register`` and ``template`` of the config.

    engine : a name of ENGINES.
    representation : ``mask``, ``hu`` or ``mask+hu``: what drives the deformation.
    iterations : from coarse to fine, each level twice as fine as the one before, the last at full resolution.
    hu_weight : of the agreement of HU against that of the lungs' shape, for ``mask+hu``.
    distance_mm : the shape is matched in a band this wide on both sides of the lungs' surface.
    stiffness : 1 as measured best; more smooths the deformation more.
    """

    engine: str
    representation: str
    iterations: tuple[int, ...]
    hu_weight: float
    distance_mm: float
    stiffness: float = 1.0


def registration_settings(section: Mapping[str, object]) -> RegistrationSettings:
    """Those of a section of the config; keys that are not ours (its checks) are left alone."""
    names = ("engine", "representation", "hu_weight", "distance_mm")
    return RegistrationSettings(iterations=tuple(section["iterations"]), **{name: section[name] for name in names})


# An engine must give the same bytes for the same input, seed and threads, raise RuntimeError when it fails, and leave
# nothing outside of the folder.
Engine = Callable[[Lungs, Lungs, RegistrationSettings, Path], TransformFiles]


def _ants(fixed: Lungs, moving: Lungs, settings: RegistrationSettings, folder: Path) -> TransformFiles:
    from lungtypes.imaging.ants_syn import register_lungs  # ants is slow to import, and its threads must be set first

    return register_lungs(fixed, moving, settings, folder)


ENGINES: dict[str, Engine] = {"ants": _ants}
