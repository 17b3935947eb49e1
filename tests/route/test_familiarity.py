from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from pointsman.errors import ConfigError
from pointsman.route.familiarity import Domain, Familiarity, posterior


def sample(centre: list[float], n: int, seed: int, scale: float = 0.3) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(scale=scale, size=(n, len(centre)))
    return (np.array(centre) + noise).astype(np.float32)


def test_moments_by_hand() -> None:
    domain = Domain.of(np.array([[1, 0], [3, 0], [2, 3]], dtype=np.float32))
    assert domain.mean.tolist() == [2, 1]
    assert domain.covariance == pytest.approx(np.array([[2 / 3, 0], [0, 2]]))
    assert domain.queries == 3


def test_distances_are_scipys() -> None:
    one, two = sample([1, 0, 0], 50, 0), sample([0, 1, 0], 50, 1)
    domains = [Domain.of(one), Domain.of(two)]
    pooled = (np.cov(one.T, bias=True) + np.cov(two.T, bias=True)) / 2
    pooled = 0.8 * pooled + 0.2 * np.trace(pooled) / 3 * np.eye(3)
    queries = sample([0, 0, 1], 4, 2)
    found = Familiarity(domains, shrinkage=0.2).distances(queries)
    for i, query in enumerate(queries):
        for j, domain in enumerate(domains):
            expected = mahalanobis(query, domain.mean, np.linalg.inv(pooled)) ** 2 / 3
            assert found[i, j] == pytest.approx(expected, rel=1e-4)


def test_a_domain_keeps_a_share_of_its_own_covariance() -> None:
    # 500 of a thousand queries and a share of 0.8: 0.4 of its own, 0.6 of the pooled one.
    wide, narrow = sample([1, 0, 0], 500, 0, scale=0.5), sample([0, 1, 0], 500, 1, scale=0.1)
    domains = [Domain.of(wide), Domain.of(narrow)]
    own = [np.cov(each.T, bias=True) for each in (wide, narrow)]
    query = sample([0, 0, 1], 1, 2)
    found = Familiarity(domains, shrinkage=0.2, own=0.8).distances(query)[0]
    for j, (domain, covariance) in enumerate(zip(domains, own, strict=True)):
        mixed = 0.4 * covariance + 0.6 * (own[0] + own[1]) / 2
        shrunk = 0.8 * mixed + 0.2 * np.trace(mixed) / 3 * np.eye(3)
        expected = mahalanobis(query[0], domain.mean, np.linalg.inv(shrunk)) ** 2 / 3
        assert found[j] == pytest.approx(expected, rel=1e-3)
    # The same step away is further from the domain that spreads less.
    equal = Familiarity(domains, own=0.8).distances(
        np.stack([domain.mean + 0.3 for domain in domains])
    )
    assert equal[1, 1] > 2 * equal[0, 0]


def test_the_posterior_is_linear_discriminant_analysis() -> None:
    one, two = sample([1, 0], 200, 0), sample([0, 1], 200, 1)
    x, y = np.concatenate([one, two]), np.repeat([0, 1], 200)
    lda = LinearDiscriminantAnalysis(solver="lsqr", priors=[0.5, 0.5]).fit(x, y)
    queries = sample([0.5, 0.5], 20, 2, scale=0.5)
    distances = Familiarity([Domain.of(one), Domain.of(two)], shrinkage=0.0).distances(queries)
    assert posterior(distances, 2) == pytest.approx(lda.predict_proba(queries), abs=1e-4)


def test_a_domains_own_queries_lie_at_about_one() -> None:
    queries = sample([0.5] * 16, 4000, 0)
    distances = Familiarity([Domain.of(queries)], shrinkage=0.0).distances(queries)
    assert distances.mean() == pytest.approx(1.0, abs=1e-3)
    away = Familiarity([Domain.of(queries)]).distances(queries + 1.0)
    assert away.min() > 2


def test_one_query_is_a_domain_too() -> None:
    found = Familiarity([Domain.of(np.array([[1, 0]], dtype=np.float32))])
    near, far = found.distances(np.array([[1, 0], [0, 1]], dtype=np.float32))
    assert near[0] == pytest.approx(0, abs=1e-9)
    assert 0.1 < far[0] < np.inf


def test_small_domains_weigh_less_in_the_pooled_covariance() -> None:
    wide, narrow = sample([0, 0], 500, 0, scale=1.0), sample([5, 5], 5, 1, scale=0.01)
    both = Familiarity([Domain.of(wide), Domain.of(narrow)], shrinkage=0)
    alone = Familiarity([Domain.of(wide)], shrinkage=0)
    query = np.array([[1, 1]], dtype=np.float32)
    assert both.distances(query)[0, 0] == pytest.approx(alone.distances(query)[0, 0], rel=0.05)


@given(st.integers(1, 5), st.integers(1, 30), st.integers(0, 1000))
def test_a_posterior_is_a_distribution_and_the_nearest_has_most(e: int, n: int, seed: int) -> None:
    distances = np.random.default_rng(seed).gamma(2.0, size=(n, e)) * 10
    shares = posterior(distances, 384)
    assert shares.sum(axis=1) == pytest.approx(1.0)
    assert (shares.argmax(axis=1) == distances.argmin(axis=1)).all()


def test_nothing_to_be_familiar_with() -> None:
    with pytest.raises(ConfigError, match="at least one query"):
        Domain.of(np.zeros((0, 4), dtype=np.float32))
    with pytest.raises(ConfigError, match="no domain"):
        Familiarity([])
