export DIB_IMAGE_CACHE=$TMP_BUILD_DIR/case-cache
