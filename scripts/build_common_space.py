"""Rule build_common_space: coarse lung density, the space in which methods are compared."""

import numpy as np

from lungtypes.evaluation.common_space import common_space
from lungtypes.imaging.hounsfield import OUTSIDE
from lungtypes.imaging.volume_files import read_cohort_array
from lungtypes.provenance import open_log, record, write_table

open_log(snakemake.log[0])
cohort = read_cohort_array(snakemake.input.array, snakemake.input.description)
train = np.flatnonzero([split == "train" for split in cohort.splits])
table = common_space(cohort.array, cohort.subjects, train=train, outside=OUTSIDE)
write_table(snakemake.output.table, table)
record(snakemake)
