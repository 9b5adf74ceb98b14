"""Checks the operators' own kinds by the schemas of their CRDs: make manifests. Needs node and npm, and the npm registry once.

The models are generated from the CRDs of CloudNativePG 1.24 and KEDA 2.10. An API server drops members that a CRD does not know,
without a word, so these models let them pass as well. RabbitmqCluster has no such model: its members stand in README.md.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / "var" / "operators"
PACKAGES = ("@kubernetes-models/cloudnative-pg@2.0.0", "@kubernetes-models/keda@2.0.0")


def main() -> None:
    if not shutil.which("npm"):
        sys.exit("npm is not installed: apt install nodejs npm, or leave this check to somebody who has it.")
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not (FOLDER / "node_modules").exists():
        print(f"Installing {' and '.join(PACKAGES)} into {FOLDER} …", flush=True)
        subprocess.run(["npm", "install", "--silent", "--prefix", FOLDER, *PACKAGES], check=True)
    # Where it stands node looks for its modules.
    script = shutil.copy(HERE / "check_operators.mjs", FOLDER)
    manifests = [one for path in sorted(HERE.glob("*/*.yaml")) for one in yaml.safe_load_all(path.read_text())]
    done = subprocess.run(["node", script], input=json.dumps(manifests), text=True, check=False)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
