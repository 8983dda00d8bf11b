"""Run by `make wheel-check` inside a fresh environment that holds the wheel and its required dependencies, nothing else."""

import importlib.metadata
import importlib.util
import pathlib
import subprocess
import sys


def main() -> int:
    import thermocline

    home = pathlib.Path(thermocline.__file__).parent
    version = importlib.metadata.version("thermocline")
    extras = [
        name for name in ("redis", "azure", "aiohttp", "rich", "typer", "pytest") if importlib.util.find_spec(name)
    ]
    wrong = []
    if "site-packages" not in home.parts:
        wrong.append(f"thermocline was imported from {home}, not from the installed wheel")
    if extras:
        wrong.append(f"the environment holds {', '.join(extras)}, so it proves nothing about a bare installation")
    if not (home / "py.typed").is_file():
        wrong.append("the wheel has no py.typed")
    wheels = [path.name for path in pathlib.Path().glob("*.whl")]
    if len(wheels) != 1 or f"-{version}-" not in wheels[0]:
        wrong.append(f"the version is {version}, the wheel {wheels}")
    script = pathlib.Path(sys.executable).with_name("thermocline")
    told = subprocess.run([script, "--help"], capture_output=True, text=True, check=False)
    if told.returncode == 0 or "thermocline[cli]" not in told.stderr or "Traceback" in told.stderr:
        wrong.append(
            f"without the cli extra the command should name it, but: {told.returncode} {told.stdout}{told.stderr}"
        )
    for line in wrong:
        print(line, file=sys.stderr)
    if not wrong:
        print(f"thermocline {version} imports from its wheel without any extra")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
