"""The file that ``GEMOPT_CONFIG`` names."""

from pydantic import Field

from gemopt.files.schema import Document


class ConfigDoc(Document):
    """Options of `gemopt.serving.config.PolicyConfig`; all may be left out.

    Paths in `profiles` count from the folder of the file.
    """

    profiles: list[str] = Field(default_factory=list)
    move_budget: int | None = None
    min_gain: float = 0.0
    window_steps: int = 1000
    preset: str = "fast"
    bit_for_bit: bool = False
