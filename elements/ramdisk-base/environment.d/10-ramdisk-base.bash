export DIB_RAMDISK_COMPRESSION=${DIB_RAMDISK_COMPRESSION:-gzip}
export DIB_RAMDISK_FIRMWARE=${DIB_RAMDISK_FIRMWARE:-all}
export DIB_RAMDISK_MODULES=${DIB_RAMDISK_MODULES:-all}
# Debian's kernels have an initial ramdisk made when they are installed, and this tree never boots by one.
if [ "${IS_RAMDISK:-0}" = 1 ]; then
    export INITRD=${INITRD:-No}
fi
