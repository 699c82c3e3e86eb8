"""Per-token ids that name no expert, and the number of experts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gemopt.engines import open_trace
from gemopt.files.errors import FileError
from gemopt.traffic import serving_steps

OFFSETS = np.array([0, 20, 40, 60])


def chosen(layers: int = 3, top_k: int = 2) -> np.ndarray:
    """Two of eight experts for each of 60 tokens, every expert used."""
    rng = np.random.default_rng(0)
    tokens = [[rng.permutation(8)[:top_k] for _ in range(layers)] for _ in range(60)]
    return np.array(tokens)


def opened(folder: Path, ids: np.ndarray, **options: Any) -> Any:
    """Open the ids of three requests."""
    np.savez(folder / "ids.npz", expert_ids=ids, request_offsets=OFFSETS)
    return open_trace("tokens", folder / "ids.npz", batch=3, **options)


@pytest.mark.parametrize("experts", [None, 8])
@pytest.mark.parametrize(
    ("dtype", "padding"),
    [("i8", -1), ("i2", -100), ("u1", 255), ("u2", 65535), ("i8", 8), ("u1", 0)],
)
def test_padding_tokens(
    tmp_path: Path, dtype: str, padding: int, experts: int | None
) -> None:
    """Tokens of padding are left out, as if the requests were shorter."""
    ids = chosen()
    padded = ids.astype(dtype)
    padded[17:20] = padding
    source = opened(tmp_path, padded, experts=experts)
    offsets = np.array([0, 17, 37, 57])
    rest = np.delete(ids, [17, 18, 19], axis=0)
    expected = serving_steps(rest, offsets, 3, experts=8)
    assert np.array_equal(source.collect().counts, expected)
    assert f"3 tokens of padding left out (id {padding})" in source.notes


def test_absent_choices_count_nowhere(tmp_path: Path) -> None:
    """A token may have fewer experts in one layer; the others count."""
    ids = chosen()
    ids[:, 1, 1] = -1
    source = opened(tmp_path, ids, experts=8)
    totals = source.collect().counts.sum(axis=2)
    assert (totals == [6, 3, 6]).all()
    assert any("60 choices of other tokens name no expert" in n for n in source.notes)


@pytest.mark.parametrize("fill", [0, -1])
def test_dense_layers(tmp_path: Path, fill: int) -> None:
    """Layers without experts, filled with zeros or -1, are left out and named."""
    ids = chosen()
    ids[:, 0] = fill
    source = opened(tmp_path, ids, experts=8)
    trace = source.collect()
    assert trace.layer_ids.tolist() == [1, 2]
    assert np.array_equal(
        trace.counts, serving_steps(ids[:, 1:], OFFSETS, 3, experts=8)
    )
    assert "layers that never route a token, left out: 0" in source.notes
    assert not any("choices" in note for note in source.notes)


def test_padding_of_top_1(tmp_path: Path) -> None:
    """-1 without a sign is found for one expert a token too."""
    ids = chosen(top_k=1).astype(np.uint8)
    ids[17:20] = 255
    assert opened(tmp_path, ids).collect().counts.shape[2] == 8


def test_an_id_that_a_person_names(tmp_path: Path) -> None:
    """--padding-id leaves out an id that could be an expert's."""
    ids = chosen()
    ids[5, :, 1] = 8
    with pytest.raises(ValueError, match=r"ids.npz: experts = 0 must be"):
        opened(tmp_path, ids, experts=0)
    with pytest.raises(FileError, match=r"id 8, outside 0\.\.7"):
        opened(tmp_path, ids, experts=8).collect()
    source = opened(tmp_path, ids, experts=8, padding_id=8)
    assert source.collect().counts.shape[2] == 8
    assert any("3 choices" in note for note in source.notes)


def test_real_ids_stay(tmp_path: Path) -> None:
    """Nothing of routing that is whole is taken for padding."""
    for top_k in (1, 2):
        ids = chosen(top_k=top_k)
        expected = serving_steps(ids, OFFSETS, 3, experts=8)
        source = opened(tmp_path, ids, experts=8)
        assert np.array_equal(source.collect().counts, expected)
        assert not source.notes


def test_the_guess_is_said(tmp_path: Path) -> None:
    """Without --experts the number is a guess; a fused expert is pointed out."""
    source = opened(tmp_path, chosen())
    assert any("experts = 8 is a guess" in note for note in source.notes)
    fused = np.concatenate([chosen(), np.full((60, 3, 1), 8)], axis=2)
    source = opened(tmp_path, fused)
    assert any("id 8 is in every token" in note for note in source.notes)


def test_nothing_but_padding(tmp_path: Path) -> None:
    """A file of padding alone is refused by name."""
    with pytest.raises(FileError, match=r"ids.npz: .*all of it is padding"):
        opened(tmp_path, np.full((60, 3, 2), -1), experts=8).collect()
