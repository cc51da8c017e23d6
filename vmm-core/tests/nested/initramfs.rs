//! An initramfs of busybox, virtio modules and a script.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use lzma_rust2::XzReader;

/// Debian's virtio modules, in the order that they need each other.
const MODULES: [&str; 12] = [
    "virtio_ring",
    "virtio",
    "virtio_mmio",
    "virtio_blk",
    "rng-core",
    "virtio-rng",
    "vsock",
    "vmw_vsock_virtio_transport_common",
    "vmw_vsock_virtio_transport",
    "failover",
    "net_failover",
    "virtio_net",
];

/// More modules, which a script gets with `load NAME…` where the kernel has them.
const MORE_MODULES: [&str; 7] = [
    "virtio_balloon",
    "evdev",
    "button",
    "pvpanic",
    "pvpanic-mmio",
    "watchdog",
    "wdat_wdt",
];

/// An initramfs whose init does what every guest here needs, then runs `script` in busybox's shell.
pub(crate) fn with_script(script: &str) -> Vec<u8> {
    static BASE: OnceLock<Base> = OnceLock::new();
    let base = BASE.get_or_init(|| Base::new(Path::new(&env("VM_TEST_MODULES"))));
    base.with_script(script)
}

/// The same with the modules in another folder.
pub(crate) fn with_modules_and_script(folder: &Path, script: &str) -> Vec<u8> {
    Base::new(folder).with_script(script)
}

/// What all guests' initramfs have, made once: looking for modules and reading them takes an emulated machine long.
struct Base {
    archive: Archive,
    /// The shell commands that load the modules.
    loads: String,
}

impl Base {
    fn new(folder: &Path) -> Self {
        let mut archive = Archive::default();
        for folder in ["bin", "dev", "proc", "sys", "mod"] {
            archive.add(folder, 0o040_755, b"");
        }
        let busybox = std::fs::read("/bin/busybox").unwrap();
        archive.add("bin/busybox", 0o100_755, &busybox);
        let built_in = std::fs::read_to_string(folder.join("modules.builtin")).unwrap();
        let mut files = HashMap::new();
        list(folder, &mut files);
        let mut loads = String::new();
        for name in MODULES.into_iter().chain(MORE_MODULES) {
            let Some(module) = module(&files, name) else {
                let is_built_in = built_in.contains(&format!("/{name}.ko\n"));
                assert!(is_built_in || MORE_MODULES.contains(&name), "no {name}");
                continue;
            };
            archive.add(&format!("mod/{name}.ko"), 0o100_644, &module);
            if MODULES.contains(&name) {
                loads.push_str(&format!("insmod /mod/{name}.ko\n"));
            }
        }
        Self { archive, loads }
    }

    fn with_script(&self, script: &str) -> Vec<u8> {
        let mut archive = self.archive.clone();
        for program in &PROGRAMS {
            if script.contains(program.name) {
                archive.add(
                    &format!("bin/{}", program.name),
                    0o100_755,
                    program.binary(),
                );
            }
        }
        let init = format!(
            "#!/bin/busybox sh\n/bin/busybox --install -s /bin\nexport PATH=/bin\n\
         mount -t devtmpfs dev /dev\nmount -t proc proc /proc\nmount -t sysfs sys /sys\n\
         load() {{ for name in \"$@\"; do [ ! -e /mod/$name.ko ] || insmod /mod/$name.ko; done; }}\n\
         echo up $(cut -d' ' -f1 /proc/uptime)\n{}{script}\n",
            self.loads
        );
        archive.add("init", 0o100_755, init.as_bytes());
        archive.finish()
    }
}

/// A module of a kernel, unpacked.
fn module(files: &HashMap<OsString, PathBuf>, name: &str) -> Option<Vec<u8>> {
    let file = |extension| files.get(OsStr::new(&format!("{name}{extension}")));
    if let Some(plain) = file(".ko") {
        return Some(std::fs::read(plain).unwrap());
    }
    let packed = std::fs::read(file(".ko.xz")?).unwrap();
    let mut module = Vec::new();
    XzReader::new(packed.as_slice(), true)
        .read_to_end(&mut module)
        .unwrap();
    Some(module)
}

/// Adds the files below `folder` by their names.
fn list(folder: &Path, files: &mut HashMap<OsString, PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => list(&entry.path(), files),
            false => drop(files.insert(entry.file_name(), entry.path())),
        }
    }
}

/// A setting without which nothing here can run.
pub(crate) fn env(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("set {name}; see the head of this test's main.rs"))
}

/// A program that busybox lacks, built when a guest first needs it.
struct Program {
    name: &'static str,
    source: &'static str,
    binary: OnceLock<Vec<u8>>,
}

impl Program {
    const fn new(name: &'static str, source: &'static str) -> Self {
        Self {
            name,
            source,
            binary: OnceLock::new(),
        }
    }

    fn binary(&self) -> &[u8] {
        self.binary.get_or_init(|| build(self.source))
    }
}

static PROGRAMS: [Program; 2] = [
    Program::new("vsock-peer", include_str!("vsock_peer.c")),
    Program::new("port-write", include_str!("port_write.c")),
];

fn build(text: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("program.c");
    let binary = dir.path().join("program");
    std::fs::write(&source, text).unwrap();
    let built = Command::new("cc")
        .args(["-static", "-O1", "-o"])
        .args([&binary, &source])
        .status()
        .expect("install gcc and libc6-dev");
    assert!(built.success());
    std::fs::read(binary).unwrap()
}

/// A cpio archive in the `newc` format, which kernels unpack.
#[derive(Clone, Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(data.len()).unwrap();
        let name_size = u32::try_from(name.len() + 1).unwrap();
        // inode, mode, uid, gid, links, mtime, size, device (2), represented device (2), name size, check.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, b"");
        self.bytes
    }
}
