export YUM=${YUM:-yum}
