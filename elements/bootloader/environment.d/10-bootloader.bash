if [ "${DIB_EXTLINUX:-0}" != 0 ]; then
    echo "DIB_EXTLINUX=$DIB_EXTLINUX is not supported: element bootloader installs GRUB 2" >&2
    exit 1
fi
case "${DIB_BOOTLOADER:=grub}" in
grub | systemd-boot | uki) ;;
*)
    echo "DIB_BOOTLOADER=$DIB_BOOTLOADER is none of grub, systemd-boot and uki" >&2
    exit 1
    ;;
esac
if [ "$DIB_BOOTLOADER" != grub ] && [ "${DISTRO_NAME:-}" = alpine ]; then
    echo "bootloader: DIB_BOOTLOADER=$DIB_BOOTLOADER needs systemd's loader, which is no part of Alpine: it boots by grub" >&2
    exit 1
fi
export DIB_BOOTLOADER
case "${ARCH:-}" in
arm64 | aarch64) _dib_serial=ttyAMA0,115200 ;;
ppc*)
    echo "bootloader: nothing is written that boots $ARCH: the builder puts GRUB where BIOS and UEFI look for it, and this firmware" \
        "reads a PReP partition; build without this element and vm, or with an element that provides bootloader" >&2
    exit 1
    ;;
*) _dib_serial=ttyS0,115200 ;;
esac
export DIB_BOOTLOADER_DEFAULT_CMDLINE=${DIB_BOOTLOADER_DEFAULT_CMDLINE:-nofb nomodeset gfxpayload=text}
export DIB_BOOTLOADER_SERIAL_CONSOLE=${DIB_BOOTLOADER_SERIAL_CONSOLE:-$_dib_serial}
export DIB_BOOTLOADER_USE_SERIAL_CONSOLE=${DIB_BOOTLOADER_USE_SERIAL_CONSOLE:-True}
export DIB_BOOTLOADER_VIRTUAL_TERMINAL=${DIB_BOOTLOADER_VIRTUAL_TERMINAL-tty0}
export DIB_NO_TIMER_CHECK=${DIB_NO_TIMER_CHECK:-True}
export DIB_GRUB_TIMEOUT=${DIB_GRUB_TIMEOUT:-5}
export DIB_GRUB_TIMEOUT_STYLE=${DIB_GRUB_TIMEOUT_STYLE:-menu}
export DIB_SKIP_GRUB_PACKAGE_INSTALL=${DIB_SKIP_GRUB_PACKAGE_INSTALL:-False}
unset _dib_serial
