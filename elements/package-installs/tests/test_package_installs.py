"""What the lists of packages come to, with a package manager and a map of names that only say how they are called."""

import json
import os
import subprocess
import tempfile
import unittest

BIN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bin")

INSTALL_PACKAGES = '#!/bin/sh\necho "$@"\n'
# It is asked with `--missing-ok --element ELEMENT NAME`.
PKG_MAP = '#!/bin/sh\n[ "$4" = nowhere ] || echo "$4-of-$3"\n'

SQUASHED = {
    "pre-install.d": {"install": [["gcc", "tool"]], "uninstall": []},
    "install.d": {
        "install": [["tcpdump", "net"], ["nowhere", "net"], ["vim", "edit"]],
        "uninstall": [["telnet", "net"]],
    },
}


class TestPackageInstalls(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        for name, text in (("install-packages", INSTALL_PACKAGES), ("pkg-map", PKG_MAP)):
            self.write(name, text)
            os.chmod(os.path.join(self.directory, name), 0o755)

    def write(self, name, text):
        with open(os.path.join(self.directory, name), "w") as file:
            file.write(text)

    def run_script(self, name, *words):
        path = os.pathsep.join([self.directory, os.environ["PATH"]])
        environment = {"PATH": path}
        command = ["sh", os.path.join(BIN, name), *words]
        return subprocess.run(command, cwd=self.directory, env=environment, capture_output=True, text=True)

    def says(self, expected, name, *words):
        said = self.run_script(name, *words)
        self.assertEqual((said.returncode, said.stdout, said.stderr), (0, expected, ""))

    def test_lists_of_the_first_generation(self):
        self.write("package-installs-net", "# why\ntcpdump\n\n-telnet\nvim")
        self.write("package-installs-other", "-nano\n")
        self.says("-m net tcpdump vim\n", "package-installs", "-d", ".")
        self.says("-e -m net telnet\n-e -m other nano\n", "package-uninstalls", "-d", ".")

    def test_each_phase_is_one_call(self):
        self.write("list.json", json.dumps(SQUASHED, indent=2))
        phase = ("package-installs-v2", "--phase")
        self.says("gcc-of-tool\n", *phase, "pre-install.d", "list.json")
        self.says("tcpdump-of-net vim-of-edit\n", *phase, "install.d", "list.json")
        self.says("-e telnet-of-net\n", *phase, "install.d", "--uninstall", "list.json")

    def test_nothing_wanted_is_no_call(self):
        self.write("list.json", json.dumps(SQUASHED, indent=2))
        for words in (["post-install.d"], ["pre-install.d", "--uninstall"]):
            self.says("", "package-installs-v2", "--phase", *words, "list.json")

    def test_a_dry_run_says_the_call(self):
        self.write("list.json", json.dumps(SQUASHED, indent=2))
        words = ("--phase=pre-install.d", "-n", "list.json")
        self.says("install-packages gcc-of-tool\n", "package-installs-v2", *words)

    def test_a_call_without_its_arguments_is_refused(self):
        for name in ("package-installs", "package-uninstalls", "package-installs-v2"):
            said = self.run_script(name)
            self.assertEqual(said.returncode, 1)
            self.assertIn("Usage: " + name, said.stderr)
