"""Numbers with their ranges: a type checker sees ``int`` and ``float``, the command line refuses what lies outside.

The values stay plain numbers. A range belongs to an option where it is declared, so that every way to set it is checked.
"""

from typing import Annotated

from annotated_types import Ge, Gt, Le

PositiveInt = Annotated[int, Ge(1)]
NonNegativeInt = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
"""A part of a whole, both ends included."""
PositiveShare = Annotated[float, Gt(0), Le(1)]
AtLeastOne = Annotated[float, Ge(1)]
"""A factor that may not shrink, such as a cap on a ratio."""
