"""Rule evaluate_dram: errors of predicted percentages, and Dice where there are lesion masks."""

import pandas as pd

from lungtypes.evaluation.segmentation import percentage_table
from lungtypes.evaluation.segmentation_files import dice_table
from lungtypes.imaging.region_files import read_region_arrays
from lungtypes.provenance import open_log, record, write_table

open_log(snakemake.log[0])
inputs = snakemake.input
cohort = read_region_arrays(
    inputs.array, inputs.labels, inputs.description, inputs.get("lesions"), inputs.get("masked")
)
percentages = pd.read_csv(inputs.percentages, sep="\t", dtype={"subject": str, "given_kind": str})
splits = dict(zip(cohort.subjects, cohort.splits, strict=True))
table = percentage_table(percentages, splits, edges=snakemake.params.config["edges"])
write_table(snakemake.output.percentages, table)
write_table(snakemake.output.dice, dice_table(inputs.masks, cohort))
record(snakemake, name=snakemake.wildcards.method)
