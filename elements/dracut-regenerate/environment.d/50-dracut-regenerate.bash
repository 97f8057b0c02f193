if [ -z "${DIB_DRACUT_ENABLED_MODULES:-}" ]; then
    DIB_DRACUT_ENABLED_MODULES='- name: crypt
  packages:
    - cryptsetup
- name: lvm
  packages:
    - lvm2'
fi
export DIB_DRACUT_ENABLED_MODULES
