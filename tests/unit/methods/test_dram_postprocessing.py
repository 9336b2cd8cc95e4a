"""Growing from seeds and the local-window CRF: by hand, and on lesions that the image shows or does not."""

import numpy as np

from lungtypes.methods.dram_postprocessing import local_window_crf, seeded_growing


def test_growing_takes_the_pieces_that_hold_a_seed():
    candidates = np.zeros((3, 3, 9), bool)
    candidates[1, 1, :3] = candidates[1, 1, 4:6] = candidates[0, 0, 7:] = True
    probability = np.full(candidates.shape, 0.1)
    probability[1, 1, 2], probability[1, 1, 3], probability[0, 0, 8] = 0.9, 0.95, 0.8
    found = seeded_growing(probability, candidates)
    wanted = np.zeros_like(candidates)
    wanted[1, 1, :3] = True  # the seed at 3 is no candidate, and 0.8 is not above 0.8
    np.testing.assert_array_equal(found, wanted)


def test_crf_without_pairs_changes_nothing():
    rng = np.random.default_rng(0)
    probability, image, inside = rng.random((6, 6, 6)), rng.random((6, 6, 6)), rng.random((6, 6, 6)) > 0.3
    found = local_window_crf(probability, image, inside, smoothness=0, appearance=0)
    np.testing.assert_allclose(found[inside], probability[inside], atol=1e-4)
    assert (found[~inside] == 0).all()


def test_crf_removes_specks():
    image = np.zeros((12, 12, 12))
    image[:, :, 6:] = 0.6
    truth = image > 0.3
    probability = np.where(truth, 0.6, 0.4)
    rng = np.random.default_rng(0)
    probability[rng.random(image.shape) < 0.15] = 0.5
    probability[2, 2, 2], probability[8, 8, 9] = 0.8, 0.2
    assert ((probability > 0.5) == truth).mean() < 0.95
    found = local_window_crf(probability, image, np.ones(image.shape, bool))
    assert ((found > 0.5) == truth).mean() > 0.995


def test_crf_keeps_a_thin_lesion_that_the_image_shows_and_takes_one_that_it_does_not():
    image = np.zeros((12, 12, 12))
    image[:, :, 6] = 0.6
    probability = np.where(image > 0, 0.6, 0.4)
    seen, unseen = (local_window_crf(probability, i, np.ones(i.shape, bool), smoothness=0) for i in (image, 0 * image))
    np.testing.assert_array_equal(seen > 0.5, image > 0)
    assert not (unseen > 0.5).any()


def test_crf_of_one_pair_by_hand():
    probability, image = np.array([[[0.7, 0.4]]]), np.array([[[0.5, 0.6]]])
    found = local_window_crf(probability, image, np.ones((1, 1, 2), bool), smoothness=0, appearance=1.5, iterations=1)
    logit = lambda p: np.log(p / (1 - p))  # noqa: E731
    wanted = [logit(0.7) + 1.5 * (2 * 0.4 - 1), logit(0.4) + 1.5 * (2 * 0.7 - 1)]  # each sees the other alone
    np.testing.assert_allclose(found[0, 0], 1 / (1 + np.exp(-np.array(wanted))), rtol=1e-4)
