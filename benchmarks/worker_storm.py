"""Many workers on one PostgreSQL, many of them killed: is anything trained twice, or lost?

    python benchmarks/worker_storm.py --workers 16 --kills 16 --budget 64

Starts a PostgreSQL of its own (Debian package postgresql) and processes of `nasdepth worker` on a small space
whose trainings take about a second, and kills workers at work with SIGKILL; a new one replaces each.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from nasdepth.defaults import DEFAULT_TABLE
from nasdepth.searching import Settings
from nasdepth.training import Recipe

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "searching"))
from private_postgres import PrivatePostgres
from storm import storm

SPACE = """\
name: storm
input: {height: 64, width: [64, 96]}
encoder: {family: mobilenetv3_small_minimal, width: [0.5, 0.75], stride: 8}
decoder: {skip: [none, add], block: conv, kernel: [1, 3], width: [8, 16], upsampling: nearest}
head: {stride: 4, upsampling: nearest}
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--kills", type=int, default=16)
    parser.add_argument("--budget", type=int, default=64)
    parser.add_argument("--limit-s", type=float, default=1800)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    server = PrivatePostgres()
    try:
        with tempfile.TemporaryDirectory() as folder:
            space = Path(folder) / "storm.yaml"
            space.write_text(SPACE)
            settings = Settings(
                space=str(space),
                data="scenes:24+6",
                table=DEFAULT_TABLE,
                storage=server.database("storm"),
                heartbeat_s=1,
                proxy=Recipe(epochs=1, batch_size=8, loss_hw=(60, 80), augmentation={"crops": ((480, 640),)}),
            )
            came = storm(
                settings,
                Path(folder) / "run",
                workers=arguments.workers,
                kills=arguments.kills,
                budget=arguments.budget,
                limit_s=arguments.limit_s,
                seed=arguments.seed,
                progress=lambda line: print(line, file=sys.stderr, flush=True),
            )
            log = (Path(folder) / "run" / "workers.log").read_text()
    finally:
        server.close()
    print(json.dumps(asdict(came), indent=2))
    if came.trained_twice or came.lost or came.running or "hung" in came.exit_codes:
        sys.exit(log)


if __name__ == "__main__":
    main()
