"""Series are found, judged by their headers, chosen by rule, and read in the order of their positions."""

import numpy as np
import pydicom
import pytest

from lungtypes.errors import ScanFault
from lungtypes.imaging.dicom import choose_series, find_series, kernel_class, read_series
from lungtypes.imaging.ingest import ingest_scan
from lungtypes.phantom.dicom_writer import truncate_file, write_localizer, write_series

LIMITS = {"min_slices": 10, "max_thickness_mm": 5.0, "min_coverage_mm": 30.0}
TISSUE = {"min_air_percent": 2.0, "min_soft_percent": 5.0}
INGEST = {"wanted_series": None, "preferred_kernel": "soft", **LIMITS, **TISSUE}


def chest(slices=20):
    hu = np.full((slices, 24, 24), -1000, np.int16)
    hu[:, 4:20, 2:22] = 40
    hu[3:17, 8:16, 5:10] = -850
    hu[:, 20, 11] = np.arange(slices)
    return hu


def write(folder, hu=None, *, number=2, kernel="STANDARD", spacing=(3.0, 2.0, 2.0), **more):
    tags = {"PatientName": "Canary^Carla", "PatientID": "X1", "SeriesNumber": number, "ConvolutionKernel": kernel}
    return write_series(
        chest() if hu is None else hu,
        folder,
        spacing_mm=spacing,
        origin_mm=(-30.0, -20.0, -10.0),
        tags={**tags, **more},
        uid_names=("t", str(number)),
    )


def change(path, **values):
    data = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(data, keyword, value)
    data.save_as(path)


def only(path):
    return find_series(path, **LIMITS)[0]


def test_volume_equals_what_was_written_whatever_the_file_names(tmp_path):
    for number, path in enumerate(write(tmp_path / "a")):
        path.rename(path.with_name(f"{(number * 7) % 20:03d}"))
    volume = ingest_scan(tmp_path, **INGEST).volume
    assert (volume.array == chest()).all()
    assert volume.spacing_mm == pytest.approx((3.0, 2.0, 2.0))
    assert volume.origin_mm == pytest.approx((-10.0, -20.0, -30.0))


def test_rescale_of_each_slice_is_applied(tmp_path):
    paths = write(tmp_path)
    data = pydicom.dcmread(paths[4])
    data.PixelData = (data.pixel_array.astype("<u2") // 2).tobytes()
    data.RescaleSlope = 2
    data.save_as(paths[4])
    assert np.abs(ingest_scan(tmp_path, **INGEST).volume.array - chest()).max() <= 1


def test_missing_middle_slice_is_a_gap(tmp_path):
    write(tmp_path)[9].unlink()
    assert only(tmp_path).code == "DCM-GAP" and "slices seem to be missing" in only(tmp_path).reason


def test_repeated_positions_are_duplicates(tmp_path):
    paths = write(tmp_path)
    change(paths[5], ImagePositionPatient=pydicom.dcmread(paths[6]).ImagePositionPatient)
    assert only(tmp_path).code == "DCM-DUPLICATE"


def test_two_kernels_in_one_series_are_refused(tmp_path):
    paths = write(tmp_path)
    change(paths[3], ConvolutionKernel="LUNG")
    assert only(tmp_path).code == "DCM-MIXED"


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("DCM-TYPE", {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}),
        ("DCM-NOTCT", {"Modality": "MR"}),
    ],
)
def test_unfit_series_are_rejected_with_their_reason(tmp_path, code, more):
    write(tmp_path, **more)
    assert only(tmp_path).code == code


def test_thick_and_short_series_are_rejected(tmp_path):
    write(tmp_path / "thick", number=2, spacing=(8.0, 2.0, 2.0))
    write(tmp_path / "short", chest(11), number=3, spacing=(1.0, 2.0, 2.0))
    assert {s.number: s.code for s in find_series(tmp_path, **LIMITS)} == {"2": "DCM-THICK", "3": "DCM-SHORT"}


def test_missing_geometry_tag_is_named(tmp_path):
    paths = write(tmp_path)
    data = pydicom.dcmread(paths[2])
    del data.ImagePositionPatient
    data.save_as(paths[2])
    assert "ImagePositionPatient is missing in 1 of 20" in only(tmp_path).reason


def test_localizer_is_never_chosen_and_the_soft_kernel_wins(tmp_path):
    write_localizer(chest(), tmp_path / "s", spacing_mm=(3, 2, 2), tags={"SeriesNumber": 1}, uid_names=("t", "1"))
    write(tmp_path / "a", number=5, kernel="LUNG")
    write(tmp_path / "b", number=6, kernel="STANDARD")
    series = find_series(tmp_path, **LIMITS)
    assert choose_series(series, wanted=None, preferred_kernel="soft").number == "6"
    assert choose_series(series, wanted=None, preferred_kernel="sharp").number == "5"
    assert choose_series(series, wanted="5", preferred_kernel="soft").number == "5"
    with pytest.raises(ScanFault, match="found no series 9"):
        choose_series(series, wanted="9", preferred_kernel="soft")


def test_truncated_file_is_a_fault_of_the_scan(tmp_path):
    truncate_file(write(tmp_path)[7], 0.5)
    with pytest.raises(ScanFault, match="DCM-TRUNCATED|DCM-PIXELS"):
        read_series(only(tmp_path))


def test_zero_byte_and_foreign_files_are_passed_over(tmp_path):
    write(tmp_path)
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "notes.txt").write_text("hello")
    assert only(tmp_path).usable and len(only(tmp_path).files) == 20


def test_folder_without_dicom_says_so(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ScanFault, match="DCM-NONE"):
        find_series(tmp_path, **LIMITS)


def test_values_that_are_not_hu_are_refused(tmp_path):
    write(tmp_path, np.clip(chest(), 0, None))
    with pytest.raises(ScanFault, match="HU-IMPLAUSIBLE"):
        ingest_scan(tmp_path, **INGEST)


def test_series_table_holds_no_identity(tmp_path):
    write(tmp_path)
    assert "Canary" not in ingest_scan(tmp_path, **INGEST).series.to_csv()


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [("B30f", "soft"), ("B70f", "sharp"), ("LUNG", "sharp"), ("FC08", "soft"), ("??", "unknown")],
)
def test_kernels_have_a_class(kernel, expected):
    assert kernel_class(kernel) == expected


def test_gantry_tilt_is_refused_not_sheared(tmp_path):
    for number, path in enumerate(write(tmp_path)):
        x, y, z = pydicom.dcmread(path).ImagePositionPatient
        change(path, ImagePositionPatient=[x, y + 0.5 * number, z])
    assert only(tmp_path).code == "DCM-TILT" and "tilted by" in only(tmp_path).reason


@pytest.mark.parametrize("values", [{"PixelSpacing": [2.0]}, {"ImagePositionPatient": [0.0, 1.0]}, {"Columns": 12}])
def test_malformed_headers_are_faults_of_the_scan_not_crashes(tmp_path, values):
    change(write(tmp_path)[4], **values)
    with pytest.raises(ScanFault, match="DCM-"):
        ingest_scan(tmp_path, **INGEST)


def test_slices_cut_off_within_the_header_are_not_lost_silently(tmp_path):
    for path in write(tmp_path)[:3]:
        truncate_file(path, 0.1)
    with pytest.raises(ScanFault, match="DCM-UNREADABLE"):
        ingest_scan(tmp_path, **INGEST)


def test_number_that_fits_two_series_is_ambiguous(tmp_path):
    write(tmp_path / "a")
    for path in write(tmp_path / "b"):
        change(path, SeriesInstanceUID="1.2.3.4")
    series = find_series(tmp_path, **LIMITS)
    with pytest.raises(ScanFault, match="DCM-AMBIGUOUS"):
        choose_series(series, wanted="2", preferred_kernel="soft")


def test_series_are_reported_even_when_none_is_usable(tmp_path):
    write(tmp_path, Modality="MR")
    heard = []
    with pytest.raises(ScanFault):
        ingest_scan(tmp_path, on_series=heard.append, **INGEST)
    assert heard[0].code.tolist() == ["DCM-NOTCT"] and heard[0].verdict.tolist() == ["rejected"]


def test_faults_name_no_path(tmp_path):
    folder = tmp_path / "DOE_JANE"
    folder.mkdir()
    (folder / "scan.nii.gz").write_bytes(b"no image")
    with pytest.raises(ScanFault) as fault:
        ingest_scan(folder / "scan.nii.gz", **INGEST)
    assert "DOE" not in str(fault.value)
