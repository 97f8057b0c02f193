case $ARCH in
arm64 | aarch64)
    echo "block-device-gpt: firmware of arm64 boots from an EFI system partition; take block-device-efi" >&2
    exit 1
    ;;
esac
export DIB_BLOCK_DEVICE=gpt
