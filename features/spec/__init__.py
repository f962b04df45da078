"""The spec: the YAML file that declares a product, and everything derived from it alone."""

from features.spec.layout import FLOWS, Column, Layout, layout_of
from features.spec.load import find_spec, load_spec, spec_names, specs_folder
from features.spec.model import Entity, Spec
from features.spec.policy import CLOCK

__all__ = [
    "CLOCK",
    "FLOWS",
    "Column",
    "Entity",
    "Layout",
    "Spec",
    "find_spec",
    "layout_of",
    "load_spec",
    "spec_names",
    "specs_folder",
]
