"""Makes demo.png, the picture of the README, from results/demo: run after `make demo` with PYTHONPATH=scripts."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from lungtypes.imaging.geometry import read_volume

results = Path("results/demo")
assignment = pd.read_csv(results / "clam/assignment.tsv", sep="\t", dtype={"subject": str})
truth = pd.read_csv("demo/truth/subjects.tsv", sep="\t").set_index("subject")
after = pd.read_csv(results / "clam/embedding.tsv", sep="\t").query("phase == 'after'").set_index("subject")
z = after[[name for name in after if name.startswith("z_")]]
mask = read_volume(results / "template/mask.nii.gz")
clusters = sorted(assignment.cluster.unique())

figure, axes = plt.subplots(2, len(clusters), figsize=(3.1 * len(clusters), 6.0), constrained_layout=True)
figure.get_layout_engine().set(w_pad=0.12)
for column, cluster in enumerate(clusters):
    members = assignment.subject[assignment.cluster == cluster]
    medoid = (z.loc[members] - z.loc[members].mean()).pow(2).sum(axis=1).idxmin()
    ct = read_volume(results / f"registered/{medoid}/ct.nii.gz").array
    middle = int(np.argwhere(mask.array > 0)[:, 1].mean())
    axes[0, column].imshow(ct[::-1, middle], cmap="gray", vmin=-1350, vmax=150)
    group = truth.group[members].mode()[0]
    axes[0, column].set_title(f"cluster {cluster} (n = {len(members)})\nplanted: {group}", fontsize=11)
    found = read_volume(results / f"clam/group_maps/clam_cluster{cluster}_mean.nii.gz").array
    lungs = read_volume(results / f"clam/group_maps/ct_mean_cluster{cluster}.nii.gz").array > -1020
    half = found.shape[1] // 2
    picture = axes[1, column].imshow(np.where(lungs, found, np.nan)[::-1, half], cmap="magma", vmin=0, vmax=1)
    for axis in axes[:, column]:
        axis.set_xticks([]), axis.set_yticks([])
        axis.text(0.03, 0.04, "R", transform=axis.transAxes, color="tab:orange", weight="bold")
        axis.text(0.91, 0.04, "L", transform=axis.transAxes, color="tab:orange", weight="bold")
axes[0, 0].set_ylabel("CT of the medoid")
axes[1, 0].set_ylabel("mean CLAM map")
figure.colorbar(picture, ax=axes[1, :], label="importance (0-1)", shrink=0.9)
figure.savefig("docs/images/demo.png", dpi=80, metadata={"Software": None})
