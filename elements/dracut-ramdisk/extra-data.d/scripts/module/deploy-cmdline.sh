#!/bin/sh
# There is no root to wait for. dracut sources this.
# shellcheck disable=SC2034

root=ramdisk
rootok=1
