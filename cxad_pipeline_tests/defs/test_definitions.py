"""The definitions against a stored picture of them, so that a change of lineage shows in review.

`python cxad_pipeline_tests/defs/test_definitions.py` writes the picture again.
"""

from __future__ import annotations

import sys
from pathlib import Path

import dagster as dg

sys.path.insert(0, str(Path(__file__).parent))

from landing_world import make_settings

from cxad_pipeline.definitions import build_definitions

PICTURE = Path(__file__).with_name("definitions.txt")


def describe(definitions: dg.Definitions) -> str:
    """Every asset with group, inputs, partitions and checks; every job, schedule and sensor."""
    graph = definitions.resolve_asset_graph()
    lines = ["assets"]
    for node in sorted(graph.asset_nodes, key=lambda node: (node.group_name, node.key.to_user_string())):
        parents = ", ".join(sorted(key.to_user_string() for key in node.parent_keys)) or "nothing"
        windows = " by window" if node.partitions_def else ""
        lines.append(f"  {node.group_name}/{node.key.to_user_string()}{windows} <- {parents}")
        for check in sorted(node.check_keys, key=lambda key: key.name):
            blocking = " (blocking)" if graph.get(check).blocking else ""
            lines.append(f"    check {check.name}{blocking}")
    repository = definitions.get_repository_def()
    lines.append("jobs")
    for job in sorted(repository.get_all_jobs(), key=lambda job: job.name):
        if not job.name.startswith("__"):
            steps = ", ".join(sorted(node.name for node in job.nodes))
            lines.append(f"  {job.name}: {steps}")
    lines.append("schedules")
    lines += sorted(
        f"  {s.name}: {s.cron_schedule} -> {s.job_name}, {s.default_status.value}" for s in repository.schedule_defs
    )
    lines.append("sensors")
    lines += sorted(f"  {s.name}: {s.default_status.value}" for s in repository.sensor_defs)
    return "\n".join(lines) + "\n"


def test_definitions_are_as_they_were_reviewed(tmp_path):
    assert describe(build_definitions(make_settings(tmp_path))) == PICTURE.read_text(encoding="utf-8")


def test_every_asset_says_what_it_is_whose_it_is_and_what_it_is_made_with(tmp_path):
    graph = build_definitions(make_settings(tmp_path)).resolve_asset_graph()
    for node in graph.asset_nodes:
        assert node.description, node.key
        assert node.owners, node.key
        assert node.kinds, node.key
        assert node.group_name != "default", node.key


def test_the_scheduler_can_be_switched_off_as_a_whole(tmp_path):
    repository = build_definitions(make_settings(tmp_path, schedule={"enabled": False})).get_repository_def()
    states = [s.default_status.value for s in [*repository.schedule_defs, *repository.sensor_defs]]
    assert set(states) == {"STOPPED"}


def test_a_model_that_is_added_to_the_configuration_becomes_an_asset_and_a_member(tmp_path):
    third = {"algorithm": "random_cut_forest", "params": {"scoring": "codisp"}}
    settings = make_settings(tmp_path, models={"iforest": {}, "rcf": {}, "codisp": third})
    graph = build_definitions(settings).resolve_asset_graph()
    parents = graph.get(dg.AssetKey("ensemble_model")).parent_keys
    assert dg.AssetKey("codisp_model") in parents


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        PICTURE.write_text(describe(build_definitions(make_settings(Path(scratch)))), encoding="utf-8")
