"""Rule freeze_models: template, settings and every fitted model in one folder, to assign scans that come later."""

import shutil
from pathlib import Path

from lungtypes.cohort.collect import collect_json
from lungtypes.cohort.frozen import TEMPLATE_FILES, write_manifest
from lungtypes.device import choose_device, keep_freed_memory, set_torch
from lungtypes.imaging.volume_files import read_cohort_array
from lungtypes.methods.frozen_stages import freeze_model, write_image_reference
from lungtypes.methods.typical_range import image_figures
from lungtypes.provenance import open_log, record, sha256_of, whole_folder

weights = snakemake.input.get("weights") or ""
open_log(snakemake.log[0], hide=[weights])
config = snakemake.params.config
keep_freed_memory()
set_torch(threads=config["torch_threads"])
device = choose_device(config["device"])
registered = dict(zip(config["subjects"], snakemake.input.registered, strict=True))
lungs = collect_json(dict(zip(config["scanned"], snakemake.input.lungs, strict=True)), "lungs.json")
fitted = dict(zip(config["methods"], map(Path, snakemake.input.models), strict=True))
with whole_folder(snakemake.output.folder) as folder:
    for source, name in zip((snakemake.input.template, snakemake.input.mask), TEMPLATE_FILES, strict=True):
        shutil.copyfile(source, folder / name)
    about = {}
    for method, model in fitted.items():
        space = "clam" if method == "clam" else "dcam"
        cohort = read_cohort_array(snakemake.input[f"{space}_array"], snakemake.input[f"{space}_description"])
        about[method] = freeze_model(
            folder / method,
            model.parent,
            cohort.array,
            cohort.splits,
            method=method,
            device=device,
        )
    first = [s for s, split in zip(cohort.subjects, cohort.splits, strict=True) if split != "repeat"]
    figures = collect_json({s: registered[s] for s in first}, "registration.json")
    write_image_reference(folder / "imaging.json", [image_figures(lungs.get(s), figures[s]) for s in figures])
    write_manifest(
        folder,
        settings=config["settings"],
        methods=about,
        lungmask_sha256=sha256_of(weights) if weights else "",
    )
record(snakemake)
