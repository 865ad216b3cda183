"""The service beside `mlflow models serve` of the same version: latency, throughput, memory and start.

Trains a champion on the committed sample in a scratch folder and serves it twice on this machine: by our service and by
MLflow's own server, each as one process with its defaults and its log in a file. Both stand all the time; loads take
turns, so that only one of the two works at a time. The load generator is a process of its own on the same processors.
Every answer is checked for status and number of interactions, some of each load for their scores: those of
`Detector.score`, or there is no result.

    python benchmarks/serving.py [--quick] [--output FOLDER] [--long] [--serving-only]

Exit code 1 if a bar is missed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import report
from load_generator import Answers, Load, generate, own_process
from scoring_requests import Arrow, Json, Kind, Mlflow, Ndjson, Posts, interactions, model_columns
from scratch_project import cxad, scratch_project
from server_processes import Server
from serving_environment import serving_environment
from serving_figure import drawn
from serving_tables import (
    ALONE,
    FULL,
    RATE,
    bars,
    bulk_rows,
    counted,
    growth_bar,
    latency_rows,
    memory_row,
    start_row,
    tables,
)

from cxad_pipeline.detection import Detector

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Sizes:
    """How much is measured; requests are those of one turn."""

    turns: int = 3
    distinct: int = 20_000
    one: int = 2_000
    open_loop: int = 2_000
    hundred: int = 300
    thousand: int = 60
    bulk: int = 150
    connections: int = 4
    starts: int = 3
    slices: int = 20
    slice: int = 10_000


QUICK = Sizes(1, 2_000, one=20, open_loop=20, hundred=3, thousand=2, bulk=4, connections=2, starts=1, slice=50)


def main() -> int:
    parser = report.arguments(__doc__)
    parser.add_argument("--long", action="store_true", help="200,000 requests more, for the growth of memory")
    parser.add_argument(
        "--serving-only", action="store_true", help="memory and start in a new environment with [serving] alone, too"
    )
    options = parser.parse_args()
    sizes = QUICK if options.quick else Sizes()
    with scratch_project() as folder, own_process() as pool:
        cxad(folder, "train")
        detector, version = champion(folder)
        bench = Bench(pool, detector, sizes)
        ours, peer = our_server(folder, BIN), mlflow_server(folder, version)
        start = [
            start_row("ours: the first one, model from MLflow", start_times(ours, 1)),
            local := start_row("ours: from a local copy", start_times(ours, sizes.starts)),
            start_row("MLflow", start_times(peer, sizes.starts)),
        ]
        growth: list[report.Row] = []
        if options.long:
            with ours:
                growth = [*bench.growth(ours)]
        with ours, peer:
            check_version(ours, version)
            memory = [*bench.memory(FULL, ours)]
            loads = bench.loads(ours.port, peer.port)
            answers = bench.in_turns(loads)
            memory += [memory_row(f"{FULL}, after all loads", ours), memory_row("MLflow, after all loads", peer)]
        if options.serving_only:
            with tempfile.TemporaryDirectory() as scratch:
                small = our_server(folder, serving_environment(Path(scratch)))
                start_times(small, 1)  # compiles the kernels
                start.append(start_row(f"ours: {ALONE}", start_times(small, sizes.starts)))
                with small:
                    memory += bench.memory(ALONE, small)
    latency = latency_rows(answers)
    bulk = bulk_rows(answers, {name: len(posts.calls[0].request) for name, (posts, _) in loads.items()})
    found = report.Report("serving", options.quick)
    found.tables |= tables(latency, bulk, memory, start, growth, connections=sizes.connections)
    found.bars += bars(latency, bulk, memory, local)
    if growth:
        found.bars.append(growth_bar(growth))
    milliseconds = {
        name: np.asarray(counted(name, turns)) / 1e6 for name, turns in answers.items() if "1 record" in name
    }
    return found.finish(drawn(milliseconds, bulk, memory, growth), options.output)


def champion(folder: Path) -> tuple[Detector, str]:
    """The detector that both serve, and its version."""
    from cxad_pipeline.registry import versions
    from cxad_pipeline.settings import load_settings

    uri = {"tracking_uri": tracking_uri(folder)}
    registered = versions.load(load_settings(folder / "configs/config.local.yaml", mlflow=uri))
    return registered.detector, registered.version


def tracking_uri(folder: Path) -> str:
    """MLflow's database in a project's folder."""
    return f"sqlite:///{folder}/data/state/mlflow.db"


def our_server(folder: Path, commands: Path) -> Server:
    """Our service, as an environment's uvicorn starts it."""
    command: list[str | Path] = [
        commands / "uvicorn",
        "--factory",
        "cxad_pipeline.serving.app:create_app",
        "--port",
        "{port}",
    ]
    return Server("ours", command, "/readyz", folder, {"CXAD_SERVING__REQUESTS_PER_MINUTE": "null"})


def mlflow_server(folder: Path, version: str) -> Server:
    """MLflow's own server of the same version, in this environment."""
    model = f"models:/cx-anomaly-detector/{version}"
    command: list[str | Path] = [
        BIN / "mlflow",
        "models",
        "serve",
        "--model-uri",
        model,
        "--env-manager",
        "local",
        "--port",
        "{port}",
    ]
    variables = {"MLFLOW_TRACKING_URI": tracking_uri(folder), "PATH": f"{BIN}:/usr/bin:/bin"}
    return Server("MLflow", command, "/ping", folder, variables)


def check_version(server: Server, version: str) -> None:
    """See to it that our service scores with the version that MLflow's server has.

    Raises
    ------
    SystemExit
        If it has another one.
    """
    served = json.loads(server.fetched("/models"))["version"]
    if served != version:
        sys.exit(f"{server.name} serves version {served} and not {version}")


def start_times(server: Server, times: int) -> list[float]:
    """Seconds until ready, each time anew."""
    found = []
    for _ in range(times):
        try:
            found.append(server.start())
        finally:
            server.stop()
    return found


@dataclass(frozen=True)
class Bench:
    """Who sends, what right answers are, and how much is measured."""

    pool: ProcessPoolExecutor
    detector: Detector
    sizes: Sizes

    def answers(self, posts: Posts, load: Load) -> Answers:
        """Send a load; LoadError if an answer is wrong."""
        found = self.pool.submit(generate, load).result()
        posts.check(found, self.detector)
        return replace(found, kept=[])

    def posts(self, kind: Kind, size: int) -> Posts:
        """Different requests of a size, as many as there are interactions for, up to 1,000."""
        table = interactions(self.sizes.distinct)
        return Posts.of(kind, table, size, min(1_000, self.sizes.distinct // size))

    def loads(self, ours: int, peer: int) -> dict[str, tuple[Posts, Load]]:
        """Everything whose time is measured, for servers on these ports; names begin with the server's."""
        sizes = self.sizes
        kinds = {"ours": (Json(), ours), "MLflow": (Mlflow(model_columns(self.detector)), peer)}
        found = {}
        for size, requests in ((1, sizes.one), (100, sizes.hundred), (1_000, sizes.thousand)):
            for server, (kind, port) in kinds.items():
                posts = self.posts(kind, size)
                load = Load(port, posts.calls, requests, warm_up=max(1, requests // 10))
                found[f"{server}: {size:,} record{'s' * (size > 1)}"] = (posts, load)
        for server, (_, port) in kinds.items():
            posts, _ = found[f"{server}: 1 record"]
            load = Load(port, posts.calls, sizes.open_loop, connections=16, rate=RATE, warm_up=sizes.one // 10)
            found[f"{server}: 1 record, {RATE:g}/s"] = (posts, load)
        bulk = {"ours: bulk JSON": (Json(), ours), "ours: bulk NDJSON": (Ndjson(), ours)}
        bulk |= {"ours: bulk Arrow": (Arrow(), ours), "MLflow: bulk JSON": kinds["MLflow"]}
        for name, (kind, port) in bulk.items():
            posts = self.posts(kind, 1_000)
            found[name] = (posts, Load(port, posts.calls, sizes.bulk, sizes.connections, warm_up=sizes.connections))
        return found

    def in_turns(self, loads: Mapping[str, tuple[Posts, Load]]) -> dict[str, list[Answers]]:
        """The answers of each load, one after the other, again in each turn."""
        found: dict[str, list[Answers]] = {name: [] for name in loads}
        for _ in range(self.sizes.turns):
            for name, (posts, load) in loads.items():
                found[name].append(self.answers(posts, load))
        return found

    def memory(self, where: str, server: Server) -> Iterator[report.Row]:
        """Memory of a service that has just started; then after JSON of both sizes; then after Arrow bodies."""
        yield memory_row(f"{where}, after start", server)
        sizes = self.sizes
        loads = ((Json(), 1, 2 * sizes.one), (Json(), 1_000, sizes.bulk), (Arrow(), 1_000, sizes.bulk))
        for kind, size, requests in loads:
            posts = self.posts(kind, size)
            self.answers(posts, Load(server.port, posts.calls, requests, sizes.connections))
            if size > 1:
                yield memory_row(f"{where}, after {kind.name}", server)

    def growth(self, server: Server) -> Iterator[report.Row]:
        """Memory of a service that has just started, by how many requests of one record it has answered since."""
        posts = self.posts(Json(), 1)
        yield {"requests": 0, "MB": round(server.memory().worker, 2)}
        for slices in range(1, self.sizes.slices + 1):
            self.answers(posts, Load(server.port, posts.calls, self.sizes.slice, 8))
            yield {"requests": slices * self.sizes.slice, "MB": round(server.memory().worker, 2)}


if __name__ == "__main__":
    sys.exit(main())
