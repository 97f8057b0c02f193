//! `grub-install`: GRUB for a planned disk, out of the tree's own parts. This program runs in the tree.
//!
//! The images find their files by the UUID of the file system that holds them, which the plan fixes, so no numbering of
//! disks or partitions is baked in. For the BIOS `boot.img` and `core.img` are left for who writes the partition table;
//! for UEFI the image goes to the ESP, see [`efi`].

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::answers::{is_bios_boot, module, plain, table_module};
use super::efi;
use super::{Record, leave, program};
use crate::blockdevice::facts::{DiskFacts, Facts, FileSystemFacts};
use crate::environment::Environment;
use crate::error::{Context as _, Error, Kind, Result};
use crate::sandbox::launch::{Ending, Sandbox};

/// Where distributions keep GRUB's modules.
const LIBRARIES: [&str; 3] = ["/usr/lib/grub", "/usr/share/grub2", "/usr/lib/grub2"];

/// What lies beside the modules and belongs to them.
const BESIDE: [&str; 11] = [
    "command.lst",
    "crypto.lst",
    "efiemu32.o",
    "efiemu64.o",
    "fs.lst",
    "modinfo.sh",
    "moddep.lst",
    "parttool.lst",
    "partmap.lst",
    "terminal.lst",
    "video.lst",
];

/// Bytes of an environment block.
const GRUBENV_LEN: usize = 1024;

/// What GRUB is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// PCs with a BIOS.
    Bios,
    /// PCs with UEFI.
    X64Efi,
    /// 64-bit ARM with UEFI.
    Arm64Efi,
}

impl Platform {
    /// All that images can be made for.
    pub const ALL: [Self; 3] = [Self::Bios, Self::X64Efi, Self::Arm64Efi];

    /// Its name among GRUB's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bios => "i386-pc",
            Self::X64Efi => "x86_64-efi",
            Self::Arm64Efi => "arm64-efi",
        }
    }

    /// What firmware calls its processors.
    pub fn efi_word(self) -> Option<&'static str> {
        match self {
            Self::Bios => None,
            Self::X64Efi => Some("x64"),
            Self::Arm64Efi => Some("aa64"),
        }
    }

    /// The directory of its modules in the tree.
    fn library(self) -> Option<PathBuf> {
        let places = LIBRARIES.map(|library| Path::new(library).join(self.name()));
        places.into_iter().find(|place| place.is_dir())
    }

    /// What a name means; without one, the first whose modules the tree has.
    pub fn of(name: Option<&str>) -> Result<Self> {
        let found = match name {
            Some(name) => Self::ALL.into_iter().find(|platform| platform.name() == name),
            None => Self::ALL
                .into_iter()
                .find(|platform| platform.library().is_some()),
        };
        found.ok_or_else(|| {
            let message = match name {
                Some(name) => format!("grub-install: target {name} is not supported here"),
                None => "grub-install: the tree has no modules of GRUB".to_owned(),
            };
            Error::usage(message).hint("the targets are i386-pc, x86_64-efi and arm64-efi")
        })
    }
}

/// What `grub-install` was asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// For what.
    pub platform: Platform,
    /// On which device: the disk's name in the layout.
    pub device: Option<String>,
    /// The directory that holds GRUB's own.
    pub boot: PathBuf,
    /// Where the ESP is mounted; otherwise it is looked for.
    pub efi: Option<PathBuf>,
    /// The directory of the loader beside the removable path; none: no other than that.
    pub id: Option<String>,
    /// Whether signed loaders may be used.
    pub signed: bool,
    /// Modules to put into the image besides those it needs.
    pub modules: Vec<String>,
    /// Where the modules come from; otherwise the tree's usual place.
    pub library: Option<PathBuf>,
    /// Whether what is embedded can repair itself.
    pub reed_solomon: bool,
    /// Whether anything is embedded at all.
    pub embed: bool,
}

/// The place of GRUB's files, and how its images find it.
#[derive(Debug)]
pub(super) struct Home<'a> {
    /// The directory.
    pub(super) dir: PathBuf,
    /// The same within its file system.
    pub(super) inside: PathBuf,
    /// The file system.
    pub(super) filesystem: &'a FileSystemFacts,
    disk: Option<&'a DiskFacts>,
}

impl<'a> Home<'a> {
    fn find(boot: &Path, name: &str, facts: &'a Facts) -> Result<Self> {
        let dir = plain(&fs::canonicalize(boot).unwrap_or(boot.to_owned())).join(name);
        let (filesystem, inside) = facts.holding(&dir).ok_or_else(|| {
            let message = format!(
                "grub-install: no file system of the layout holds {}",
                dir.display()
            );
            Error::new(Kind::Elements, message)
        })?;
        let disk = facts.place(filesystem).map(|(disk, _)| disk);
        Ok(Self {
            dir,
            inside,
            filesystem,
            disk,
        })
    }

    /// What an image does before anything else.
    fn search(&self) -> String {
        format!(
            "search.fs_uuid {} root\nset prefix=($root){}\n",
            self.filesystem.uuid,
            self.inside.display()
        )
    }

    /// The modules by which an image reaches its files.
    fn modules(&self, more: &[String]) -> BTreeSet<String> {
        let mut modules: BTreeSet<String> = more.iter().cloned().collect();
        modules.insert(module(&self.filesystem.kind).to_owned());
        modules.insert("search_fs_uuid".to_owned());
        modules.extend(self.disk.and_then(table_module).map(str::to_owned));
        if !self.filesystem.abstraction.is_empty() {
            modules.insert(self.filesystem.abstraction.clone());
        }
        modules
    }
}

/// Installs GRUB.
pub fn install(request: &Request, facts: &Facts) -> Result<()> {
    let maker = program(&["grub-mkimage", "grub2-mkimage"]).ok_or_else(|| {
        Error::new(Kind::Elements, "grub-install: the tree has no grub-mkimage")
            .hint("an element has to install GRUB's packages first")
    })?;
    let name = if maker.ends_with("grub2-mkimage") {
        "grub2"
    } else {
        "grub"
    };
    let platform = request.platform;
    let library = request.library.clone().or_else(|| platform.library());
    let disk = target(request, facts)?;
    let home = Home::find(&request.boot, name, facts)?;
    let tried = || format!("grub-install: cannot write to {}", home.dir.display());
    let here = home.dir.join(platform.name());
    fs::create_dir_all(&here).host(tried)?;
    if let Some(library) = &library {
        copy_modules(library, &here).host(tried)?;
    }
    copy_common(&home.dir).host(tried)?;
    if let Some(word) = platform.efi_word() {
        let image = |to: &Path| {
            make(
                &maker,
                request,
                &needed(library.clone(), platform)?,
                &home,
                &here,
                to,
            )
        };
        return efi::install(request, word, &home, facts, &here.join("core.efi"), image);
    }
    let library = needed(library, platform)?;
    let core = here.join("core.img");
    make(&maker, request, &library, &home, &here, &core)?;
    let boot = here.join("boot.img");
    fs::copy(library.join("boot.img"), &boot).host(tried)?;
    match disk {
        Some(disk) if request.embed => leave(&Record {
            disk: disk.name.clone(),
            boot,
            core,
            reed_solomon: request.reed_solomon,
        }),
        _ => Ok(()),
    }
}

fn needed(library: Option<PathBuf>, platform: Platform) -> Result<PathBuf> {
    library.ok_or_else(|| {
        let message = format!(
            "grub-install: the tree has no modules of GRUB for {}",
            platform.name()
        );
        Error::new(Kind::Elements, message).hint("an element has to install the package that brings them")
    })
}

/// The disk whose first sectors GRUB takes; UEFI takes none.
fn target<'a>(request: &Request, facts: &'a Facts) -> Result<Option<&'a DiskFacts>> {
    if request.platform != Platform::Bios {
        return Ok(None);
    }
    let Some(device) = &request.device else {
        if !request.embed {
            return Ok(None);
        }
        let message = "grub-install: no device to install to is given";
        return Err(Error::usage(message).hint("hooks find it in IMAGE_BLOCK_DEVICE"));
    };
    embeddable(device, facts, "grub-install").map(Some)
}

/// The planned disk of a name, on which there is room for boot code.
pub(crate) fn embeddable<'a>(device: &str, facts: &'a Facts, tool: &str) -> Result<&'a DiskFacts> {
    let disk = facts.disk(device).ok_or_else(|| {
        let disks: Vec<&str> = facts.disks.iter().map(|disk| disk.device.as_str()).collect();
        Error::usage(format!("{tool}: {device} is no disk of the layout"))
            .hint(format!("its disks are: {}", disks.join(", ")))
    })?;
    let why = match disk.table.as_deref() {
        Some("gpt") if !disk.partitions.iter().any(is_bios_boot) => {
            "it has a GPT, but no BIOS boot partition"
        }
        None => "it has no partition table",
        _ => return Ok(disk),
    };
    let message = format!("{tool}: there is no room for boot code on {device}: {why}");
    Err(Error::new(Kind::Elements, message)
        .hint("elements block-device-gpt and block-device-efi lay one out, of type EF02"))
}

/// Has the tree's own program make an image.
fn make(
    maker: &Path,
    request: &Request,
    library: &Path,
    home: &Home<'_>,
    here: &Path,
    to: &Path,
) -> Result<()> {
    let failed = |how: String| {
        let message = format!("grub-install: {} {how}", maker.display());
        Error::new(Kind::Elements, message)
    };
    let search = here.join("load.cfg");
    fs::write(&search, home.search()).host(|| format!("grub-install: cannot write {}", search.display()))?;
    let mut modules = home.modules(&request.modules);
    if request.platform == Platform::Bios {
        modules.insert("biosdisk".to_owned());
    } else {
        modules.extend(["fat", "part_gpt", "part_msdos"].map(str::to_owned));
    }
    let mut args: Vec<OsString> = vec![
        "-O".into(),
        request.platform.name().into(),
        "-d".into(),
        library.into(),
    ];
    args.extend(["-p".into(), home.inside.as_os_str().to_owned()]);
    args.extend(["-c".into(), search.into(), "-o".into(), to.into()]);
    args.extend(modules.into_iter().map(OsString::from));
    let here = Sandbox::default();
    match here.run(maker.as_os_str(), &args, &Environment::capture()) {
        Ok(Ending::Exited(0)) => Ok(()),
        Ok(ending) => Err(failed(ending.to_string())),
        Err(error) => Err(failed("cannot be started".to_owned()).because(error)),
    }
}

/// Copies modules, and what belongs to them.
fn copy_modules(library: &Path, here: &Path) -> io::Result<()> {
    for entry in fs::read_dir(library)? {
        let (path, name) = {
            let entry = entry?;
            (entry.path(), entry.file_name())
        };
        let is_module = path.extension().is_some_and(|extension| extension == "mod");
        if is_module || BESIDE.iter().any(|beside| *beside == name) {
            fs::copy(&path, here.join(name))?;
        }
    }
    Ok(())
}

/// What every GRUB has beside its modules: a font, its languages, a block of variables.
fn copy_common(home: &Path) -> io::Result<()> {
    let fonts = home.join("fonts");
    fs::create_dir_all(&fonts)?;
    for font in ["/usr/share/grub/unicode.pf2", "/usr/share/grub2/unicode.pf2"] {
        if Path::new(font).is_file() {
            fs::copy(font, fonts.join("unicode.pf2"))?;
        }
    }
    for language in fs::read_dir("/usr/share/locale").into_iter().flatten().flatten() {
        let messages = language.path().join("LC_MESSAGES/grub.mo");
        if messages.is_file() {
            let locale = home.join("locale");
            fs::create_dir_all(&locale)?;
            let mut name = language.file_name();
            name.push(".mo");
            fs::copy(messages, locale.join(name))?;
        }
    }
    let variables = home.join("grubenv");
    if fs::symlink_metadata(&variables).is_err() {
        fs::write(variables, grubenv())?;
    }
    Ok(())
}

/// An environment block without variables.
fn grubenv() -> Vec<u8> {
    let mut block = b"# GRUB Environment Block\n".to_vec();
    block.resize(GRUBENV_LEN, b'#');
    block
}

/// The words of values that hold several.
pub(crate) fn modules_of<'a>(values: impl Iterator<Item = &'a str>) -> Vec<String> {
    values
        .flat_map(str::split_whitespace)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::answers::tests::facts;
    use super::*;

    #[test]
    fn images_find_their_files_by_uuid_and_have_what_reads_them() {
        let facts = facts();
        let home = Home::find(Path::new("/no-such/boot"), "grub", &facts).unwrap();
        assert_eq!(
            home.search(),
            "search.fs_uuid a1b2c3d4-0000-4000-8000-000000000001 root\nset prefix=($root)/no-such/boot/grub\n"
        );
        let mut lvm = facts.clone();
        lvm.filesystems[0].abstraction = "lvm".to_owned();
        let home = Home::find(Path::new("/no-such"), "grub2", &lvm).unwrap();
        let modules: Vec<String> = home
            .modules(&modules_of(["lvm part_msdos", "all_video"].into_iter()))
            .into_iter()
            .collect();
        assert_eq!(
            modules,
            [
                "all_video",
                "ext2",
                "lvm",
                "part_gpt",
                "part_msdos",
                "search_fs_uuid"
            ]
        );
    }

    #[test]
    fn boot_code_goes_only_where_there_is_room_for_it() {
        let mut facts = facts();
        let refused =
            |facts: &Facts, device: &str| embeddable(device, facts, "grub-install").unwrap_err().message();
        assert_eq!(embeddable("/dev/dib/image0", &facts, "x").unwrap().name, "image0");
        for device in ["/dev/sda", "/dev/dib/image0p3"] {
            assert!(refused(&facts, device).contains("is no disk of the layout"));
        }
        facts.disks[0].partitions[1].kind = "21686148-6449-6E6F-744E-656564454649".to_owned();
        assert!(embeddable("/dev/dib/image0", &facts, "x").is_ok());
        facts.disks[0].partitions.remove(1);
        assert!(refused(&facts, "/dev/dib/image0").contains("no BIOS boot partition"));
        facts.disks[0].table = Some("msdos".to_owned());
        assert!(embeddable("/dev/dib/image0", &facts, "x").is_ok());
        facts.disks[0].table = None;
        assert!(refused(&facts, "/dev/dib/image0").contains("no partition table"));
    }

    #[test]
    fn targets_are_those_that_images_can_be_made_for() {
        for platform in Platform::ALL {
            assert_eq!(Platform::of(Some(platform.name())).unwrap(), platform);
        }
        let refused = Platform::of(Some("powerpc-ieee1275")).unwrap_err().message();
        assert!(
            refused.contains("target powerpc-ieee1275 is not supported"),
            "{refused}"
        );
        assert_eq!(grubenv().len(), 1024);
    }
}
