"""A configuration that names an algorithm whose library is not installed."""

from __future__ import annotations

import pytest
from command_world import FAILED, USAGE, CommandWorld, one_line

MODELS = '[{"name": "iforest", "algorithm": "isolation_forest"}, {"name": "tails", "algorithm": "ecod"}]'


def configured(world: CommandWorld) -> dict[str, str]:
    """Variables of those models, without what the configuration and the tests say of others."""
    others = {name: "" for name in world.environment if name.startswith("CXAD_MODELS__")}
    return others | {"CXAD_MODELS": MODELS, "CXAD_ENSEMBLE__WEIGHTS": "{}"}


@pytest.mark.parametrize("command", ["train", "workflow"])
def test_a_library_that_is_not_installed_is_said_before_anything_is_done(fresh: CommandWorld, command: str) -> None:
    start = fresh.folder / "start"
    start.mkdir()
    # Python runs this file first; from then on there is no pyod to find or to import.
    (start / "sitecustomize.py").write_text("import sys\n\nsys.modules['pyod'] = None\n", encoding="utf-8")
    done = fresh.run(command, PYTHONPATH=str(start), **configured(fresh))
    assert done.returncode == USAGE
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    said = one_line(done.stderr)
    assert "tails (ecod) needs pyod" in said
    assert "iforest" not in said
    assert said.endswith("install it: pip install 'cxad-pipeline[algorithms]'")
    assert not (fresh.folder / "data" / "state").exists()


def test_a_library_that_cannot_be_imported_ends_training_with_one_line_that_names_model_and_command(
    fresh: CommandWorld,
) -> None:
    absent = fresh.folder / "absent" / "pyod"
    absent.mkdir(parents=True)
    # What Python says when there is no such package.
    missing = "raise ModuleNotFoundError(\"No module named 'pyod'\", name='pyod')\n"
    (absent / "__init__.py").write_text(missing, encoding="utf-8")
    done = fresh.run("train", PYTHONPATH=str(absent.parent), **configured(fresh))
    assert done.returncode == FAILED
    said = one_line(done.stderr)
    assert "model 'tails': algorithm ecod is fitted with PyOD" in said
    assert said.endswith("install it: pip install 'cxad-pipeline[algorithms]'")
