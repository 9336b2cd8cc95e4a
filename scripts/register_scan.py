"""Rule register_scan: one scan in template space, with its transforms and quality figures."""

import shutil
from pathlib import Path

from lungtypes.cohort.status import run_scan_stage
from lungtypes.device import set_itk
from lungtypes.imaging.geometry import read_volume
from lungtypes.imaging.registration import register_to_template
from lungtypes.imaging.registration_files import check_registration, write_registration
from lungtypes.provenance import open_log, record
from lungtypes.randomness import derive_seed

open_log(snakemake.log[0])
config, subject = snakemake.params.config, snakemake.wildcards.subject
limits = {name: config["register"][name] for name in ("min_dice", "max_folded_fraction")}
options = {name: value for name, value in config["register"].items() if name not in limits}
set_itk(threads=config["itk_threads"], seed=derive_seed(config["seed"], "register", subject))


def work(folder: Path) -> None:
    scan = Path(snakemake.input.scan)
    images = [scan / "ct.nii.gz", scan / "lungs.nii.gz", snakemake.input.template, snakemake.input.mask]
    scratch = folder / "scratch"
    scratch.mkdir()
    result = register_to_template(*map(read_volume, images), **options, work_dir=scratch)
    write_registration(folder, result)
    shutil.rmtree(scratch)
    check_registration(result, **limits)


run_scan_stage(
    snakemake.output.folder,
    subject=subject,
    stage="register",
    upstream=[snakemake.input.scan],
    strict=config["strict"],
    work=work,
)
record(
    snakemake.params.results,
    snakemake.rule,
    subject,
    config=snakemake.params.config,
    code=snakemake.params.code,
    outputs=list(snakemake.output),
)
