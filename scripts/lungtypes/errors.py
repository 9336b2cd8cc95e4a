"""The errors that lungtypes raises on purpose: each names place, found, expected and remedy."""

from __future__ import annotations


class LungtypesError(Exception):
    """Base of all errors of lungtypes; its text can be shown to the user as it stands."""


class InputError(LungtypesError):
    """A file, a table or a config value that the user can mend."""


class GeometryError(LungtypesError):
    """Two images that should share one grid do not."""


class ScanFault(LungtypesError):
    """One scan cannot be used. It becomes a row of ``cohort/attrition.tsv``, not a crash.

    Parameters
    ----------
    code : short reason code, stable across versions, for example ``DCM-UNREADABLE``.
    message : what was found, what was expected, and what to do.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
