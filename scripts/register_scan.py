"""Rule register_scan: one scan in template space with its quality figures, registered by us or by the user."""

from pathlib import Path

from lungtypes.cohort.status import run_scan_stage
from lungtypes.device import set_itk
from lungtypes.imaging.registration_files import adopt_registered, register_scan
from lungtypes.provenance import open_log, record
from lungtypes.randomness import derive_seed

given = {name: snakemake.input.get(name) for name in ("registered", "lungs")}
open_log(snakemake.log[0], hide=[path for path in given.values() if path])
config, subject = snakemake.params.config, snakemake.wildcards.subject
set_itk(threads=config["itk_threads"], seed=derive_seed(config["seed"], "register", subject))
template = {name: snakemake.input[name] for name in ("template", "mask")}


def work(folder: Path) -> None:
    if given["registered"]:
        adopt_registered(folder, **given, **template, min_dice=config["register"]["min_dice"])
    else:
        register_scan(folder, snakemake.input.scan, **template, **config["register"])


run_scan_stage(
    snakemake.output.folder,
    subject=subject,
    stage="register",
    upstream=[] if given["registered"] else [snakemake.input.scan],
    strict=config["strict"],
    decision=config["decision"],
    work=work,
)
record(snakemake.params, snakemake.output, rule=snakemake.rule, name=subject)
