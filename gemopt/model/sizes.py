"""Sizes in words, for the short texts of instances, placements and traces."""


def sizes_text(**sizes: int) -> str:
    """Join numbers with their plural names: ``58 layers, 1 GPU``."""
    return ", ".join(
        f"{number:,} {name if number != 1 else name.removesuffix('s')}"
        for name, number in sizes.items()
    )
