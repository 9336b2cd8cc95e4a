"""The words of the report: methods with the values of this run, references, limitations, how to rerun."""

from __future__ import annotations

import math
import platform
import re
from collections.abc import Mapping

import yaml

from lungtypes.provenance import package_versions
from lungtypes.report.blocks import Block, Bullets, Folded, Heading, Paragraph, Section, Table, method_name, number
from lungtypes.report.results import DRAM_METHODS, METHODS, Results

REFERENCES = (
    "Ryan SM, Carlson NE, Butler H, Fingerlin TE, Maier LA, Xing F. Cluster Activation Mapping with Applications to "
    "Medical Imaging. arXiv 2010.04794, 2020; and J Med Imaging 9(2):026001, 2022.",
    "Avants BB, Epstein CL, Grossman M, Gee JC. Symmetric diffeomorphic image registration with cross-correlation. "
    "Med Image Anal 12:26-41, 2008 (ANTs SyN).",
    "Rousseeuw PJ. Silhouettes: a graphical aid to the interpretation and validation of cluster analysis. J Comput "
    "Appl Math 20:53-65, 1987.",
    "Witten DM, Tibshirani R. A framework for feature selection in clustering. J Am Stat Assoc 105:713-726, 2010 "
    "(sparse k-means).",
    "Wang H, Wang Z, Du M, et al. Score-CAM: score-weighted visual explanations for convolutional neural networks. "
    "CVPR Workshops, 2020.",
    "Tibshirani R, Walther G, Hastie T. Estimating the number of clusters in a data set via the gap statistic. J R "
    "Stat Soc B 63:411-423, 2001.",
    "Hennig C. Cluster-wise assessment of cluster stability. Comput Stat Data Anal 52:258-271, 2007.",
    "Xie W, Jacobs C, van Ginneken B. Deep Clustering Activation Maps for Emphysema Subtyping. arXiv 2106.01351, 2021.",
    "Caron M, Bojanowski P, Joulin A, Douze M. Deep clustering for unsupervised learning of visual features. ECCV "
    "2018.",
    "Xie W, Jacobs C, Charbonnier JP, van Ginneken B. Dense Regression Activation Maps For Lesion Segmentation in CT "
    "scans of COVID-19 patients. arXiv 2105.11748, 2021.",
    "Otsu N. A threshold selection method from gray-level histograms. IEEE Trans Syst Man Cybern 9:62-66, 1979.",
)
# their numbers in the list, where the text cites them
DCAM, DEEPCLUSTER, DRAM, OTSU = 8, 9, 10, 11
UNSTATED = "not stated"
OWN_SCALE = (
    "CLAM maps are scaled to 0-1 for each scan: a bright spot is bright for that scan only, and strengths cannot be "
    "compared between scans."
)
# words for settings of CLAM
LATENT_SCALES = {
    "none": "as they are",
    "nearest_centroid": "in units of the mean distance to the nearest centroid at the start",
}
POPULATIONS = {"subject": "the mean over scans", "balanced": "the mean of the cluster maps (eq. 11 of [1])"}
OUTSIDE_PATH = re.compile(r"[/\\~]|[A-Za-z]:[/\\]|.*\.\.[/\\]")


def setting(config: Mapping[str, object], key: str) -> object:
    """The value at a dotted key, or "not stated"."""
    value: object = config
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return UNSTATED
        value = value[part]
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return value


def methods_section(
    config: Mapping[str, object],
    methods: tuple[str, ...],
    *,
    association: tuple[Block, ...] = (),
    dram_models: Mapping[str, Mapping[str, object]] | None = None,
) -> Section:
    """Methods for a paper, with the values of this run.

    methods : all that left results, those of lesions too. association : paragraphs of the statistics, from methods.md.
    dram_models : model.json of each method of lesions.
    """

    def s(key: str) -> object:
        return setting(config, key)

    blocks: list[Block] = [
        Paragraph(
            f"Scans. For each scan one CT series was chosen (preferred kernel: {s('ingest.preferred_kernel')}; at "
            f"least {s('ingest.min_slices')} slices of at most {s('ingest.max_thickness_mm')} mm over "
            f"{s('ingest.min_coverage_mm')} mm). Lungs were segmented by threshold and region growing, or taken from a "
            f"given mask, and accepted when volume (limits {s('lungs.checks.total_ml.fail')} mL), density, shape and "
            f"place lay within the limits of the config. Scans were resampled to {s('resample.spacing_mm')} mm."
        )
    ]
    clustering = [method for method in methods if method in METHODS]
    if clustering:
        blocks.append(
            Paragraph(
                f"Template and registration. {_template_sentence(config)} {_registration_sentence(config)} Scans "
                f"outside the limits were excluded ({_limits(config)}). Lung density in HU was kept and brought to "
                f"{s('volumes.size')} voxels of {s('volumes.spacing_mm')} mm along each axis."
            )
        )
    if "clam" in methods:
        blocks += _clam_paragraphs(config)
    if any(method.startswith("dcam") for method in methods):
        blocks += _dcam_paragraphs(config, methods)
    if clustering:
        blocks.append(
            Paragraph(
                "Evaluation. Silhouette [3] and other indices were computed before and after clustering, stability as "
                f"the mean Jaccard similarity over {s('evaluate.n_bootstrap')} resampled cohorts [7], and, if a "
                "reference was given, accuracy with one-to-one matching against "
                f"{s('evaluate.n_permutations')} permutations."
            )
        )
    if dram_models:
        blocks += _dram_paragraphs(config, dram_models)
    numbered = tuple(f"[{i}] {text}" for i, text in enumerate(REFERENCES, start=1))
    references = (Heading("References"), Bullets(numbered))
    return Section("methods", "Methods of this run", "Methods", (*blocks, *references, *association))


def _registration_sentence(config: Mapping[str, object]) -> str:
    drives = {
        "mask": "the lungs' shape (mean squares of signed distances to their surface, cut off at {distance_mm} mm)",
        "hu": "lung HU (local cross-correlation)",
    }
    drives["mask+hu"] = f"{drives['mask']} and, up to half the resolution, {drives['hu']}"
    chosen = drives.get(str(setting(config, "register.representation")), UNSTATED)
    return (
        "Every scan was registered to it with an affine and symmetric normalisation [2], driven by "
        f"{chosen.format(distance_mm=setting(config, 'register.distance_mm'))} (iterations "
        f"{setting(config, 'register.iterations')}, from coarse to full resolution); a scan that failed was tried "
        "again without HU, then with a smoother deformation."
    )


def _limits(config: Mapping[str, object]) -> str:
    """The limits of the registration that exclude, in words."""
    checks = setting(config, "register.checks")
    if not isinstance(checks, Mapping):
        return UNSTATED
    set_ones = {name: limits["fail"] for name, limits in checks.items() if limits.get("fail")}
    return "; ".join(f"{name}: {low:g} to {high:g}" for name, (low, high) in set_ones.items()) or "none set"


def _template_sentence(config: Mapping[str, object]) -> str:
    if setting(config, "template.image") not in ("", UNSTATED):
        return "A template that existed before the study was used."
    built = (
        f"A study template was built from {setting(config, 'template.fraction')} of the scans (at least "
        f"{setting(config, 'template.minimum')}, at most {setting(config, 'template.maximum')}; sampling "
        f"{setting(config, 'template.sampling')}), registered by {setting(config, 'template.representation')}, in at "
        f"most {setting(config, 'template.max_iterations')} iterations."
    )
    return built + (" It was then frozen." if setting(config, "template.frozen") is True else "")


def _clam_paragraphs(config: Mapping[str, object]) -> list[Block]:
    def s(key: str) -> object:
        return setting(config, f"clam.{key}")

    window = s("window_hu")
    window = "from air to the largest value of the training scans" if window == "data" else f"{window} HU"
    share = s("pretrain.held_out")
    kept = (
        f"; kept was the epoch at which the error of a share of {share} that did not train was lowest" if share else ""
    )
    k = s("k.n_clusters")
    how = (
        f"by the rule {s('k.rule')} for K = {s('k.minimum')} to {s('k.maximum')}"
        if k == "auto"
        else f"by hand (K = {k})"
    )
    return [
        Paragraph(
            f"CLAM [1]. A 3D convolutional autoencoder ({s('filters')} filters, strides {s('strides')}, "
            f"{s('latent')} latent values; window {window}) was trained to reconstruct the lungs for "
            f"{s('pretrain.epochs')} epochs (learning rate {s('pretrain.learning_rate')}, batch {s('batch')}){kept}. "
            f"The number of clusters was chosen on this embedding {how}, by silhouette [3] of k-means or sparse "
            f"k-means [4], with the gap statistic [6] and a test of one single Gaussian ({s('k.n_null')} simulations) "
            f"beside it. Reconstruction and clustering loss (weight {s('cluster.gamma')}) were then minimised together "
            f"for {s('cluster.epochs')} epochs (learning rate {s('cluster.learning_rate')}); each loss is a "
            f"{s('loss')} over voxels and scans. "
            f"Latent distances: {LATENT_SCALES.get(s('cluster.latent_scale'), UNSTATED)}."
        ),
        Paragraph(
            "Activation maps. Each channel of the last convolution was upsampled and used to mask the scan; its weight "
            "is the membership of the masked scan in its cluster, in the manner of Score-CAM [5]. Maps were scaled to "
            f"0-1 for each scan and averaged by cluster; the population map shown is "
            f"{POPULATIONS.get(s('map.population'), UNSTATED)}."
        ),
    ]


def _dcam_paragraphs(config: Mapping[str, object], methods: tuple[str, ...]) -> list[Block]:
    def s(key: str) -> object:
        return setting(config, f"dcam.{key}")

    space = "their own space" if s("space") == "native" else "template space"
    text = (
        f"dCAM [{DCAM}]. A 3D U-Net (first width {s('network.filters')}, {s('network.norm')} normalisation; window "
        f"{s('window_hu')} HU; scans in {space}) gave dense features, averaged over the lungs. In each of "
        f"{s('training.epochs')} epochs, as in DeepCluster [{DEEPCLUSTER}], the features of the frozen network were "
        f"standardised, reduced to at most {s('training.components')} principal components of length 1 and clustered "
        f"by k-means (K: {s('k.n_clusters')}); the clusters served as labels for {s('training.passes')} pass(es) of "
        f"training with a fresh head (Adam, learning rate {s('training.learning_rate')}; head "
        f"{s('training.head_learning_rate')}; batch {s('training.batch')}; every label drawn alike often). After the "
        "last epoch features, centroids and head were fitted once more on the frozen "
        "network. Maps are the head applied to the dense features; their lung mean is the logit."
    )
    if "dcam-encoder" in methods:
        text += " The baseline has no way up, one more level down, and as many parameters."
    if "dcam-supervised" in methods:
        text += " The supervised reference has the same network, trained on the reference labels."
    return [Paragraph(text)]


def _dram_paragraphs(config: Mapping[str, object], models: Mapping[str, Mapping[str, object]]) -> list[Block]:
    """models : model.json by method; its numbers are those of the training that ran."""

    def s(key: str) -> object:
        return setting(config, f"dram.{key}")

    first = next(iter(models.values()))

    def m(key: str) -> object:
        return setting(first, key)

    text = (
        f"dRAM [{DRAM}]. Scans were read in their own space, as cubes of {s('volumes.size')} voxels of "
        f"{s('volumes.spacing_mm')} mm around the lungs. Each lobe (or third of a lung where no lobes were known) was "
        f"cut out with a margin of {m('regions.margin_mm')} mm, windowed to {m('regions.window_hu')} HU and resized to "
        f"{m('regions.size')} voxels along each axis; grades had the bounds {m('edges')} %. A 3D U-Net (first width "
        f"{m('network.filters')}, {m('network.norm')} normalisation) was trained on "
        + "; ".join(_regions_learnt_from(method, model) for method, model in models.items())
        + f". Regions of which nothing was given were left out. Training took {s('training.epochs')} epochs of "
        f"{s('training.regions_per_epoch')} regions (every grade drawn alike often; Adam, learning rate "
        f"{s('training.learning_rate')}, decay {s('training.decay')}, batch {s('training.batch')})."
    )
    blocks: list[Block] = []
    if "dram" in models:
        attention = setting(models["dram"], "network.attention_grid")
        text += (
            " The mean of the dense sigmoid map over a region was regressed: no loss inside the interval that is "
            f"given (a percentage give or take {s('training.band')} as a share, or the bounds of the grade, cut to as "
            "much around the region's share of lesion candidates), the squared distance beyond it, weight "
            f"{s('training.regression_weight')}."
        )
        if attention:
            text += (
                f" An attention over the 18 neighbours of each voxel (grid {attention}) refined the map and was "
                f"trained with it on the map's own decisions (weight {s('training.refinement_weight')})."
            )
    if "dram-cam" in models:
        text += (
            f" The baseline dram-cam was trained to classify regions (target: {s('network.cam_target')}); its maps are "
            f"class activation maps of the {s('network.cam_features')} features."
        )
    if "dram-supervised" in models:
        text += " The reference dram-supervised is the same U-Net, trained on lesion masks (Dice and cross-entropy)."
    blocks.append(Paragraph(text))
    rule = {"otsu": f"above Otsu's threshold [{OTSU}] of the map in the scan's lungs", "half": "above 0.5"}
    source = f"{s('mask.source')} " if "dram" in models else ""  # the others have one map
    mask = "Lesions."
    if set(models) - {"dram-supervised"}:
        mask += (
            f" The mask holds voxels of the {source}map {rule.get(str(s('mask.rule')), UNSTATED)} that are "
            "candidates (denser than 0.75 of Otsu's threshold of the region)."
        )
    if "dram" in models:
        mask += f" Regions predicted below {_first_edge(first)} % count as free."
    if "dram-cam" in models:
        mask += " Regions that the baseline classifies as free of disease have no lesion."
    if "dram-supervised" in models:
        mask += " The supervised reference takes voxels above 0.5."
    blocks.append(
        Paragraph(
            f"{mask} The burden is the sum over regions of predicted percentage times volume. Predicted percentages "
            "were compared with given ones by mean absolute error, bias and Pearson's correlation, and masks by Dice "
            "where masks were given; training and held-out scans apart."
        )
    )
    return blocks


def _regions_learnt_from(method: str, model: Mapping[str, object]) -> str:
    if method == "dram-supervised":
        return f"{setting(model, 'train_regions')} regions of scans with a lesion mask ({method})"
    return (
        f"{setting(model, 'train_regions')} regions, {setting(model, 'train_percentages')} of them with an exact "
        f"percentage and the others with a grade ({method})"
    )


def _first_edge(model: Mapping[str, object]) -> str:
    """The upper bound of grade 0 in percent."""
    edges = model.get("edges")
    return f"{edges[1]:g}" if isinstance(edges, list) and len(edges) > 1 else UNSTATED


def limitations_section(config: Mapping[str, object], methods: tuple[str, ...]) -> Section:
    """What this page cannot show, in plain words."""
    clustering = [
        "A region that tells clusters apart need not be abnormal, and an abnormal region need not tell them apart.",
        *([OWN_SCALE] if "clam" in methods else []),
        *[coarseness for method in methods if (coarseness := _coarseness(config, method))],
        "A silhouette after clustering is circular: the loss was trained to make it large.",
        "P values are for outcomes that were not used in clustering. They say nothing about the density of the lungs, "
        "from which the clusters were made.",
        "Clustering always returns clusters. Look at the test of one group and at the stability before naming them.",
        "Small samples: with few scans in a cluster, intervals are wide and a single scan can change a result.",
        "Scanner and kernel change lung density. Where clusters go with scanners, the two cannot be told apart.",
        "The clinical table and the reference labels were never seen by clustering.",
        "Subtypes found here are hypotheses for research; they are not a diagnosis and need another cohort.",
    ]
    lesions = [
        "A dRAM map is learnt from how much of a region is diseased, not from where: what goes along with lesions can "
        "be marked as well, and no map here was checked by a reader unless lesion masks were given.",
        "Predicted percentages of training scans flatter; only held-out scans tell how well new ones are read.",
        "A grade gives bounds: an error of 0 means inside them, not that the percentage is right.",
        "The burden follows whoever read the training scans, with the same habits and mistakes. It is for research, "
        "not for a diagnosis.",
    ]
    items = [
        *(clustering if any(method in METHODS for method in methods) else []),
        *(lesions if any(method in DRAM_METHODS for method in methods) else []),
    ]
    return Section("limitations", "Limitations", "Limitations", (Bullets(tuple(items)),))


def _coarseness(config: Mapping[str, object], method: str) -> str | None:
    size, spacing = setting(config, "volumes.size"), setting(config, "volumes.spacing_mm")
    clam = config.get("clam")
    strides = clam.get("strides") if isinstance(clam, Mapping) else None
    if method != "clam" or UNSTATED in (size, spacing) or not strides:
        return None
    grid = math.ceil(float(size) / math.prod(strides))
    return (
        f"The {method_name(method)} map is coarse: {grid} activation voxels along each axis cover {size} voxels of "
        f"{spacing} mm, so that one activation voxel stands for {number(float(size) * float(spacing) / grid, 0)} mm. "
        "Finer detail in a map is interpolation."
    )


def reproducibility_section(results: Results, config: Mapping[str, object]) -> Section:
    """Versions, seed, resolved config, how to rerun."""
    versions = {"python": platform.python_version(), **package_versions()}
    rows = tuple((name, version) for name, version in sorted(versions.items(), key=lambda item: item[0].lower()))
    text = yaml.safe_dump(_plain(config), sort_keys=True, allow_unicode=True, width=100)
    train = "; ".join(
        f"{method_name(m)}: seed {results.record(f'{m}/model.json').get('seed', UNSTATED)}, fitted on "
        f"{results.record(f'{m}/model.json').get('train_subjects', UNSTATED)} scans"
        for m in results.methods()
    )
    regions = "; ".join(
        f"{method_name(m)}: seed {results.record(f'{m}/model.json').get('seed', UNSTATED)}, trained on "
        f"{results.record(f'{m}/model.json').get('train_regions', UNSTATED)} regions"
        for m in results.dram_methods()
    )
    trained = "; ".join(part for part in (train, regions) if part)
    blocks = (
        Paragraph(f"Every random choice comes from seed {setting(config, 'seed')}. {trained}."),
        Paragraph(
            "To rerun: save the settings below as my_study.yaml beside the sheet of scans and run "
            "\u201csnakemake --cores 4 --configfile my_study.yaml\u201d in the folder of lungtypes. The data of "
            "every figure lie beside this page in the folder data; records of versions and checksums lie in the "
            "folder provenance."
        ),
        Table("Versions that wrote this page", ("Package", "Version"), rows),
        Folded("All settings of this run (YAML)", text),
    )
    return Section("reproducibility", "Reproducibility", "Reproduce", blocks)


def _plain(value: object) -> object:
    """Plain Python values for YAML; paths that leave the working folder are not shown."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str) and OUTSIDE_PATH.match(value):
        return "[a path on this computer]"
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)
