"""The configuration: `load_settings()` gives the one typed tree, `Settings`."""

from cxad_pipeline.settings.reading import SettingsError, load_settings
from cxad_pipeline.settings.sources import ColumnMapping, DropRule, Source
from cxad_pipeline.settings.tree import Settings

__all__ = ["ColumnMapping", "DropRule", "Settings", "SettingsError", "Source", "load_settings"]
