"""Compare what two checkpoints compute."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemopt.files.errors import FileError

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-5  #: of the largest logit


@dataclass(frozen=True)
class LogitsCheck:
    """Logits of two checkpoints on the same tokens, in float32.

    Attributes
    ----------
    largest_difference
        Largest absolute difference of two logits.
    largest_logit
        Largest absolute logit of the first checkpoint.
    """

    largest_difference: float
    largest_logit: float

    @property
    def same(self) -> bool:
        """Equal to `TOLERANCE` of the largest logit (of 1, if that is larger).

        Sums over experts run in another order, so the last bits may differ.
        """
        return self.largest_difference <= TOLERANCE * max(1.0, self.largest_logit)


def compare_logits(
    before: str | Path, after: str | Path, *, tokens: int = 64, seed: int = 0
) -> LogitsCheck:
    """Run two checkpoints on the same random tokens, one after the other.

    Parameters
    ----------
    before, after
        Folders of checkpoints that transformers can load; each is loaded as a whole.
    tokens
        Length of the sequence, in tokens.
    seed
        Seed of the tokens.

    Raises
    ------
    ValueError
        torch or transformers is missing, or a checkpoint does not load.
    """
    for package in ("torch", "transformers"):
        if find_spec(package) is None:
            raise ValueError(f"comparing logits needs {package}: install it")
    import torch

    ids: torch.Tensor | None = None
    logits = []
    for folder in (before, after):
        model = _load(Path(folder))
        if ids is None:
            generator = torch.Generator().manual_seed(seed)
            vocabulary = model.get_input_embeddings().num_embeddings
            ids = torch.randint(vocabulary, (1, tokens), generator=generator)
        with torch.inference_mode():
            logits.append(model(input_ids=ids, use_cache=False).logits.float())
        del model
        gc.collect()
    difference = (logits[0] - logits[1]).abs().max().item()
    return LogitsCheck(difference, logits[0].abs().max().item())


def _load(folder: Path) -> Any:
    from torch import float32
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=float32, use_safetensors=True, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise FileError(folder, f"transformers cannot load it: {error}") from error
    return model.eval()
