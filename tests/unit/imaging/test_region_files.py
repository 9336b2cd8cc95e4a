"""Region arrays: lobes where a scan has them, zones elsewhere, lesion masks of those that have one."""

import json
from pathlib import Path

import numpy as np
import pytest

from lungtypes.errors import GeometryError, InputError
from lungtypes.imaging.geometry import Volume, write_volume
from lungtypes.imaging.given import check_given_lesions
from lungtypes.imaging.hounsfield import OUTSIDE
from lungtypes.imaging.region_files import read_region_arrays, sources_of, write_region_arrays, write_region_lesions
from lungtypes.imaging.volume_files import read_cohort_array
from lungtypes.imaging.zones import LOBES_AND_ZONES

SUBJECTS, SIDE = ("A", "B", "C"), 3.0
LUNG = (slice(4, 34), slice(5, 25))  # z, y; 60 and 40 mm
FINE = 2.0


def volume(array, shift=0.0):
    return Volume(array, (FINE,) * 3, (shift, 0.0, 0.0), np.eye(3))


def scan(folder, subject, *, lobes=False, warped=False, lesions=False):
    """Two boxes of lung; lobes cut them at half of their height; the lesion fills the lowest 12 mm of the right one."""
    hu, lungs = np.full((40, 30, 50), -50, np.int16), np.zeros((40, 30, 50), np.uint8)
    lungs[(*LUNG, slice(5, 20))], lungs[(*LUNG, slice(28, 43))] = 1, 2
    hu[lungs > 0] = -850
    upper = np.arange(40)[:, None, None] >= 19
    split = np.where(lungs == 1, np.where(upper, 1, 3), np.where(lungs == 2, np.where(upper, 4, 5), 0)).astype(np.uint8)
    mask = np.zeros(lungs.shape, np.uint8)
    mask[4:10, 5:25, 5:20] = 1
    shift = 30.0 * SUBJECTS.index(subject)
    files = {"resampled": {"ct": hu, "lungs": lungs, **({"lobes": split} if lobes else {})}}
    files |= {"lobes": {"lobes": split} if warped else {}, "lesions": {"lesions": mask} if lesions else {}}
    for stage, images in files.items():
        for name, array in images.items():
            write_volume(volume(array, shift), folder / stage / subject / f"{name}.nii.gz")
    return lungs


@pytest.fixture
def built(tmp_path):
    """A has its own lobes and a lesion mask, B neither, C lobes from a template and a mask that was refused."""
    scan(tmp_path, "A", lobes=True, lesions=True)
    scan(tmp_path, "B")
    scan(tmp_path, "C", warped=True)
    (tmp_path / "lesions/C").mkdir(parents=True)
    (tmp_path / "lesions/C/status.json").write_text(json.dumps({"message": "found other grids"}))
    return tmp_path


def arrays(folder, *, size=44, lesions=True):
    sources = sources_of(
        SUBJECTS,
        resampled=[folder / "resampled" / s for s in SUBJECTS],
        lobes=[folder / "lobes" / s for s in ("B", "C") if (folder / "lobes" / s).exists()],
    )
    files = [folder / name for name in ("regions.npy", "regions_labels.npy", "regions.json")]
    splits = dict(zip(SUBJECTS, ("train", "test", "train"), strict=True))
    write_region_arrays(*files, scans=sources, splits=splits, size=size, spacing_mm=SIDE)
    masks = [folder / "regions_lesions.npy" if lesions else None, folder / "regions_lesions.json"]
    given = [folder / "lesions" / s for s in ("C", "A", "gone")] if lesions else []
    write_region_lesions(*masks, cohort=read_cohort_array(files[0], files[2]), folders=given)
    return read_region_arrays(*files, *masks), json.loads(Path(masks[1]).read_text())


def test_regions_are_lobes_where_a_scan_has_them_else_zones_of_each_lung(built):
    cohort, _ = arrays(built)
    assert json.loads((built / "regions.json").read_text())["labelling"] == ["lobes", "zones", "lobes"]
    assert cohort.splits == ("train", "test", "train") and cohort.spacing_mm == SIDE
    voxel = SIDE**3 / FINE**3
    for row, labels in enumerate(cohort.labels):
        found = {LOBES_AND_ZONES[k]: (labels == k).sum() * voxel for k in np.unique(labels[labels > 0])}
        if row == 1:
            assert set(found) == {
                f"{side}_{z}_zone" for side in ("right", "left") for z in ("upper", "middle", "lower")
            }
            assert list(found.values()) == pytest.approx([3000] * 6, rel=0.15)
        else:
            assert set(found) == {"right_upper", "right_lower", "left_upper", "left_lower"}
            assert list(found.values()) == pytest.approx([4500] * 4, rel=0.1)
        assert ((labels > 0) == (cohort.array[row] != OUTSIDE)).all()
    right = np.argwhere(cohort.labels[1] == 6).mean(axis=0) - np.argwhere(cohort.labels[1] == 8).mean(axis=0)
    assert right[0] > 10  # the upper zone lies above the lower one


def test_lesions_arrive_where_they_are_and_a_scan_without_a_mask_says_so(built, caplog):
    cohort, text = arrays(built)
    assert cohort.with_lesions == (True, False, False) == tuple(text["lesions"])
    assert text["refused"] == {"C": "found other grids"} and text["subjects"] == list(SUBJECTS)
    assert "subject C goes on without lesion mask: found other grids" in caplog.text
    mask = np.asarray(cohort.lesions[0]) > 0
    assert set(np.unique(cohort.lesions)) == {0, 1}
    assert mask.sum() * SIDE**3 == pytest.approx(12 * 40 * 30, rel=0.1)
    lower = np.asarray(cohort.labels[0]) == 3
    assert (mask & lower).sum() / mask.sum() > 0.95
    assert np.argwhere(mask)[:, 0].max() < np.argwhere(lower)[:, 0].max()
    assert not cohort.lesions[1].any() and not cohort.lesions[2].any()


def test_without_any_mask_no_array_of_lesions_is_written(built):
    cohort, text = arrays(built, lesions=False)
    assert cohort.lesions is None and not any(cohort.with_lesions)
    assert text["lesions"] == [False] * 3 and text["refused"] == {}
    assert not (built / "regions_lesions.npy").exists()


def test_a_cube_that_cuts_the_lungs_leaves_nothing_behind(built):
    with pytest.raises(InputError, match=r"dram.volumes: a cube of 16 voxels .* of 3 scan\(s\).*Raise dram.volumes.si"):
        arrays(built, size=16)
    assert not list(built.glob("*.npy")) and not list(built.glob(".part*")) and not (built / "regions.json").exists()


def test_a_given_mask_is_turned_to_the_scans_axes_and_anything_above_0_is_lesion():
    scan = volume(np.zeros((4, 5, 6), np.int16))
    own = np.zeros((4, 5, 6), np.float32)
    own[0, 1, 2], own[3, 4, 5], own[1, 1, 1] = 0.5, 7, -1
    expected = own > 0
    flipped = Volume(own[::-1].copy(), (FINE,) * 3, (0.0, 0.0, 3 * FINE), np.diag([1.0, 1.0, -1.0]))
    for given in (volume(own), flipped):
        found = check_given_lesions(scan, given)
        assert found.array.dtype == np.uint8 and (found.array == expected).all()
    with pytest.raises(GeometryError, match="scan and given lesion mask"):
        check_given_lesions(scan, volume(own, shift=1.0))
