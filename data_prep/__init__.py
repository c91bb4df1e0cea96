"""Turn a folder of photographs into a data set of aligned faces: ``python -m data_prep``."""

from data_prep import layouts  # noqa: F401  enters them into LAYOUTS
from data_prep.prepare import prepare
from data_prep.records import LAYOUTS, Record

__all__ = ["LAYOUTS", "Record", "prepare"]
