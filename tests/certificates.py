"""An authority of our own and certificates of it, by the openssl that every machine has."""

import subprocess
from pathlib import Path


class Authority:
    """`ca` is the file that clients trust; each certificate is valid for a day."""

    def __init__(self, folder: Path, name: str = "tests"):
        self.folder = folder
        self.ca, self.key = folder / f"{name}-ca.pem", folder / f"{name}-ca.key"
        self._run(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={name}"),
            *("-keyout", self.key, "-out", self.ca),
        )

    def certificate(self, *hosts: str) -> tuple[Path, Path]:
        """The files of a certificate for these names (or addresses) and of its key."""
        stem = self.folder / f"{self.ca.stem}-{hosts[0]}"
        names = ",".join(f"{'IP' if host.replace('.', '').isdigit() else 'DNS'}:{host}" for host in hosts)
        request, extensions, made, key = (stem.with_name(stem.name + end) for end in (".csr", ".ext", ".crt", ".key"))
        extensions.write_text(f"subjectAltName={names}\n")
        self._run(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={hosts[0]}", "-keyout", key, "-out", request)
        )
        self._run(
            *("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.key, "-CAcreateserial", "-days", "1"),
            *("-extfile", extensions, "-out", made),
        )
        return made, key

    @staticmethod
    def _run(*arguments: object) -> None:
        command = ["openssl", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
