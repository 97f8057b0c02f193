#!/bin/sh
# The fragments of elements, put together. They end in a reboot. dracut sources this.

/ramdisk-init </dev/console >/dev/console 2>&1
