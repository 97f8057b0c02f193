"""The name that a service has: that of a unit or a job of the image, else the map's, else its own."""

import os
import subprocess
import tempfile
import unittest

SCRIPT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bin", "svc-map")
PLACES = ("/usr/share/svc-map", "/etc/systemd/system", "/usr/lib/systemd/system", " /lib/systemd/system", "/etc/init/")


class TestSvcMap(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.image = directory.name
        with open(SCRIPT) as file:
            text = file.read()
        # The script looks into the image that it lies in: here into a directory.
        for place in PLACES:
            self.assertIn(place, text)
            bare = place.lstrip()
            text = text.replace(place, place[: len(place) - len(bare)] + self.image + "/at" + bare.replace("/", "_") + "/")
        self.script = self.write("svc-map", text)

    def write(self, name, text=""):
        path = os.path.join(self.image, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        return path

    def place(self, place, name, text=""):
        self.write(os.path.join("at" + place.replace("/", "_"), name), text)

    def names(self, *services):
        command = ["sh", self.script, *services]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        return said.stdout.split()

    def test_without_a_map_services_are_called_what_they_are(self):
        self.assertEqual(self.names("nova-api", "ssh"), ["nova-api", "ssh"])

    def test_the_map_translates_whole_names(self):
        self.place("/usr/share/svc-map", "services", "nova-api: openstack-nova-api\nnova: openstack-nova\n")
        names = self.names("nova", "nova-api", "nova-a", "openstack-nova")
        self.assertEqual(names, ["openstack-nova", "openstack-nova-api", "nova-a", "openstack-nova"])

    def test_a_unit_or_a_job_of_the_image_keeps_its_name(self):
        self.place("/usr/share/svc-map", "services", "".join(f"{name}: other\n" for name in ("a", "b", "c", "d", "e")))
        for name, place in zip("abc", ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")):
            self.place(place, name + ".service")
        self.place("/etc/init/", "d.conf")
        self.assertEqual(self.names(*"abcde"), ["a", "b", "c", "d", "other"])
