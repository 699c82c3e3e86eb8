"""Words for messages."""

import difflib
from collections.abc import Iterable


def did_you_mean(wrong: str, known: Iterable[str], *, before: str = "; ") -> str:
    """Return ``; did you mean 'lpt'?``, or nothing where no known word is near."""
    words = list(known)
    folded = {word.casefold(): word for word in reversed(words)}
    near = difflib.get_close_matches(wrong.casefold(), folded, n=1)
    starts = [word for key, word in folded.items() if key.startswith(wrong.casefold())]
    best = folded[near[0]] if near else (starts[-1] if wrong and starts else "")
    return f"{before}did you mean {best!r}?" if best else ""
