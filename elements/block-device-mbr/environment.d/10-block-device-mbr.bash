case $ARCH in
arm64 | aarch64)
    echo "block-device-mbr: firmware of arm64 reads no master boot record; take block-device-efi" >&2
    exit 1
    ;;
esac
export DIB_BLOCK_DEVICE=mbr
