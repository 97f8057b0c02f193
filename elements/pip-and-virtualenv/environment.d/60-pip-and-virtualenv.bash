export DIB_INSTALLTYPE_pip_and_virtualenv=${DIB_INSTALLTYPE_pip_and_virtualenv:-package}
export DIB_PYTHON_PIP="$DIB_PYTHON -m pip"
# What an image has besides its distribution's own packages is for its elements to say; the host's is not.
if [ -z "${TARGET_ROOT:-}" ]; then
    export PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore
fi
if [ "$DIB_PYTHON_VERSION" = 2 ]; then
    export DIB_PYTHON_VIRTUALENV="$DIB_PYTHON -m virtualenv"
else
    export DIB_PYTHON_VIRTUALENV="$DIB_PYTHON -m venv"
fi
