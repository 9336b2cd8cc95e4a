"""Every reason code of a failed scan: what it means and what to do. The docs show the same table."""

from __future__ import annotations

REASONS: dict[str, tuple[str, str]] = {
    # code: (meaning, remedy)
    "IN-MISSING": ("nothing at the path", "Mend the path in the sheet."),
    "ZIP-UNREADABLE": ("a ZIP archive that is broken or encrypted", "Make the archive again, or unpack it yourself."),
    "ZIP-SIZE": ("a ZIP archive that unpacks to more than 20 GB", "Unpack it yourself and name the folder."),
    "DCM-NONE": ("no DICOM image under the path", "Name the folder that holds the slices, or export them again."),
    "DCM-SERIES": ("no usable series", "See ingest/series.tsv for the reason of each; export another reconstruction."),
    "DCM-STUDIES": ("usable series of several studies in one folder", "Name the folder of one study in path."),
    "DCM-AMBIGUOUS": ("the wanted series number occurs twice", "Keep one study a folder."),
    "DCM-NOTCT": ("not CT", "Export the CT series."),
    "DCM-MULTIFRAME": ("an enhanced multiframe CT", "Export it as classic CT images, one file a slice."),
    "DCM-UNITS": ("values in another unit than HU", "Export the conventional CT image, not a spectral map."),
    "DCM-TYPE": ("a localizer, projection or reformat", "Export the axial series."),
    "DCM-SLICES": ("too few slices", "Export all slices; if they are all, accept it in decisions.tsv."),
    "DCM-SHORT": ("too little of the chest", "Export all slices; if the lungs are whole, accept it in decisions.tsv."),
    "DCM-THICK": ("slices too thick", "Export a thinner reconstruction, or accept it in decisions.tsv."),
    "DCM-GAP": ("slices missing or unevenly spaced", "Export the series again; slices seem to be missing."),
    "DCM-DUPLICATE": ("slice positions occur twice with different pixels", "Split the series, or export it again."),
    "DCM-TAG": ("a geometry or rescale tag is missing", "Export from the scanner or PACS, not from a viewer."),
    "DCM-TILT": ("the gantry was tilted", "Use a series without tilt, or set ingest.allow_tilt: true."),
    "DCM-CONVERTER": ("dcm2niix failed or left another grid", "Use ingest.converter: lungtypes."),
    "DCM-HEADER": ("a header that makes no sense", "Export the series again."),
    "DCM-TRUNCATED": ("a file is cut off", "Copy or export the study again."),
    "DCM-PIXELS": ("pixels cannot be decoded", "Export uncompressed, or as JPEG lossless, JPEG 2000 or RLE."),
    "DCM-UNREADABLE": ("broken DICOM files", "Copy the study again."),
    "IMG-UNREADABLE": ("an image file that cannot be read", "Convert the scan again."),
    "IMG-ORIENTATION": ("a NIfTI that states no orientation", "Convert it again from DICOM."),
    "IMG-SIZE": ("a body too narrow or too wide: wrong spacing", "Convert it again; or accept it in decisions.tsv."),
    "IMG-NAN": ("NaN or infinite values", "Convert the scan again."),
    "HU-IMPLAUSIBLE": ("values are not HU of a chest", "Apply the rescale, or mend the path; or accept it."),
    "GEOMETRY": ("two images that belong together have different grids", "Make both from the same scan."),
    "SEG-NONE": ("no lung found", "Look at the scan; give a lung mask in the lungs column."),
    "SEG-UNSPLIT": ("left and right cannot be told apart", "Give a lung mask in the lungs column."),
    "SEG-LABELS": ("a given mask has other labels than expected", "Mend the mask, or lungs.lobe_labels in the config."),
    "SEG-BORDER": ("the field of view cuts a lung", "Reconstruct with a larger field of view, or accept it."),
    "SEG-TRUNCATED": ("the scan starts or ends within the lungs", "Export all slices, or accept it."),
    "SEG-VOLUME": ("lung volume outside the limits", "Look at the mask; give a better one, or accept it."),
    "SEG-RATIO": ("right/left ratio outside the limits", "Look at the mask; give a better one, or accept it."),
    "SEG-MIDLINE": ("a lung reaches far to the other side", "Look at the mask; give a better one, or accept it."),
    "SEG-DENSITY": ("lung density outside the limits", "Look at mask and HU; give a better mask, or accept it."),
    "SEG-SHAPE": ("lungs of an unlikely shape", "Look at the mask; give a better one, or accept it."),
    "SEG-GAP": ("much tissue between lungs and ribs", "Look for fluid; give a better mask, or accept it."),
    "SEG-PIECES": ("a lung in many pieces", "Look at the mask; give a better one, or accept it."),
    "SEG-AIRWAY": ("airway volume outside the limits", "Look at the airway mask; give a lung mask, or accept it."),
    "RES-VOLUME": (
        "resampling changed the lungs by more than 3 %",
        "Choose a finer resample.spacing_mm, or accept it.",
    ),
    "REG-FAILED": ("the registration failed", "Look at the lung mask."),
    "REG-DICE": ("lungs do not overlap with the template", "Look at the lung mask; give a better one, or accept it."),
    "REG-SURFACE": ("the lungs' surface lies far from the template's", "Look at the lung mask, or accept it."),
    "REG-FOLDED": ("the deformation folds", "Look at the lung mask; use fewer register.iterations, or accept it."),
    "REG-JACOBIAN": ("parts of the lungs are squeezed or stretched too far", "Look at the lung mask, or accept it."),
    "REG-INVERSE": ("the way to the scan and back misses", "Use fewer register.iterations, or accept it."),
    "REG-HU": ("lung HU are not like the template's", "Look at the scan and its mask, or accept it."),
    "REG-GRID": ("a given registered volume lies on another grid", "Resample it to template.image."),
    "APPLY-FILE": ("a file of apply.tsv that cannot be used", "See the message for which; mend it, or its row."),
    "HUMAN-EXCLUDED": ("excluded in decisions.tsv", "Take the row out of decisions.tsv to bring the scan back."),
}


def remedy(code: str) -> str:
    """What to do about a reason code; empty for none."""
    return REASONS[code][1] if code else ""
