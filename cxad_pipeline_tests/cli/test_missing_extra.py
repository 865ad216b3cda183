"""A configuration that names an algorithm whose library is not installed."""

from __future__ import annotations

from command_world import FAILED, CommandWorld, one_line


def test_training_ends_with_one_line_that_names_the_model_and_the_command(fresh: CommandWorld) -> None:
    absent = fresh.folder / "absent" / "pyod"
    absent.mkdir(parents=True)
    # What Python says when there is no such package.
    missing = "raise ModuleNotFoundError(\"No module named 'pyod'\", name='pyod')\n"
    (absent / "__init__.py").write_text(missing, encoding="utf-8")
    models = '[{"name": "iforest", "algorithm": "isolation_forest"}, {"name": "tails", "algorithm": "ecod"}]'
    # Without what the configuration and the tests say of models that this list does not have.
    others = {name: "" for name in fresh.environment if name.startswith("CXAD_MODELS__")}
    others["CXAD_ENSEMBLE__WEIGHTS"] = "{}"
    done = fresh.run("train", PYTHONPATH=str(absent.parent), CXAD_MODELS=models, **others)
    assert done.returncode == FAILED
    said = one_line(done.stderr)
    assert "model 'tails': algorithm ecod is fitted with PyOD" in said
    assert said.endswith("install it: pip install 'cxad-pipeline[algorithms]'")
