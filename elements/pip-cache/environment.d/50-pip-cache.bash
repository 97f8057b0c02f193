# In the chroot alone, where the cache lies.
if [ -z "${TARGET_ROOT:-}" ] && [ -d /tmp/in_target.d ] && [ -d /tmp/pip ]; then
    export PIP_CACHE_DIR=/tmp/pip
    export PIP_DOWNLOAD_CACHE=/tmp/pip
fi
