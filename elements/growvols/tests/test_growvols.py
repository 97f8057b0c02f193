"""What growvols makes of its words and of the room, on a machine of stand-ins: a disk whose group of volumes has free extents."""

import os
import subprocess
import tempfile
import unittest

ELEMENT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPT = os.path.join(ELEMENT, "static/usr/local/sbin/growvols")

MIB = 1 << 20
EXTENT = 4 * MIB

# Each says what it was called with; what it answers is its script's.
STAND_INS = {
    "findmnt": """case $* in
        *--source*) echo '/somewhere ext4' ;;
        */var) echo /dev/vg/var ;;
        */) echo /dev/vg/root ;;
        *) exit 1 ;;
    esac""",
    "lsblk": """case $* in
        *NAME,TYPE*) printf '/dev/sda2 part\\n/dev/sda  disk\\n' ;;
        *home*) echo fs_home ;;
    esac""",
    "lvs": "printf '  /dev/vg/root lv_root\\n  /dev/vg/home lv_home\\n'",
    "pvs": "echo '  /dev/sda2'",
    "vgs": f"""case $* in
        *vg_extent_size*) echo ' {EXTENT}' ;;
        *vg_free_count*) echo ' 500' ;;
        *) echo ' vg' ;;
    esac""",
    "growpart": "",
    "pvresize": "",
    "lvextend": "",
    "resize2fs": "",
}
ASKS = ("findmnt", "lsblk", "lvs", "pvs", "vgs")


class TestGrowvols(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        for name, script in STAND_INS.items():
            self.stand_in(name, script)
        self.partitions(disk=8192 * MIB, end=4096 * MIB)

    def write(self, name, text):
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
        return path

    def stand_in(self, name, script):
        text = f'#!/bin/sh\necho "{name} $*" >>{self.directory}/calls\n{script}\n'
        os.chmod(self.write("bin/" + name, text), 0o755)

    def partitions(self, disk, end):
        """A disk whose last partition is the group's, and ends there."""
        block = "sys/class/block/"
        self.write(block + "sda/size", str(disk // 512))
        for field, value in (("partition", 2), ("start", 2048), ("size", end // 512 - 2048)):
            self.write(block + "sda/sda2/" + field, str(value))
        if not os.path.lexists(os.path.join(self.directory, block, "sda2")):
            os.symlink("sda/sda2", os.path.join(self.directory, block, "sda2"))

    def grow(self, *words):
        environment = {
            "PATH": os.pathsep.join([os.path.join(self.directory, "bin"), os.environ["PATH"]]),
            "GROWVOLS_SYS": os.path.join(self.directory, "sys"),
        }
        return subprocess.run(["bash", SCRIPT, *words], env=environment, capture_output=True, text=True)

    def done(self, *words):
        """What was done, without what was asked."""
        said = self.grow(*words)
        self.assertEqual(said.returncode, 0, said.stderr)
        log = os.path.join(self.directory, "calls")
        with open(log) as file:
            calls = file.read().splitlines()
        os.remove(log)
        return [call for call in calls if call.split()[0] not in ASKS]

    def extents(self, *words):
        """By how many extents each volume grew."""
        grown = [call.split() for call in self.done(*words) if call.startswith("lvextend")]
        return {call[-1]: int(call[-2]) for call in grown}

    def test_the_partition_grows_before_the_volumes(self):
        done = self.done("/var=10%")
        self.assertEqual(done[:2], ["growpart /dev/sda 2", "pvresize --quiet /dev/sda2"])
        self.assertEqual(done[2:4], ["lvextend --quiet --extents +50 /dev/vg/var", "resize2fs /dev/vg/var"])

    def test_the_root_takes_the_rest(self):
        self.assertEqual(self.extents(), {"/dev/vg/root": 500})

    def test_volumes_go_by_mount_point_label_and_name(self):
        for word in ("fs_home=40%", "lv_home=40%"):
            with self.subTest(word):
                self.assertEqual(self.extents(word), {"/dev/vg/home": 200, "/dev/vg/root": 300})

    def test_amounts_are_whole_extents(self):
        for amount, extents in (("1GiB", 256), ("1GB", 238), ("9MiB", 2), ("9MB", 2)):
            with self.subTest(amount):
                self.assertEqual(self.extents("/var=" + amount)["/dev/vg/var"], extents)

    def test_no_more_grows_than_there_is(self):
        self.assertEqual(self.extents("/var=100GiB", "fs_home=1GiB"), {"/dev/vg/var": 500})

    def test_noop_does_nothing(self):
        self.assertEqual(self.done("--noop", "/var=10%"), [])

    def test_a_disk_without_room_stays_as_it_is(self):
        self.partitions(disk=4097 * MIB, end=4096 * MIB)
        self.assertEqual([call for call in self.done() if call.startswith("growpart")], [])

    def test_words_that_mean_nothing_are_refused(self):
        for word in ("/var", "/var=", "/var=many", "/var=1", "/var=1.5GiB", "--loud", "fs_none=1GiB"):
            with self.subTest(word):
                self.assertEqual(self.grow(word).returncode, 1)
