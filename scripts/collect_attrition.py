"""Rule collect_attrition: how far each subject came, why not further, and what a human should look at."""

from lungtypes.cohort.attrition import attrition_table
from lungtypes.cohort.collect import collect_json
from lungtypes.cohort.review import review_table
from lungtypes.imaging.registration_checks import registration_warnings
from lungtypes.provenance import open_log, record, write_table

open_log(snakemake.log[0])
config = snakemake.params.config
registered = dict(zip(config["subjects"], snakemake.input.registered, strict=True))
density = dict(zip(config["scanned"], snakemake.input.density, strict=True))
lungs = dict(zip(config["scanned"], snakemake.input.lungs, strict=True))
figures = collect_json(registered, "registration.json")
for record_of_scan in figures.values():
    record_of_scan["warnings"] = registration_warnings(record_of_scan, config["register_checks"])
table = attrition_table(registered, density)
write_table(snakemake.output.table, table)
proposals = review_table(
    table,
    lungs=collect_json(lungs, "lungs.json"),
    registration=figures,
    decided=set(map(tuple, config["decided"])),
)
write_table(snakemake.output.review, proposals)
record(snakemake)
