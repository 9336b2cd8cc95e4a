"""The virtual thorax: plausible lungs, lobes that fill them, and each disease where it belongs."""

import numpy as np
import pytest

from lungtypes.imaging.zones import lung_zones
from lungtypes.phantom.anatomy import GROUPS, draw_person
from lungtypes.phantom.lesions import LESION_LABELS
from lungtypes.phantom.scan import lesion_table
from lungtypes.phantom.thorax import HILUM_LEFT, HILUM_RIGHT, render_thorax

SHAPE, SPACING = (64, 80, 80), (5.0, 4.8, 4.8)


@pytest.fixture(scope="module")
def thoraxes():
    people = {group: draw_person(3, number, group) for number, group in enumerate(GROUPS)}
    return {g: render_thorax(p, shape=SHAPE, spacing_mm=SPACING, seed=3) for g, p in people.items()}


def test_lungs_have_adult_volumes_and_the_right_side_at_small_x(thoraxes):
    for thorax in thoraxes.values():
        litres = [(thorax.lungs == side).sum() * np.prod(SPACING) / 1e6 for side in (1, 2)]
        assert 2.5 < sum(litres) < 9 and 0.7 < litres[0] / litres[1] < 1.4
        assert np.argwhere(thorax.lungs == 1)[:, 2].mean() < np.argwhere(thorax.lungs == 2)[:, 2].mean()


def test_lobes_partition_the_lungs(thoraxes):
    for thorax in thoraxes.values():
        assert ((thorax.lobes > 0) == (thorax.lungs > 0)).all()
        assert (thorax.lungs[np.isin(thorax.lobes, (1, 2, 3))] == 1).all()
        assert set(np.unique(thorax.lobes)) == {0, 1, 2, 3, 4, 5}


def test_lesions_lie_in_the_lungs_and_controls_have_none(thoraxes):
    assert not thoraxes["control"].lesions.any()
    for group in GROUPS[1:]:
        lesions = thoraxes[group].lesions > 0
        assert lesions.any() and (thoraxes[group].lungs[lesions] > 0).mean() > 0.99


def test_emphysema_is_dark_and_in_the_upper_lobes(thoraxes):
    thorax = thoraxes["emphysema"]
    holes = thorax.lesions == LESION_LABELS["emphysema"]
    assert np.median(thorax.hu[holes]) < -950
    upper = np.isin(thorax.lobes, (1, 4))
    assert holes[upper].mean() > 3 * holes[(thorax.lungs > 0) & ~upper].mean()


def test_fibrosis_is_dense_and_in_the_lower_zones(thoraxes):
    thorax = thoraxes["fibrosis"]
    zones, disease = lung_zones(thorax.lungs), thorax.lesions > 0
    assert disease[zones == 3].mean() > 3 * disease[zones == 1].mean()
    assert thorax.hu[disease].mean() > -700
    assert (thorax.lesions == LESION_LABELS["honeycombing"]).any()


def test_sarcoid_lies_nearer_to_the_hila_than_the_lung_does(thoraxes):
    thorax = thoraxes["sarcoid"]

    def to_hila(mask):
        points = (np.argwhere(mask) - (np.array(SHAPE) - 1) / 2) * SPACING
        return np.min([np.linalg.norm(points - h, axis=1) for h in (HILUM_RIGHT, HILUM_LEFT)], axis=0).mean()

    assert to_hila(thorax.lesions > 0) < 0.75 * to_hila(thorax.lungs > 0)


def test_lesion_percentages_add_up_to_the_mask(thoraxes):
    thorax = thoraxes["sarcoid"]
    table = lesion_table(thorax, "S1")
    whole = table[(table.region == "lungs")].set_index("kind").percent
    assert whole["any"] == pytest.approx(100 * (thorax.lesions > 0).sum() / (thorax.lungs > 0).sum(), abs=0.2)
    assert whole.drop("any").sum() == pytest.approx(whole["any"], abs=0.01)


def test_same_seed_gives_the_same_thorax_and_another_seed_another():
    person = draw_person(3, 1, "emphysema")
    first, again = (render_thorax(person, shape=(16, 24, 24), spacing_mm=(20, 16, 16), seed=3).hu for _ in range(2))
    other = render_thorax(draw_person(4, 1, "emphysema"), shape=(16, 24, 24), spacing_mm=(20, 16, 16), seed=4).hu
    assert (first == again).all() and not (first == other).all()


def test_severity_of_the_diseased_is_at_least_four_tenths():
    assert all(draw_person(1, n, "fibrosis").severity >= 0.4 for n in range(40))
    assert draw_person(1, 0, "control").severity == 0


def test_unknown_group_is_refused():
    with pytest.raises(ValueError, match="expected one of control"):
        draw_person(1, 0, "asthma")
