"""A ZIP of a scan is read like the folder or the image in it, and its names are not trusted."""

import zipfile

import numpy as np
import pytest

from lungtypes.errors import ScanFault
from lungtypes.imaging import archive
from lungtypes.imaging.archive import unpack_scan
from lungtypes.imaging.geometry import Volume, write_volume
from lungtypes.imaging.ingest import ingest_scan

INGEST = {
    "wanted_series": None,
    "converter": "lungtypes",
    "prefer": ["slices"],
    "preferred_kernel": "soft",
    "preferred_thickness_mm": 1.0,
    "kernels": {"soft": [], "sharp": []},
    "allow_tilt": False,
    "min_slices": 10,
    "max_thickness_mm": 5.0,
    "min_coverage_mm": 20.0,
    "body_width_mm": (20.0, 100.0),
    "min_air_percent": 2.0,
    "min_soft_percent": 5.0,
}


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return path


def test_image_in_a_zip_is_the_scan(tmp_path):
    hu = np.full((20, 24, 24), -1000, np.int16)
    hu[:, 4:20, 2:22] = 40
    write_volume(Volume(hu, (3.0, 2.0, 2.0), (1.0, 2.0, 3.0), np.eye(3)), tmp_path / "scan.nii.gz")
    members = {"DOE JANE/scan.nii.gz": (tmp_path / "scan.nii.gz").read_bytes(), "__MACOSX/._scan.nii.gz": b"x"}
    scan = ingest_scan(zipped(tmp_path / "scan.ZIP", members), **INGEST)
    assert (scan.volume.array == hu).all() and scan.volume.origin_mm == pytest.approx((1.0, 2.0, 3.0))


def test_no_member_leaves_the_folder_and_names_are_dropped(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    source = zipped(tmp_path / "a.zip", {"../evil": b"1", "/etc/evil": b"2", "DOE^JANE.dcm": b"3"})
    assert unpack_scan(source, inside) == inside
    assert sorted(p.name for p in inside.iterdir()) == ["000000", "000001", "000002"]
    assert not (tmp_path / "evil").exists()


def test_broken_encrypted_and_huge_archives_are_faults(tmp_path, monkeypatch):
    (tmp_path / "broken.zip").write_bytes(b"PK no archive")
    with pytest.raises(ScanFault, match="ZIP-UNREADABLE"):
        unpack_scan(tmp_path / "broken.zip", tmp_path)
    locked = zipped(tmp_path / "locked.zip", {"a": b"1"})
    data = bytearray(locked.read_bytes())
    data[6] |= 1  # the flag "encrypted" of the local header
    data[data.index(b"PK\x01\x02") + 8] |= 1  # and of the directory
    locked.write_bytes(bytes(data))
    with pytest.raises(ScanFault, match="ZIP-UNREADABLE"):
        unpack_scan(locked, tmp_path)
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 10)
    with pytest.raises(ScanFault, match="ZIP-SIZE"):
        unpack_scan(zipped(tmp_path / "big.zip", {"a": b"x" * 6, "b": b"x" * 6}), tmp_path)


def test_message_of_a_broken_archive_holds_no_path(tmp_path):
    (tmp_path / "DOE_JANE.zip").write_bytes(b"no archive")
    with pytest.raises(ScanFault) as fault:
        ingest_scan(tmp_path / "DOE_JANE.zip", **INGEST)
    assert "DOE" not in str(fault.value)
