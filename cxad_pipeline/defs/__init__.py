"""Dagster objects, thin: each calls plain functions of the other packages.

`definitions.build_definitions` puts them together. Whatever depends on the configuration (windows, models, schedules)
is made by a function that takes the settings.
"""
