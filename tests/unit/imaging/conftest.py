"""ITK threads and ANTs' seed must be fixed before anything imports ants."""

from lungtypes.device import set_itk

set_itk(threads=1, seed=1)
