"""Layers: imports point downwards only, kernels are plain numpy, and help needs nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tso3dask

PACKAGE = Path(tso3dask.__file__).parent

BELOW = {
    # who: what it may import of this package
    "errors": set(),
    "schema": set(),
    "wording": set(),
    "values": {"errors"},
    "step_table": {"values"},
    "config": {"errors", "step_table", "values"},
    "params": {"config", "errors"},
    "recipes": {"config", "errors", "params"},
    "step_arguments": {"config", "errors", "params"},
    "ops": {"errors", "schema"},
    "io": {"config", "errors", "params", "schema", "wording"},
    "simulation": {"errors", "io", "values"},
    "graph": {
        "config",
        "errors",
        "io",
        "ops",
        "recipes",
        "schema",
        "tso3dask",
        "values",
        "wording",
    },
    "drop_in": {"config", "errors", "graph", "io", "params", "schema", "values"},
    "pipeline": {"config", "drop_in", "errors", "graph", "io"},
    "__init__": {"drop_in", "errors", "pipeline", "simulation"},
    "__main__": {"cli"},
    # and what faces the user, which may import whatever lies below
    "progress": {"wording"},
    "figure_points": {"quicklook"},
    "report": {"figure_points", "quicklook", "wording"},
    "curvelook": {"quicklook"},
    "curve_report": {"curvelook", "figure_points", "ops", "report"},
    "quicklook": {"graph", "pipeline"},
    "inspect": {"errors", "io", "schema", "wording"},
    "demo": {"config", "errors", "params", "pipeline", "simulation", "wording"},
    "channels_command": {"config", "errors", "pipeline", "wording"},
    "cli": {
        "channels_command",
        "config",
        "curve_report",
        "curvelook",
        "demo",
        "errors",
        "inspect",
        "io",
        "params",
        "pipeline",
        "progress",
        "quicklook",
        "report",
        "simulation",
        "step_arguments",
        "tso3dask",
        "wording",
    },
}

FOREIGN = {
    "ops": {"astropy", "llvmlite", "numba", "numpy", "photutils", "scipy"},
    "errors": set(),
    "schema": set(),
    "wording": set(),
    "values": set(),
    "step_table": set(),
    "config": set(),
    "recipes": set(),
    "params": {"asdf", "yaml"},
    "cli": set(),
    "step_arguments": set(),
    "progress": {"rich"},
    "demo": set(),
    "channels_command": set(),
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Full names of everything that a module imports, anywhere in it."""
    parts = ("tso3dask", *path.relative_to(PACKAGE).with_suffix("").parts)
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = parts[: len(parts) - node.level] if node.level else ()
            base = ".".join([*package, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def own_layers(path: Path) -> set[str]:
    own = {name for name in imports(path) if name.split(".")[0] == "tso3dask"}
    layers = set()
    for name in own:
        second = name.partition(".")[2].partition(".")[0]
        module = (PACKAGE / second).is_dir() or (PACKAGE / f"{second}.py").exists()
        layers.add(second if second and module else "tso3dask")
    return layers - {layer(path)}


def foreign(path: Path) -> set[str]:
    tops = {name.split(".")[0] for name in imports(path)}
    return tops - set(sys.stdlib_module_names) - {"tso3dask", "__future__"}


def test_every_module_has_a_layer():
    assert {layer(path) for path in modules()} <= BELOW.keys(), "tell BELOW about the new module"


def test_imports_point_downwards():
    upwards = {
        str(path.relative_to(PACKAGE)): sorted(own_layers(path) - BELOW[layer(path)])
        for path in modules()
        if own_layers(path) - BELOW[layer(path)]
    }
    assert upwards == {}


def test_order_of_layers_has_no_circle():
    order: list[str] = []
    left = {name: set(below) - {"tso3dask"} for name, below in BELOW.items()}
    while left:
        free = [name for name, below in left.items() if below <= set(order)]
        assert free, f"circle among {', '.join(sorted(left))}"
        order += free
        left = {name: below for name, below in left.items() if name not in free}


def test_foreign_packages_where_they_belong():
    for path in modules():
        extra = foreign(path) - FOREIGN.get(layer(path), foreign(path))
        assert not extra, f"{path.name} imports {', '.join(sorted(extra))}"


def test_kernels_read_no_files():
    for path in (p for p in modules() if layer(p) == "ops"):
        assert not any(name.startswith("astropy.io") for name in imports(path)), path.name


def test_dask_and_xarray_only_in_graph_and_at_its_doors():
    for path in modules():
        if layer(path) in ("graph", "pipeline", "quicklook", "tests"):
            continue
        found = foreign(path) & {"dask", "distributed", "xarray", "zarr"}
        if path.relative_to(PACKAGE).as_posix() == "io/backend.py":
            found -= {"xarray"}  # the class through which xarray reads pixels
        assert not found, f"{path.name} imports {', '.join(sorted(found))}"


def test_only_one_place_builds_dask_arrays():
    for path in modules():
        if path.name == "arrays.py":
            continue
        text = path.read_text()
        assert "HighLevelGraph" not in text, path.name
        assert "da.Array(" not in text, path.name


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_kernels_work_without_the_graph_libraries():
    python(
        "import sys, importlib, pkgutil\n"
        "blocked = ('dask', 'distributed', 'xarray', 'zarr', 'astropy.io', 'asdf', 'gwcs')\n"
        "class Wall:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if any(name == b or name.startswith(b + '.') for b in blocked):\n"
        "            raise ImportError(f'{name} is blocked')\n"
        "sys.meta_path.insert(0, Wall())\n"
        "import tso3dask.ops\n"
        "names = [m.name for m in pkgutil.iter_modules(tso3dask.ops.__path__)]\n"
        "public = [n for n in names if not n.startswith('_')]\n"
        "for name in public: importlib.import_module('tso3dask.ops.' + name)\n"
        "assert len(public) > 10\n"
    )


HEAVY = {
    *("asdf", "astropy", "dask", "distributed", "gwcs", "llvmlite", "matplotlib", "numba"),
    *("numpy", "photutils", "rich", "scipy", "stdatamodels", "xarray", "yaml", "zarr"),
}


@pytest.mark.parametrize(
    "code",
    [
        "import tso3dask; dir(tso3dask)",
        "from tso3dask.cli import main; main(['--help'])",
        "from tso3dask.cli import main; main(['run', '--help'])",
        "from tso3dask.cli import main; main(['run', '/no/asn.json', '--steps.photm.skip=1'])",
    ],
    ids=["import", "help", "run-help", "misspelt"],
)
def test_light_start(code):
    tail = f"; import sys; print('HEAVY', sorted({HEAVY!r} & set(sys.modules)))"
    assert python(code + tail).splitlines()[-1] == "HEAVY []"


def test_planning_imports_nothing_for_figures_or_data_models():
    late = {"matplotlib", "rich", "photutils", "stdatamodels", "distributed", "asdf", "gwcs"}
    late |= {"dask.array", "numba", "pandas", "xarray"}
    out = python(f"import tso3dask.pipeline, sys; print(sorted({late!r} & set(sys.modules)))")
    assert out.strip() == "[]"


def test_a_backward_import_is_found(tmp_path):
    path = PACKAGE / "ops" / "dq.py"
    assert own_layers(path) <= BELOW["ops"]
    tree = "from ..io import segment\nimport tso3dask.graph.plan\nfrom tso3dask import report\n"
    stand_in = tmp_path / "x.py"
    stand_in.write_text(tree)

    class Place(type(path)):  # a file of ops with other content
        def read_text(self, *args, **kwargs):
            return tree

    assert own_layers(Place(path)) == {"io", "graph", "report"}
