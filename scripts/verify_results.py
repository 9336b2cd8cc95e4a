"""Rule verify: is every product what its job wrote, and what another clone computed?"""

import platform
import sys
from pathlib import Path

from lungtypes.manifest import MANIFEST, read_manifest
from lungtypes.provenance import open_log, package_versions, write_table
from lungtypes.verification import (
    compare_checksums,
    require_unchanged,
    summary_lines,
    verification_table,
    verify_results,
)

config, results = snakemake.params.config, Path(snakemake.params.results)
open_log(snakemake.log[0], hide=[config["manifest"]])
other = read_manifest(config["manifest"]) if config["manifest"] else None
own = read_manifest(results / MANIFEST) if (results / MANIFEST).exists() else {}
deletes = "results" in (config["keep"], own.get("config", {}).get("keep"))
verdicts = verify_results(
    results,
    code=snakemake.params.codes,
    versions={"python": platform.python_version(), **package_versions()},
    temporary=config["temporary"] if deletes else [],
    workers=snakemake.threads,
)
comparison = compare_checksums(verdicts, other, own) if other else None
table = results / "provenance/verify.tsv"
write_table(table, verification_table(verdicts, comparison))
sys.stdout.write("\n".join([*summary_lines(verdicts, comparison), "", f"All of it: {table}", ""]))
require_unchanged(verdicts, comparison, table=str(table))
