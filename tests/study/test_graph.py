"""Graphs of experts: what they count, and what they find."""

from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from gemopt.latency import affine
from gemopt.model.instance import Instance
from gemopt.model.pairs import PairCounter
from gemopt.study.graph import co_activation, co_load, draw

RNG = np.random.default_rng(7)
IDS = RNG.random((3000, 3, 10)).argsort(axis=2)[:, :, :3]


def test_pairs_are_counted_token_by_token() -> None:
    """Pairs within a layer and to the next one equal a plain count."""
    counter = PairCounter(3, 10, between_layers=True)
    counter.add(IDS[:50])
    same, after = np.zeros((3, 10, 10)), np.zeros((2, 10, 10))
    for token in IDS[:50]:
        for layer in range(3):
            for e in token[layer]:
                for f in token[layer]:
                    same[layer, e, f] += 1
                if layer < 2:
                    for f in token[layer + 1]:
                        after[layer, e, f] += 1
    assert counter.tokens == 50
    assert (counter.same_layer == same).all()
    assert (counter.next_layer == after).all()


def test_chunks_and_their_order_do_not_matter() -> None:
    """One pass over chunks in any order gives the same graphs."""
    whole, _ = co_activation([IDS], num_layers=3, num_experts=10)
    parts = [IDS[2000:], IDS[:700], IDS[700:2000]]
    split, _ = co_activation(parts, num_layers=3, num_experts=10)
    assert (whole.weight == split.weight).all()


def test_independent_choices_are_not_significant() -> None:
    """Random choices give z scores of a few standard errors at most."""
    within, between = co_activation([IDS], num_layers=3, num_experts=10)
    off = ~np.eye(10, dtype=bool)
    assert np.abs(within.z[:, off]).max() < 5
    assert np.abs(between.z).max() < 5


def test_planted_pair_is_the_strongest_edge() -> None:
    """Two experts that are mostly chosen together stand out."""
    ids = IDS.copy()
    together = RNG.random(len(ids)) < 0.5
    ids[together, 1] = [4, 9, 0]
    within, _ = co_activation([ids], num_layers=3, num_experts=10)
    graph = within.to_networkx(1)
    best = max(graph.edges(data=True), key=lambda edge: edge[2]["z"])
    assert set(best[:2]) <= {"0", "4", "9"}
    assert best[2]["weight"] > 0.5


def test_co_load_is_the_correlation_of_shares() -> None:
    """Without weights the co-load graph is numpy's correlation."""
    counts = RNG.poisson(20, (200, 2, 6))
    instance = Instance.from_arrays(counts, [affine(1, 1)] * 2)
    graph = co_load(instance)
    shares = counts[:, 1] / counts[:, 1].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(graph.weight[1], np.corrcoef(shares.T), atol=1e-12)


def test_co_load_respects_step_weights() -> None:
    """A step of weight two counts like two steps."""
    counts = RNG.poisson(20, (30, 1, 6))
    weights = RNG.integers(1, 4, 30)
    once = Instance.from_arrays(counts, [affine(1, 1)] * 2, weights=weights)
    many = Instance.from_arrays(np.repeat(counts, weights, axis=0), [affine(1, 1)] * 2)
    np.testing.assert_allclose(co_load(once).weight, co_load(many).weight, atol=1e-12)


def test_graphml_keeps_the_edges(tmp_path: Path) -> None:
    """GraphML read back has the same edges and weights."""
    within, between = co_activation([IDS], num_layers=3, num_experts=10)
    for number, graph in enumerate((within, between)):
        path = tmp_path / f"{number}.graphml"
        graph.write_graphml(path, 1, min_z=1.0)
        written, made = nx.read_graphml(path), graph.to_networkx(1, min_z=1.0)
        assert set(written.edges) == set(made.edges)
        assert made.number_of_edges() > 0
        for edge in made.edges:
            assert written.edges[edge]["weight"] == pytest.approx(
                made.edges[edge]["weight"]
            )


def test_picture(tmp_path: Path) -> None:
    """A layer can be drawn to a file."""
    pytest.importorskip("matplotlib")
    within, _ = co_activation([IDS], num_layers=3, num_experts=10)
    draw(within, 0, tmp_path / "g.png", min_z=0.5)
    assert (tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")
