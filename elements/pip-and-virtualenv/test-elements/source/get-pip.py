an installer
