"""Plans over the options of the config, on generated sheets of files that are empty: cheap, and wide."""

import re
import subprocess
import sys
from pathlib import Path

import openpyxl
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def write_study(study, **config):
    (study.folder / "study.yaml").write_text(yaml.safe_dump(config))


def rows_of(study):
    return [row.split("\t") for row in (study.folder / "config/subjects.tsv").read_text().splitlines()]


def write_rows(study, rows):
    (study.folder / "config/subjects.tsv").write_text("\n".join("\t".join(row) for row in rows) + "\n")


def with_column(study, name, values):
    """Add a column to the sheet; ``values`` in the order of the rows, the rest empty."""
    rows = rows_of(study)
    values = [*values, *[""] * (len(rows) - 1 - len(values))]
    write_rows(study, [[*row, value] for row, value in zip(rows, [name, *values], strict=True)])


def template_files(study):
    for name in ("t.nii.gz", "m.nii.gz"):
        (study.folder / name).touch()
    return {"image": "t.nii.gz", "lungs": "m.nii.gz"}


@pytest.mark.parametrize(
    ("config", "present", "absent"),
    [
        ({}, {"ingest_scan": 12, "register_scan": 12, "map_clam": 1, "write_report": 1}, ["adopt_template"]),
        ({"keep": "results"}, {"ingest_scan": 12, "write_report": 1}, []),
        ({"strict": True, "device": "cpu", "seed": 7}, {"ingest_scan": 12}, []),
        (
            {"clam": {"enabled": False}},
            {"build_cohort_array": 1, "collect_attrition": 1},
            ["pretrain_clam", "write_report"],
        ),
        ({"clam": {"k": {"n_clusters": 3}}}, {"choose_clam_clusters": 1}, []),
        ({"clam": {"background": "zero", "k": {"rule": "silhouette"}}}, {"cluster_clam": 1}, []),
        (
            {"template": {"minimum": 4, "maximum": 4, "max_iterations": 3}},
            {"register_template_slot": 12, "update_template": 3},
            [],
        ),
        ({"template": {"representation": "mask"}, "register": {"representation": "hu"}}, {"register_scan": 12}, []),
        ({"clinical": ""}, {"evaluate_clusters": 1}, ["associate_outcomes"]),
        (
            {"subjects": "", "simulation": {"scenarios": ["size-3", "no-clusters"], "seeds": [1, 2]}},
            {"draw_lung_slice": 1, "simulate_scenario": 4, "summarise_simulation": 1},
            ["ingest_scan", "pretrain_clam"],
        ),
        ({"associate": {"phenotypes": ["laa950_percent", "mean_hu"]}}, {"associate_phenotype": 2}, []),
        ({"results": "elsewhere/out"}, {"write_report": 1}, []),
    ],
)
def test_options_of_the_config_plan_what_they_say(fake, config, present, absent):
    write_study(fake, **config)
    planned = fake.planned()
    assert {name: planned.get(name) for name in present} == present
    assert not set(absent) & set(planned)


def test_held_out_and_repeated_scans_stay_out_of_the_template(fake):
    with_column(fake, "split", ["test"] * 3)
    with_column(fake, "person", ["", "", "", "A", "A"])
    with_column(fake, "primary", ["", "", "", "1", "0"])
    write_study(fake, template={"minimum": 1, "fraction": 1.0}, associate={"unmatched": "allow"})
    planned = fake.planned()
    assert planned["register_template_slot"] == 8 * 8 and planned["register_scan"] == 12


def test_given_template_skips_building_one(fake):
    write_study(fake, template=template_files(fake))
    planned = fake.planned()
    assert planned["adopt_template"] == 1 and planned["register_scan"] == 12
    assert not {"select_template_sample", "register_template_slot", "finish_template"} & set(planned)


def test_labelled_template_gives_lobes_to_scans_without_a_lobe_mask(fake):
    with_column(fake, "lobes", ["t.nii.gz"])
    (fake.folder / "l.nii.gz").touch()
    write_study(fake, template={**template_files(fake), "lobes": "l.nii.gz"})
    planned = fake.planned()
    assert planned["adopt_template_lobes"] == 1 and planned["warp_lobes"] == 11
    assert planned["measure_densitometry"] == 12
    write_study(fake, template={"lobes": "no.nii.gz"})
    assert "template.lobes: found 'no.nii.gz'" in fake.snakemake("-n", check=False).stdout


def with_scores(study, *rows):
    (study.folder / "scores.tsv").write_text("\n".join(["subject\tregion\tgrade", *rows]) + "\n")
    return {"methods": ["dram", "dram-cam"], "table": "scores.tsv"}


def test_lesion_maps_alone_are_a_study_and_need_no_template(fake):
    dram = with_scores(fake, "S00001\tright_upper_zone\t2")
    write_study(fake, clam={"enabled": False}, dram=dram)
    planned = fake.planned()
    wanted = {"build_region_arrays": 1, "train_dram": 2, "segment_dram": 2, "evaluate_dram": 2, "write_report": 1}
    wanted["associate_phenotype"] = 2
    assert {name: planned.get(name) for name in wanted} == wanted
    assert not {"pretrain_clam", "adopt_lesions", "associate_outcomes"} & set(planned)
    own = fake.planned("dram")
    assert own["resample_scan"] == 12 and not {"register_scan", "start_template", "screen_cohort"} & set(own)


def test_lobes_from_a_labelled_template_are_warped_for_scans_without_their_own(fake):
    with_column(fake, "lobes", ["t.nii.gz", "t.nii.gz"])
    (fake.folder / "l.nii.gz").touch()
    dram = with_scores(fake, "S00001\tright_upper\t2")
    write_study(fake, dram=dram, template={**template_files(fake), "lobes": "l.nii.gz"})
    planned = fake.planned("dram")
    assert planned["warp_lobes"] == 10 and planned["build_region_arrays"] == 1


def test_lesion_masks_are_taken_in_for_dram_and_for_no_other_method(fake):
    (fake.folder / "m.nii.gz").touch()
    with_column(fake, "lesions", ["m.nii.gz"] * 5)
    dram = with_scores(fake, "S00001\tleft_lower_zone\t1")
    write_study(fake, dram={**dram, "methods": ["dram-supervised"]})
    planned = fake.planned("dram")
    assert planned["adopt_lesions"] == 5 and planned["build_region_lesions"] == 1
    assert not {"adopt_lesions", "build_region_lesions"} & set(fake.planned("results/dram/phenotype.tsv"))
    assert not {"adopt_lesions", "build_region_arrays"} & set(fake.planned("clam"))


def test_dram_needs_its_table(fake):
    write_study(fake, dram={"methods": ["dram"]})
    done = fake.snakemake("-n", check=False)
    assert done.returncode != 0 and "dram.methods: found dram without dram.table" in done.stdout
    write_study(fake)
    done = fake.snakemake("-n", "dram", check=False)
    assert done.returncode != 0 and "dram.methods is empty. Name dram" in done.stdout
    done = fake.snakemake("-n", "results/dram-cam/phenotype.tsv", check=False)
    assert done.returncode != 0 and "dram.table is empty. Name a table of lesion percentages" in done.stdout
    write_study(fake, dram=with_scores(fake, "S00001\tright_upper\t2"))
    done = fake.snakemake("-n", check=False)
    assert done.returncode != 0 and "found no row about a region of a training scan" in done.stdout


def test_given_template_must_exist(fake):
    write_study(fake, template={"image": "no.nii.gz", "lungs": "no.nii.gz"})
    done = fake.snakemake("-n", check=False)
    assert done.returncode != 0 and "template.image" in done.stdout and "template.lungs" in done.stdout


def test_frozen_template_must_exist_and_then_skips_building_one(fake):
    write_study(fake, template={"frozen": True})
    done = fake.snakemake("-n", check=False)
    assert done.returncode != 0 and "template.frozen" in done.stdout
    folder = fake.folder / "results/template"
    folder.mkdir(parents=True)
    for name in ("template.nii.gz", "mask.nii.gz", "probability.nii.gz", "convergence.tsv"):
        (folder / name).touch()
    planned = fake.planned()
    assert planned["register_scan"] == 12 and not {"adopt_template", "finish_template"} & set(planned)


def test_registered_volumes_skip_every_stage_before(fake):
    rows = rows_of(fake)
    write_rows(fake, [["subject", "registered"], *rows[1:]])
    write_study(fake, template=template_files(fake))
    planned = fake.planned()
    assert planned["register_scan"] == 12 and planned["write_report"] == 1
    assert not {"ingest_scan", "segment_lungs", "resample_scan", "measure_densitometry"} & set(planned)


def test_registered_volumes_need_their_template(fake):
    rows = rows_of(fake)
    write_rows(fake, [["subject", "registered"], *rows[1:]])
    done = fake.snakemake("-n", check=False)
    assert done.returncode != 0 and "template.image" in done.stdout


def test_sheets_of_other_kinds_give_the_same_plan(fake):
    expected = fake.planned()
    for name in ("subjects", "clinical"):
        rows = [row.split("\t") for row in (fake.folder / f"config/{name}.tsv").read_text().splitlines()]
        (fake.folder / f"{name}.csv").write_text("\n".join(",".join(row) for row in rows) + "\n")
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append([float(cell) if cell.isdigit() else cell for cell in row])
        book.save(fake.folder / f"{name}.xlsx")
    for kind in ("csv", "xlsx"):
        write_study(fake, subjects=f"subjects.{kind}", clinical=f"clinical.{kind}")
        assert fake.planned() == expected


def test_check_prints_every_fault_of_every_file_and_plans_nothing(fake):
    done = fake.snakemake("-n", "check")
    assert "12 scans" in done.stdout and "ingest_scan" not in done.stdout
    rows = rows_of(fake)
    rows[2][0], rows[3][1] = "s00001", "/no/such"
    write_rows(fake, rows)
    clinical = fake.folder / "config/clinical.tsv"
    clinical.write_text(clinical.read_text().replace("S00004\t43", "S00004\t4,3"))
    (fake.folder / "config/decisions.tsv").write_text(
        "subject\tstage\tdecision\tby\treason\nS00009\tlung\texclude\tAB\tmoved\n"
    )
    write_study(fake, devise="cpu", clam={"k": {"n_clusters": 40}})
    done = fake.snakemake("-n", "check", check=False)
    assert done.returncode != 0
    for part in (
        "devise: this key is not known. Did you mean device?",
        "subjects.tsv, line 3, column subject: found 's00001'",
        "subjects.tsv, line 4, column path: found '/no/such'",
        "clinical.tsv, line 5, column age: found '4,3'",
        "decisions.tsv, line 2, column stage: found 'lung'",
    ):
        assert part in done.stdout, done.stdout
    assert "\nBuilding DAG" not in done.stdout


def test_checks_do_not_run_again_in_the_jobs_of_a_run(fake):
    (fake.folder / "config/subjects.tsv").write_text("subject\tpath\nS1\t/gone/since\nS2\t/gone\nS3\t/gone\n")
    code = (
        "import sys; from pathlib import Path\n"
        "from snakemake.api import ConfigSettings, ResourceSettings, SnakemakeApi, WorkflowSettings\n"
        "from snakemake.settings.types import OutputSettings\n"
        "from snakemake_interface_executor_plugins.settings import ExecMode\n"
        "with SnakemakeApi(OutputSettings(quiet={'all'})) as api:\n"
        "    flow = api.workflow(\n"
        "        resource_settings=ResourceSettings(cores=1),\n"
        "        config_settings=ConfigSettings(configfiles=[Path('study.yaml')]),\n"
        "        workflow_settings=WorkflowSettings(exec_mode=ExecMode[sys.argv[2]]),\n"
        "        snakefile=Path(sys.argv[1]))\n"
        "    print('scans', len(flow._workflow.globals['SUBJECTS']))\n"
    )

    def parsed(mode):
        command = [sys.executable, "-c", code, str(ROOT / "Snakefile"), mode]
        done = subprocess.run(command, cwd=fake.folder, text=True, capture_output=True)
        return done.stdout + done.stderr

    for mode in ("SUBPROCESS", "REMOTE"):
        text = parsed(mode)
        assert "scans 3" in text and "no fault" not in text
    assert "scans 3" not in parsed("DEFAULT") and "/gone/since" in parsed("DEFAULT")


def test_rule_files_are_read_in_two_seconds_without_torch_or_simpleitk(fake):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from snakemake.api import ConfigSettings, ResourceSettings, SnakemakeApi\n"
        "from snakemake.settings.types import OutputSettings\n"
        "from snakemake.workflow import Workflow\n"
        "with SnakemakeApi(OutputSettings(quiet={'all'})) as api:\n"
        "    flow = api.workflow(\n"
        "        resource_settings=ResourceSettings(cores=1),\n"
        "        config_settings=ConfigSettings(configfiles=[Path('study.yaml')]),\n"
        "        snakefile=Path(sys.argv[1]))\n"
        "    start = time.process_time()\n"
        "    rules = list(flow._workflow.rules)\n"
        "    seconds = time.process_time() - start\n"
        "bad = {'torch', 'SimpleITK', 'ants', 'sklearn', 'matplotlib', 'pydicom', 'scipy'} & set(sys.modules)\n"
        "print('rules', len(rules), 'seconds', seconds, 'bad', sorted(bad))\n"
    )
    command = [sys.executable, "-c", code, str(ROOT / "Snakefile")]
    done = subprocess.run(command, cwd=fake.folder, text=True, capture_output=True)
    words = done.stdout.split()
    assert "rules" in words, done.stdout + done.stderr
    assert int(words[words.index("rules") + 1]) > 20
    assert float(words[words.index("seconds") + 1]) < 2.0 and done.stdout.strip().endswith("bad []")


def test_yaml_with_aliases_is_refused_before_anything_else(fake):
    (fake.folder / "study.yaml").write_text("seed: &a 1\ntorch_threads: *a\n")
    done = fake.snakemake("-n", check=False)
    assert done.returncode != 0 and "study.yaml, line 1" in done.stdout


def test_workflow_can_be_imported_as_a_module_from_another_folder(fake):
    (fake.folder / "Snakefile").write_text(
        "configfile: 'study.yaml'\n"
        f"module lungtypes:\n    snakefile: {str(ROOT / 'Snakefile')!r}\n    config: config\n\n"
        "use rule * from lungtypes as ct_*\n\n"
        "rule mine:\n    default_target: True\n    input: rules.ct_lungs.input\n"
    )
    write_study(fake, results="out", ingest={"min_slices": 40})
    command = [sys.executable, "-m", "snakemake", "-n"]
    done = subprocess.run(command, cwd=fake.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^ct_segment_lungs +12$", done.stdout, re.M)
    assert "out/lungs/S00012" in done.stdout
