# The archive is the one that this host has: extra-data.d/10-contrib writes it down.
export DIB_APT_SOURCES=$TMP_HOOKS_PATH/contrib.list
