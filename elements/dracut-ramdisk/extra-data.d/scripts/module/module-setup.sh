# shellcheck shell=bash
# The part of the ramdisk that dracut builds: its own root is never mounted, the fragments of elements run instead.

check() {
    return 0
}

depends() {
    echo network
}

install() {
    # shellcheck disable=SC2154 # of dracut
    inst_hook cmdline 80 "$moddir/deploy-cmdline.sh"
    # shellcheck disable=SC2154
    inst_hook pre-mount 50 "$moddir/deploy-pre-mount.sh"
}
