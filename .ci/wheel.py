"""Build the wheel and use it as a stranger would: no checkout, no development packages, another folder.

The new environment holds the wheel and links to exactly the packages that the wheel's requirements lead to, so that an
undeclared one is missed here and not at a user's. Nothing is downloaded.
"""

import subprocess
import sys
import tempfile
import venv
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "wheel"
SHIPPED = "import trmfin.shipped as s; print(s.shipped_folder('sample_data'))"
LOCATED = "import trmfin; print(trmfin.__file__)"
COUNTED = "import polars; print(polars.read_parquet('run/scores/*.parquet').filter(polars.col('score').is_between(0, 1)).height)"


def run(*command: object, cwd: Path = ROOT) -> str:
    """Run a command, show it, and give back what it printed. Ends this program where it fails."""
    print("$", *(Path(str(part)).name if str(part).startswith("/") else part for part in command), flush=True)
    done = subprocess.run([str(part) for part in command], cwd=cwd, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}error: the command above ended with {done.returncode}")
    return done.stdout.strip()


def required(requirements: list[str], found: dict[str, Distribution]) -> dict[str, Distribution]:
    """Every installed distribution that these requirements lead to, by name."""
    for requirement in map(Requirement, requirements):
        if requirement.name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        try:
            found[requirement.name] = distribution(requirement.name)
        except PackageNotFoundError:
            sys.exit(f"error: {requirement} is required by the wheel but is not installed in .venv; run make clean, then make wheel")
        required(found[requirement.name].requires or [], found)
    return found


def link(packages: dict[str, Distribution], site: Path) -> None:
    for package in packages.values():
        tops = {Path(str(file)).parts[0] for file in package.files or []} - {"..", "__pycache__"}
        for top in tops:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(package.locate_file(top))).resolve())


def main() -> None:
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", BUILD / "dist")
    wheel = max((BUILD / "dist").glob("trmfin-*.whl"), key=lambda path: path.stat().st_mtime)
    venv.create(BUILD / "venv", clear=True)
    python = BUILD / "venv" / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"))
    link(required(distribution("trmfin").requires or [], {}), site)
    run(sys.executable, "-m", "pip", "--quiet", "--python", python, "install", "--no-deps", "--no-index", wheel)
    run(sys.executable, "-m", "pip", "--python", python, "check")
    with tempfile.TemporaryDirectory() as folder:
        elsewhere = Path(folder)
        if not Path(run(python, "-c", LOCATED, cwd=elsewhere)).is_relative_to(site):
            sys.exit("error: trmfin was not imported from the wheel")
        sample = Path(run(python, "-c", SHIPPED, cwd=elsewhere)) / "payments"
        run(python, "-m", "trmfin.prepare", "payment_history", sample / "raw", "--out", "prepared", cwd=elsewhere)
        run(python, "-m", "trmfin.score", sample / "bundle", "prepared", "--out", "run", cwd=elsewhere)
        scored = int(run(python, "-c", COUNTED, cwd=elsewhere))
        print(run(python, "-m", "trmfin.explain", sample / "run", "--replay", "--bundle", sample / "bundle", cwd=elsewhere))
    if not scored:
        sys.exit("error: the wheel scored no sample")
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, scored {scored:,} samples from another folder")


if __name__ == "__main__":
    main()
