"""What an interaction is and how it gets in: schema, sources, landing, simulation, export.

Belongs here: files and records. Does not belong here: what is made of them (`detection`), and Dagster (`defs`).
"""
