"""How AutoIFS chooses its flows: form, gates, recipe, and when a night searches again."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from features.spec.base import Section

Form = Literal["additive", "official"]
Gates = Literal["table", "instance", "context"]
Recipe = Literal["crossfit", "boxed", "masks", "official"]


class Search(Section):
    """How AutoIFS chooses its flows."""

    form: Form = "additive"
    """``additive`` sums the flows that are kept; ``official`` is the paper's: what is removed is
    subtracted, before the activation."""
    gates: Gates = "table"
    """One decision for each scenario, task and flow; or a small net's for every sample, over its
    whole input (``instance``) or the scenario and the columns of ``context``."""
    context: tuple[str, ...] = ()
    """Columns of the features that context gates read beside the scenario."""
    recipe: Recipe = "crossfit"
    """``crossfit``: strengths in [0, 1] under a price that learn from rows their flows never saw;
    ``boxed``: from the same rows; ``masks``: as boxed, rounded to 0 or 1; ``official``: sigmoid
    gates whose temperature rises, the only one for nets."""
    collapse: Annotated[float, Field(ge=0)] | None = None
    """Validation log loss that may be lost when a net's masks become one mask a cell, which can be
    frozen and answers as quickly as a plain network; left out: they stay as they are."""
    every: int = Field(default=7, ge=1)
    """Nights between two searches; masks are frozen in between."""
    on_drift: bool = True
    """Whether a night searches early when the night before saw label rates or predictions move
    beyond their limits, or got worse than the champion."""
    epochs: int = Field(default=4, ge=1)
    rewind: float = Field(default=0.25, ge=0, le=1)
    """Share of the search after which weights are kept, to retrain from."""
    shrink: tuple[Annotated[float, Field(ge=0)], ...] = Field(default=(0.0, 1.5, 3.0), min_length=1)
    """Prices tried, each the total that a search takes off a strength; the lowest validation log
    loss wins."""
    floor: float = Field(default=0.08, ge=0, lt=1)
    """A flow with less than this share of its cell's logit spread is pruned."""

    @model_validator(mode="before")
    @classmethod
    def _official_unless_said(cls, given: Any) -> Any:
        """Search what can't be priced, and the paper's form, with the paper's recipe."""
        if isinstance(given, dict) and "recipe" not in given:
            nets = given.get("gates", "table") != "table"
            if nets or given.get("form") == "official":
                return {**given, "recipe": "official"}
        return given

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.priced and self.gates != "table":
            raise ValueError(
                f"recipe: '{self.recipe}' prices a table of strengths and gates are "
                f"'{self.gates}'; write 'recipe: official' or 'gates: table'"
            )
        if self.collapse is not None and self.gates == "table":
            raise ValueError("'collapse' is for the gates of a net; a table is a mask a cell")
        if (self.gates == "context") != bool(self.context):
            raise ValueError("'gates: context' and 'context', a list of columns, go together")
        return self

    @property
    def priced(self) -> bool:
        """Whether flows have strengths that a price shrinks."""
        return self.recipe != "official"
