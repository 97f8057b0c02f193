case $ARCH in
ppc*)
    echo "block-device-efi-4k: firmware of ppc knows no EFI system partition; take block-device-gpt" >&2
    exit 1
    ;;
esac
export DIB_BLOCK_DEVICE=efi
