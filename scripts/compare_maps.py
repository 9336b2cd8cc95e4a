"""Rule compare_maps: further maps beside the published one, and how faithful each of them is."""

from pathlib import Path

import pandas as pd

from lungtypes.device import choose_device, keep_freed_memory, set_itk, set_torch
from lungtypes.imaging.lesion_masks import lesions_on_grids
from lungtypes.imaging.transforms import maps_to_template
from lungtypes.imaging.volume_files import read_cohort_array
from lungtypes.maps.map_parts import read_parts
from lungtypes.methods.map_kinds import control_rows
from lungtypes.methods.map_stages import Plan, compare_stage, explainer_of
from lungtypes.provenance import open_log, record

open_log(snakemake.log[0])
config, given = snakemake.params.config, snakemake.input
keep_freed_memory()
set_itk(threads=config["itk_threads"], seed=1)
set_torch(threads=config["torch_threads"])
scans = read_cohort_array(given.array, given.description)
template = read_cohort_array(given.template_array, given.template_description)
registered = dict(zip(config["subjects"], given.registered, strict=True))
method = snakemake.wildcards.method
rows, reference = control_rows(scans.splits, [subject in config["controls"] for subject in scans.subjects])
how = {"device": choose_device(config["device"]), **config["published"]}
explainer, flag = explainer_of(method, Path(given.model).parent, scans.array, rows, **how)
embedding = pd.read_csv(given.embedding, sep="\t", dtype={"subject": str})
compare_stage(
    Path(snakemake.output.table).parent,
    explainer,
    scans,
    template,
    pd.read_csv(given.assignment, sep="\t", dtype={"subject": str}),
    embedding[embedding["phase"] == "after"].filter(regex=r"^z_\d+$").dropna(axis=1).to_numpy(),
    template.regions(given.mask)["lungs"],
    Plan(**config["maps"], seed=config["seed"]),
    weights=read_parts(Path(given.parts)).weights if given.parts else None,
    to_template=maps_to_template(registered, template.grid) if scans.grids else None,
    lesions=lesions_on_grids(given.lesions, None if scans.grids else registered),
    reference=reference,
    flag=flag,
)
record(snakemake, name=method)
