"""Rule map_dcam: every subject's dense map, in its own space and the template's, group maps, what they cover."""

from pathlib import Path

from lungtypes.device import choose_device, keep_freed_memory, set_itk, set_torch
from lungtypes.imaging.transforms import maps_to_template
from lungtypes.imaging.volume_files import read_cohort_array
from lungtypes.methods.dcam_maps import write_dense_maps
from lungtypes.methods.dcam_stages import load_dcam
from lungtypes.methods.map_groups import read_clusters
from lungtypes.provenance import open_log, record, write_table

open_log(snakemake.log[0])
config = snakemake.params.config
keep_freed_memory()
set_itk(threads=config["itk_threads"], seed=1)
set_torch(threads=config["torch_threads"])
scans = read_cohort_array(snakemake.input.array, snakemake.input.description)
template = read_cohort_array(snakemake.input.template_array, snakemake.input.template_description)
to_template = maps_to_template(dict(zip(config["subjects"], snakemake.input.registered, strict=True)), template.grid)
device = choose_device(config["device"])
model, settings = load_dcam(Path(snakemake.input.model).parent, device)
tables = write_dense_maps(
    Path(snakemake.output.summary).parent,
    model,
    settings,
    scans,
    template,
    read_clusters(snakemake.input.assignment, scans.subjects),
    template.regions(snakemake.input.mask),
    to_template=to_template if scans.grids else None,
    device=device,
)
for name in ("summary", "regions", "groups"):
    write_table(snakemake.output[name], getattr(tables, name).assign(flag=settings["flag"]))
record(snakemake, name=snakemake.wildcards.method)
