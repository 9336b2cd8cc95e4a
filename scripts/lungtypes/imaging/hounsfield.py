"""The HU values that mean something to more than one room. Imports nothing, so that the methods can read it."""

AIR_HU = -1024  # the lowest value that is kept; also what lies outside a scan
MAX_HU = 3071  # the largest that 12 bits with the usual offset can hold
OUTSIDE = -2000  # in the cohort array: no lung here; no lung voxel can have it
