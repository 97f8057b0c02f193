export DISTRO_NAME=alpine
export DIB_RELEASE=${DIB_RELEASE:-3.22}
export DIB_INIT_SYSTEM=openrc
export EFI_BOOT_DIR=EFI/alpine
# Its initramfs looks for a file system only by those that it was told of.
export DIB_BOOTLOADER_DEFAULT_CMDLINE=${DIB_BOOTLOADER_DEFAULT_CMDLINE:-rootfstype=ext4 nofb nomodeset gfxpayload=text}
export DIB_ALPINE_KERNEL=${DIB_ALPINE_KERNEL:-linux-virt}
