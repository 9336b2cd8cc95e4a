"""Series are found, judged by their headers, chosen by rule, and read in the order of their positions."""

import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless
from scipy import ndimage

from lungtypes.errors import ScanFault
from lungtypes.imaging.dicom_read import read_series
from lungtypes.imaging.geometry import Volume, to_sitk, write_volume
from lungtypes.imaging.ingest import ingest_scan
from lungtypes.imaging.series_rules import choose_series, find_series, kernel_class
from lungtypes.phantom.dicom_writer import truncate_file, write_localizer, write_series

KERNELS = {"soft": ["STANDARD", "FC0*"], "sharp": ["LUNG", "FC5*"]}
LIMITS = {"min_slices": 10, "max_thickness_mm": 5.0, "min_coverage_mm": 30.0, "allow_tilt": False, "kernels": KERNELS}
CHOICE = {
    "prefer": ["kernel", "thickness", "original", "contrast", "coverage", "slices"],
    "preferred_kernel": "soft",
    "preferred_thickness_mm": 1.0,
}
TISSUE = {"min_air_percent": 2.0, "min_soft_percent": 5.0, "body_width_mm": (20.0, 100.0)}
INGEST = {"wanted_series": None, "converter": "lungtypes", **CHOICE, **LIMITS, **TISSUE}


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


def test_conflicting_slices_at_one_position_are_refused(tmp_path):
    paths = write(tmp_path)
    change(paths[5], ImagePositionPatient=pydicom.dcmread(paths[6]).ImagePositionPatient)
    assert only(tmp_path).code == "DCM-DUPLICATE"


def test_slices_that_were_sent_twice_are_dropped(tmp_path):
    paths = write(tmp_path)
    (tmp_path / "again").mkdir()
    for path in paths[:4]:
        shutil.copy(path, tmp_path / "again")
    change(tmp_path / "again" / paths[2].name, SOPInstanceUID="1.2.3")  # same pixels under another name
    scan = ingest_scan(tmp_path, **INGEST)
    assert (scan.volume.array == chest()).all() and scan.series.note.tolist() == ["4 repeated slices dropped"]


def test_two_acquisitions_in_one_series_are_told_apart(tmp_path):
    write(tmp_path / "a")
    for number, path in enumerate(write(tmp_path / "b", np.where(chest() > 0, chest() + 20, chest()))):
        change(path, AcquisitionNumber=2, SOPInstanceUID=f"1.2.3.{number}")
    series = find_series(tmp_path, **LIMITS)
    assert [s.number for s in series] == ["2.1", "2.2"] and all(s.usable and len(s.files) == 20 for s in series)
    assert read_series(choose_series(series, wanted="2.2", **CHOICE)).array.max() == 60


def test_two_kernels_in_one_series_are_told_apart(tmp_path):
    write(tmp_path / "a")
    for number, path in enumerate(write(tmp_path / "b", kernel="LUNG")):
        change(path, SOPInstanceUID=f"1.2.3.{number}")
    series = find_series(tmp_path, **LIMITS)
    assert {s.kernel: len(s.files) for s in series} == {"STANDARD": 20, "LUNG": 20}
    assert choose_series(series, wanted=None, **CHOICE).kernel == "STANDARD"


def test_one_slice_of_another_kernel_leaves_a_gap(tmp_path):
    change(write(tmp_path)[3], ConvolutionKernel="LUNG")
    assert sorted(s.code for s in find_series(tmp_path, **LIMITS)) == ["DCM-GAP", "DCM-SLICES"]


def test_usable_series_of_two_studies_are_not_guessed_between(tmp_path):
    write(tmp_path / "a", number=2)
    for path in write(tmp_path / "b", number=3):
        change(path, StudyInstanceUID="1.2.3.4")
    series = find_series(tmp_path, **LIMITS)
    with pytest.raises(ScanFault, match="DCM-STUDIES"):
        choose_series(series, wanted=None, **CHOICE)
    assert choose_series(series, wanted="3", **CHOICE).number == "3"


def test_jitter_is_evened_out_and_uneven_spacing_is_refused(tmp_path):
    rng = np.random.default_rng(1)
    for path in write(tmp_path / "jitter"):
        x, y, z = pydicom.dcmread(path).ImagePositionPatient
        change(path, ImagePositionPatient=[x, y, z + rng.uniform(-0.1, 0.1)])
    assert read_series(only(tmp_path / "jitter")).spacing_mm[0] == pytest.approx(3.0, abs=0.006)
    for number, path in enumerate(write(tmp_path / "uneven")):
        x, y, z = pydicom.dcmread(path).ImagePositionPatient
        change(path, ImagePositionPatient=[x, y, z - 2.0 * max(0, number - 10)])
    assert only(tmp_path / "uneven").code == "DCM-GAP"


def test_slices_that_stray_sideways_are_refused(tmp_path):
    path = write(tmp_path)[9]
    x, y, z = pydicom.dcmread(path).ImagePositionPatient
    change(path, ImagePositionPatient=[x + 4.0, y, z])
    assert only(tmp_path).code == "DCM-GAP" and "shifted sideways by up to 4.0 mm" in only(tmp_path).reason


def test_padding_becomes_air_whether_signed_or_not(tmp_path):
    for path in write(tmp_path):
        data = pydicom.dcmread(path)
        stored = data.pixel_array.astype("<i2")
        stored[:2, :3] = -2000
        data.PixelRepresentation, data.BitsStored, data.HighBit = 1, 16, 15
        data.PixelData = stored.tobytes()
        data.add_new("PixelPaddingValue", "US", 63536)  # -2000, as many scanners write it
        data.save_as(path)
    volume = ingest_scan(tmp_path, **INGEST).volume.array
    assert (volume[:, :2, :3] == -1024).all() and (volume[:, 4:] == chest()[:, 4:]).all()


def test_overlay_bits_above_the_stored_ones_are_ignored(tmp_path):
    for path in write(tmp_path):
        data = pydicom.dcmread(path)
        data.PixelData = (data.pixel_array.astype("<u2") | 0x8000).tobytes()
        data.save_as(path)
    assert (ingest_scan(tmp_path, **INGEST).volume.array == chest()).all()


@pytest.mark.parametrize(
    ("flip", "rows"),
    [
        ((slice(None), slice(None), slice(None, None, -1)), [-1, 0, 0, 0, 1, 0]),
        ((slice(None), slice(None, None, -1), slice(None)), [1, 0, 0, 0, -1, 0]),
        ((slice(None), slice(None, None, -1), slice(None, None, -1)), [-1, 0, 0, 0, -1, 0]),
    ],
)
def test_flipped_rows_and_columns_come_back_to_lps(tmp_path, flip, rows):
    for path in write(tmp_path, chest()[flip]):
        x, y, z = pydicom.dcmread(path).ImagePositionPatient
        corner = [x + (46.0 if rows[0] < 0 else 0.0), y + (46.0 if rows[4] < 0 else 0.0), z]
        change(path, ImageOrientationPatient=rows, ImagePositionPatient=corner)
    volume = ingest_scan(tmp_path, **INGEST).volume
    assert (volume.array == chest()).all() and volume.origin_mm == pytest.approx((-10.0, -20.0, -30.0))


def test_oblique_slices_keep_their_direction(tmp_path):
    turn = np.radians(10)
    row, column = [np.cos(turn), np.sin(turn), 0.0], [-np.sin(turn), np.cos(turn), 0.0]
    for path in write(tmp_path):
        change(path, ImageOrientationPatient=[*row, *column])
    volume = ingest_scan(tmp_path, **INGEST).volume
    assert (volume.array == chest()).all() and volume.direction[:, 0] == pytest.approx(row)


def test_coronal_slices_are_refused(tmp_path):
    for number, path in enumerate(write(tmp_path)):
        change(path, ImageOrientationPatient=[1, 0, 0, 0, 0, -1], ImagePositionPatient=[0, 3.0 * number, 0])
    assert only(tmp_path).code == "DCM-TYPE" and "coronal" in only(tmp_path).reason


def tilted(folder, degrees):
    """A chest whose slices stand upright in the world and are acquired with the gantry tilted about x."""
    angle = np.radians(degrees)
    column = np.array([0.0, np.cos(angle), -np.sin(angle)])
    for number, path in enumerate(write(folder)):  # from the head down, the table moves along z
        origin = np.array([-10.0, -20.0, 27.0 - 3.0 * number])
        change(path, ImageOrientationPatient=[1, 0, 0, *column], ImagePositionPatient=[float(v) for v in origin])


def test_gantry_tilt_is_refused_unless_allowed(tmp_path):
    tilted(tmp_path, 15.0)
    assert only(tmp_path).code == "DCM-TILT" and "tilted by 15.0 degrees" in only(tmp_path).reason


def test_tilted_scan_is_straightened_so_that_every_voxel_stays_where_it_was(tmp_path):
    tilted(tmp_path, 15.0)
    (series,) = find_series(tmp_path, **{**LIMITS, "allow_tilt": True})
    volume = read_series(series)
    assert volume.direction.T @ volume.direction == pytest.approx(np.eye(3), abs=1e-9)
    assert volume.spacing_mm[0] == pytest.approx(3.0 * np.cos(np.radians(15.0)))
    image = to_sitk(volume)
    column = np.array([0.0, np.cos(np.radians(15)), -np.sin(np.radians(15))])
    hu = chest()
    for z, y, x in ((5, 10, 7), (12, 18, 4), (16, 12, 12)):
        world = np.array([-10.0, -20.0, -30.0 + 3.0 * z]) + 2.0 * x * np.array([1.0, 0, 0]) + 2.0 * y * column
        index = image.TransformPhysicalPointToContinuousIndex(world.tolist())
        found = ndimage.map_coordinates(volume.array.astype(float), np.array(index)[::-1, None], order=1)[0]
        assert found == pytest.approx(hu[z, y, x], abs=2.0), (z, y, x)


@pytest.mark.parametrize("syntax", ["RLE", "JPEG2000", "JPEGLossless"])
def test_compressed_slices_are_decoded_without_loss(tmp_path, syntax):
    for path in write(tmp_path):
        compress(path, syntax)
    assert pydicom.dcmread(next(tmp_path.iterdir())).file_meta.TransferSyntaxUID.is_compressed
    assert (ingest_scan(tmp_path, **INGEST).volume.array == chest()).all()


def compress(path, syntax):
    data = pydicom.dcmread(path)
    if syntax == "RLE":
        data.compress(RLELossless)
        data.save_as(path)
        return
    image = sitk.GetImageFromArray(data.pixel_array[None])
    raw = path.with_suffix(".tmp.dcm")
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(raw))
    writer.UseCompressionOn()
    writer.SetCompressor({"JPEG2000": "JPEG2000", "JPEGLossless": "JPEG"}[syntax])
    writer.Execute(image)
    packed = pydicom.dcmread(raw)
    raw.unlink()
    data.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID
    for name in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation"):
        setattr(data, name, packed[name].value)
    data["PixelData"] = packed["PixelData"]
    data.save_as(path)


def test_series_that_cannot_be_decoded_names_its_transfer_syntax(tmp_path):
    for path in write(tmp_path):
        data = pydicom.dcmread(path)
        data.file_meta.TransferSyntaxUID = JPEG2000Lossless
        data.PixelData = encapsulate([b"\xff\x4f\xff\x51 no image"])
        data["PixelData"].is_undefined_length = True
        data.save_as(path)
    with pytest.raises(ScanFault, match="DCM-PIXELS.*JPEG 2000"):
        ingest_scan(tmp_path, **INGEST)


@pytest.mark.parametrize("syntax", ["1.2.840.113619.5.2", "1.2.3"])
def test_a_transfer_syntax_that_nobody_knows_is_a_fault_of_the_scan(tmp_path, syntax):
    for path in write(tmp_path / "a"):
        data = pydicom.dcmread(path)
        data.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
        data.save_as(path, enforce_file_format=False, little_endian=True, implicit_vr=False)
    with pytest.raises(ScanFault, match="unknown transfer syntax") as fault:
        read_series(only(tmp_path / "a"))
    assert fault.value.code == "DCM-PIXELS" and syntax not in str(fault.value)


def test_a_single_word_of_the_image_type_is_a_word(tmp_path):
    for path in write(tmp_path / "a"):
        change(path, ImageType="LOCALIZER")
    assert "LOCALIZER" in only(tmp_path / "a").reason
    for path in write(tmp_path / "b"):
        change(path, ImageType="ORIGINAL")
    assert only(tmp_path / "b").original


def test_a_series_number_with_leading_zeros_is_the_number(tmp_path):
    write(tmp_path, number=3)
    assert choose_series(find_series(tmp_path, **LIMITS), wanted="003", **CHOICE).number == "3"


def test_files_without_preamble_or_suffix_are_read(tmp_path):
    for number, path in enumerate(write(tmp_path)):
        content = path.read_bytes()[132:]
        path.unlink()
        (tmp_path / f"scan{number}").write_bytes(content)
    assert (ingest_scan(tmp_path, **INGEST).volume.array == chest()).all()


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("DCM-TYPE", {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}),
        ("DCM-NOTCT", {"Modality": "MR"}),
        ("DCM-NOTCT", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}),  # secondary capture
        ("DCM-MULTIFRAME", {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}),
        ("DCM-MULTIFRAME", {"NumberOfFrames": 20}),
    ],
)
def test_unfit_series_are_rejected_with_their_reason(tmp_path, code, more):
    write(tmp_path, **more)
    assert only(tmp_path).code == code


def test_spectral_maps_are_not_hu(tmp_path):
    for path in write(tmp_path):
        change(path, RescaleType="Z_EFF")
    assert only(tmp_path).code == "DCM-UNITS"


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
    assert choose_series(series, wanted=None, **CHOICE).number == "6"
    assert choose_series(series, wanted=None, **{**CHOICE, "preferred_kernel": "sharp"}).number == "5"
    assert choose_series(series, wanted="5", **CHOICE).number == "5"
    with pytest.raises(ScanFault, match="found no series 9"):
        choose_series(series, wanted="9", **CHOICE)


def test_truncated_file_is_a_fault_of_the_scan(tmp_path):
    truncate_file(write(tmp_path)[7], 0.5)
    with pytest.raises(ScanFault, match="DCM-TRUNCATED|DCM-PIXELS"):
        read_series(only(tmp_path))


def test_foreign_files_are_passed_over(tmp_path):
    write(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "DICOMDIR").write_bytes(b"x" * 128 + b"DICM")
    (tmp_path / ".DS_Store").touch()
    assert only(tmp_path).usable and len(only(tmp_path).files) == 20


def test_empty_file_may_be_a_lost_slice_and_is_not_passed_over(tmp_path):
    write(tmp_path)[-1].write_bytes(b"")
    with pytest.raises(ScanFault, match="DCM-UNREADABLE.*1 of 20 files are broken or empty"):
        find_series(tmp_path, **LIMITS)


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
    [
        ("B30f", "soft"),
        ("Br45d\\3", "soft"),
        ("B70f", "sharp"),
        ("lung", "sharp"),
        ("FC08", "soft"),
        ("FC51", "sharp"),
        ("??", "unknown"),
        ("", "unknown"),
    ],
)
def test_kernels_have_a_class(kernel, expected):
    assert kernel_class(kernel, KERNELS) == expected


def test_rules_decide_in_the_order_that_the_config_gives(tmp_path):
    write(tmp_path / "a", number=3, kernel="STANDARD", spacing=(3.0, 2.0, 2.0))
    write(tmp_path / "b", np.repeat(chest(), 3, axis=0), number=4, kernel="LUNG", spacing=(1.0, 2.0, 2.0))
    series = find_series(tmp_path, **LIMITS)
    first = {
        order[0]: choose_series(series, wanted=None, **{**CHOICE, "prefer": order}).number
        for order in (["kernel", "thickness"], ["thickness", "kernel"], ["slices"])
    }
    assert first == {"kernel": "3", "thickness": "4", "slices": "4"}


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
        choose_series(series, wanted="2", **CHOICE)


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


def nifti(path, *, spacing=(3.0, 2.0, 2.0)):
    write_volume(Volume(chest(), spacing, (-10.0, -20.0, -30.0), np.eye(3)), path)
    return path


def test_nifti_without_orientation_is_refused(tmp_path):
    path = tmp_path / "scan.nii"
    nifti(path)
    content = bytearray(path.read_bytes())
    content[252:256] = b"\0\0\0\0"  # qform_code and sform_code
    path.write_bytes(bytes(content))
    with pytest.raises(ScanFault, match="IMG-ORIENTATION"):
        ingest_scan(path, **INGEST)


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_spacing_that_contradicts_anatomy_is_refused(tmp_path, factor):
    path = nifti(tmp_path / "scan.nii.gz", spacing=(3.0, 2.0 * factor, 2.0 * factor))
    with pytest.raises(ScanFault, match="IMG-SIZE|DCM-THICK"):
        ingest_scan(path, **INGEST)
    with pytest.raises(ScanFault, match="IMG-SIZE: the body is"):
        ingest_scan(path, **{**INGEST, "max_thickness_mm": 100.0})


def test_nan_in_a_nifti_is_refused(tmp_path):
    hu = chest().astype(np.float32)
    hu[3, 3, 3] = np.nan
    write_volume(Volume(hu, (3.0, 2.0, 2.0), (0.0, 0.0, 0.0), np.eye(3)), tmp_path / "scan.nii.gz")
    with pytest.raises(ScanFault, match="IMG-NAN"):
        ingest_scan(tmp_path / "scan.nii.gz", **INGEST)


def test_dcm2niix_gives_the_same_volume(tmp_path):
    write(tmp_path)
    ours, theirs = (ingest_scan(tmp_path, **{**INGEST, "converter": name}).volume for name in ("lungtypes", "dcm2niix"))
    assert (ours.array == theirs.array).all() and ours.origin_mm == pytest.approx(theirs.origin_mm, abs=1e-3)
    assert ours.spacing_mm == pytest.approx(theirs.spacing_mm)


def test_dcm2niix_that_leaves_another_grid_is_a_fault(tmp_path):
    rng = np.random.default_rng(1)
    for path in write(tmp_path):  # it takes the spacing from the first two slices
        x, y, z = pydicom.dcmread(path).ImagePositionPatient
        change(path, ImagePositionPatient=[x, y, z + rng.uniform(-0.07, 0.07)])
    assert only(tmp_path).usable
    with pytest.raises(ScanFault, match="DCM-CONVERTER"):
        ingest_scan(tmp_path, **{**INGEST, "converter": "dcm2niix"})
