export DIB_MANIFEST_IMAGE_DIR=${DIB_MANIFEST_IMAGE_DIR:-/etc/dib-manifests}
# An image that goes to standard output has nothing beside it.
if [ "$IMAGE_NAME" = - ]; then
    export DIB_MANIFEST_SAVE_DIR=${DIB_MANIFEST_SAVE_DIR:-}
else
    export DIB_MANIFEST_SAVE_DIR=${DIB_MANIFEST_SAVE_DIR:-${IMAGE_NAME}.d/}
fi
