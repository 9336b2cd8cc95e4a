"""How often the headline test finds a cluster effect that is not there: HC3 Wald F beside classical least squares.

Null data sets with unequal group sizes and spreads and three covariates; the spread of the first group is given. HC3 is
computed for all sets at once and checked against the library on the first ones.

Usage: OMP_NUM_THREADS=1 nice python benchmarks/type_one_error.py [--sets 10000] [--seed 1]
"""

import argparse
import sys
import time

import numpy as np
from scipy import stats

from lungtypes.association.least_squares import least_squares, nested_f, wald_hc3
from lungtypes.randomness import stream

# group sizes, SDs of the groups, distribution of the errors
DESIGNS = [
    ((126, 175), (1.0, 1.0), "normal"),
    ((126, 175), (2.0, 1.0), "normal"),
    ((126, 175), (1.0, 2.0), "normal"),
    ((40, 260), (1.0, 1.0), "normal"),
    ((40, 260), (2.0, 1.0), "normal"),
    ((40, 260), (1.0, 2.0), "normal"),
    ((40, 260), (2.0, 1.0), "skewed"),
    ((50, 100, 150), (1.0, 1.0, 1.0), "normal"),
    ((50, 100, 150), (2.0, 1.5, 1.0), "normal"),
    ((30, 70, 200), (2.0, 1.0, 0.5), "normal"),
]
LEVEL = 0.05
BLOCK = 500
CHECKED = 5  # sets of each design that the library's own fit must agree on


def design_matrix(sizes: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """(n, p) intercept, age, sex, height, then dummies of the groups against the last."""
    n, group = sum(sizes), np.repeat(np.arange(len(sizes)), sizes)
    sex = rng.integers(0, 2, n)
    columns = [np.ones(n), rng.normal(0, 1, n), sex, rng.normal(0, 1, n) + sex]
    return np.column_stack([*columns, *((group == g) * 1.0 for g in range(len(sizes) - 1))])


def p_values(matrix: np.ndarray, y: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """HC3 Wald F and classical F p values of the last k columns, for outcomes y (B, n)."""
    n, p = matrix.shape
    inverse = np.linalg.inv(matrix.T @ matrix)
    leverage = np.einsum("ni,ij,nj->n", matrix, inverse, matrix)
    beta = y @ matrix @ inverse
    residuals = y - beta @ matrix.T
    pull = (matrix @ inverse)[:, -k:]
    meat = np.einsum("bn,ni,nj->bij", (residuals / (1 - leverage)) ** 2, pull, pull, optimize=True)
    tested = beta[:, -k:]
    robust = np.einsum("bi,bi->b", tested, np.linalg.solve(meat, tested[:, :, None])[:, :, 0]) / k
    plain = np.einsum("bi,ij,bj->b", tested, np.linalg.inv(inverse[-k:, -k:]), tested) / k
    plain /= (residuals**2).sum(axis=1) / (n - p)
    return stats.f.sf(robust, k, n - p), stats.f.sf(plain, k, n - p)


def errors(distribution: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Mean 0, SD 1; skewed: a log-normal of sigma 0.5."""
    if distribution == "normal":
        return rng.normal(size=shape)
    sigma = 0.5
    draws = rng.lognormal(0, sigma, shape)
    return (draws - np.exp(sigma**2 / 2)) / np.sqrt((np.exp(sigma**2) - 1) * np.exp(sigma**2))


def rates(sizes: tuple[int, ...], sds: tuple[float, ...], distribution: str, n_sets: int, seed: int) -> list[int]:
    """Rejections at 5 % by HC3 and by the classical test."""
    rng = stream(seed, "type-one-error", *map(str, (*sizes, *sds)), distribution)
    matrix, spread = design_matrix(sizes, rng), np.repeat(sds, sizes)
    k, found = len(sizes) - 1, [0, 0]
    for start in range(0, n_sets, BLOCK):
        y = errors(distribution, (min(BLOCK, n_sets - start), len(spread)), rng) * spread
        both = p_values(matrix, y, k)
        if start == 0:
            check(matrix, y[:CHECKED], k, both)
        found = [count + int((p <= LEVEL).sum()) for count, p in zip(found, both, strict=True)]
    return found


def check(matrix: np.ndarray, outcomes: np.ndarray, k: int, both: tuple[np.ndarray, np.ndarray]) -> None:
    """The library's tests give the same p values."""
    p = matrix.shape[1]
    for number, y in enumerate(outcomes):
        full, base = least_squares(matrix, y), least_squares(matrix[:, : p - k], y)
        own = (wald_hc3(full, range(p - k, p)).p_value, nested_f(base, full).p_value)
        np.testing.assert_allclose(own, (both[0][number], both[1][number]), rtol=1e-7)


def main() -> None:
    """One row a design."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began, write = time.perf_counter(), sys.stdout.write
    write(
        f"{options.sets} null sets a row, seed {options.seed}; share of p <= {LEVEL} with its exact 95 % interval\n\n"
    )
    write("| groups | SDs | errors | HC3 Wald F, % | classical F, % |\n|---|---|---|---|---|\n")
    for sizes, sds, distribution in DESIGNS:
        cells = []
        for count in rates(sizes, sds, distribution, options.sets, options.seed):
            low, high = stats.binomtest(count, options.sets).proportion_ci(0.95, "exact")
            cells.append(f"{100 * count / options.sets:.2f} ({100 * low:.2f}-{100 * high:.2f})")
        write(
            f"| {' / '.join(map(str, sizes))} | {' / '.join(map(str, sds))} | {distribution} | {' | '.join(cells)} |\n"
        )
    write(f"\n{time.perf_counter() - began:.0f} s\n")


if __name__ == "__main__":
    main()
