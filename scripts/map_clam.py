"""Rule map_clam: CLAM of every subject, group maps, and what they cover."""

from pathlib import Path

from lungtypes.device import choose_device, make_deterministic
from lungtypes.imaging.volume_files import read_cohort_array
from lungtypes.methods.clam_maps import explain_assignments, read_clusters, write_maps
from lungtypes.methods.model_files import load_autoencoder
from lungtypes.provenance import open_log, record, write_table

open_log(snakemake.log[0])
config = snakemake.params.config
make_deterministic(torch_threads=config["torch_threads"])
cohort = read_cohort_array(snakemake.input.array, snakemake.input.description)
explained = explain_assignments(
    load_autoencoder(Path(snakemake.input.model).parent),
    cohort.array,
    read_clusters(snakemake.input.assignment, cohort.subjects),
    **config["map"],
    device=choose_device(config["device"]),
)
regions = cohort.regions(snakemake.input.mask)
summary = write_maps(
    Path(snakemake.output.maps), Path(snakemake.output.group_maps), explained, cohort=cohort, regions=regions
)
write_table(snakemake.output.summary, summary)
record(snakemake.params, snakemake.output, rule=snakemake.rule)
