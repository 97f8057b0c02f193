//! The phases of a build, in their order: the one table of where and when hooks run.

/// A phase: a directory of hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Creates the root tree.
    Root,
    /// Brings data from the host for later hooks.
    ExtraData,
    /// Prepares what installing needs, such as package sources.
    PreInstall,
    /// Installs.
    Install,
    /// Works on what is installed.
    PostInstall,
    /// Waits in the image for the first boot.
    FirstBoot,
    /// Works on the tree from outside, before its size is decided.
    PostRoot,
    /// Shapes the block device.
    BlockDevice,
    /// Prepares finalisation from outside.
    PreFinalise,
    /// Last work inside the tree, with the disk's identity known.
    Finalise,
    /// Removes what only the build needed.
    Cleanup,
}

/// Where the hooks of a phase run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the host, in the caller's directory.
    Host,
    /// In a chroot on the tree.
    Chroot,
    /// In the image, once, when a machine first boots it. The build only lays them in.
    FirstBoot,
}

impl Phase {
    /// Every phase, in the order in which a build passes through them.
    pub const ALL: [Phase; 11] = [
        Phase::Root,
        Phase::ExtraData,
        Phase::PreInstall,
        Phase::Install,
        Phase::PostInstall,
        Phase::FirstBoot,
        Phase::PostRoot,
        Phase::BlockDevice,
        Phase::PreFinalise,
        Phase::Finalise,
        Phase::Cleanup,
    ];

    /// Its name: that of its directory without `.d`.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Root => "root",
            Phase::ExtraData => "extra-data",
            Phase::PreInstall => "pre-install",
            Phase::Install => "install",
            Phase::PostInstall => "post-install",
            Phase::FirstBoot => "first-boot",
            Phase::PostRoot => "post-root",
            Phase::BlockDevice => "block-device",
            Phase::PreFinalise => "pre-finalise",
            Phase::Finalise => "finalise",
            Phase::Cleanup => "cleanup",
        }
    }

    /// The name of its directory.
    pub fn dir(self) -> String {
        format!("{}.d", self.name())
    }

    /// Where its hooks run.
    pub fn place(self) -> Place {
        match self {
            Phase::PreInstall | Phase::Install | Phase::PostInstall | Phase::Finalise => Place::Chroot,
            Phase::FirstBoot => Place::FirstBoot,
            _ => Place::Host,
        }
    }
}
