"""Turn a folder of photographs into a data set of aligned faces: ``python -m data_prep``."""

from data_prep.layouts import LAYOUTS, Record
from data_prep.prepare import prepare

__all__ = ["LAYOUTS", "Record", "prepare"]
