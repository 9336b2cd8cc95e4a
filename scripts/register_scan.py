"""Rule register_scan: one scan in template space with its quality figures, registered by us or by the user."""

from pathlib import Path

from lungtypes.cohort.status import run_scan_stage
from lungtypes.device import set_itk
from lungtypes.imaging.registration_engine import registration_settings
from lungtypes.imaging.registration_files import adopt_registered, register_scan
from lungtypes.provenance import open_log, record
from lungtypes.randomness import derive_seed

given = {name: snakemake.input.get(name) for name in ("registered", "lungs")}
open_log(snakemake.log[0], hide=[path for path in given.values() if path])
config, subject = snakemake.params.config, snakemake.wildcards.subject
seed = derive_seed(config["seed"], "register", subject)
set_itk(threads=config["itk_threads"], seed=seed)
template = {name: snakemake.input[name] for name in ("template", "mask")}
checks = config["register"]["checks"]


def work(folder: Path) -> None:
    if given["registered"]:
        adopt_registered(folder, **given, **template, checks=checks)
    else:
        settings = registration_settings(config["register"])
        register_scan(folder, snakemake.input.scan, **template, settings=settings, checks=checks)


run_scan_stage(
    snakemake.output.folder,
    subject=subject,
    stage="register",
    upstream=[] if given["registered"] else [snakemake.input.scan],
    strict=config["strict"],
    decision=config["decision"],
    work=work,
)
record(snakemake, name=subject, seed=seed)
