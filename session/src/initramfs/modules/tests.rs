use std::io::Write;
use std::process::{Command, Stdio};

use super::*;

/// A little-endian ELF file with nothing but a `.modinfo` section.
fn module(info: &[u8]) -> Vec<u8> {
    const HEADER: usize = 64;
    const SECTION: usize = 64;
    let names = b"\0.modinfo\0.shstrtab\0";
    let (info_at, names_at) = (HEADER, HEADER + info.len());
    let sections_at = (names_at + names.len()).next_multiple_of(8);
    let mut file = vec![0; sections_at + 3 * SECTION];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &1_u16.to_le_bytes()); // ET_REL
    put(18, &62_u16.to_le_bytes()); // EM_X86_64
    put(20, &1_u32.to_le_bytes());
    put(40, &(sections_at as u64).to_le_bytes());
    put(52, &64_u16.to_le_bytes());
    put(58, &64_u16.to_le_bytes());
    put(60, &3_u16.to_le_bytes());
    put(62, &2_u16.to_le_bytes());
    put(info_at, info);
    put(names_at, names);
    let header = |name: u32, kind: u32, at: usize, len: usize| {
        let mut bytes = [0; SECTION];
        bytes[..4].copy_from_slice(&name.to_le_bytes());
        bytes[4..8].copy_from_slice(&kind.to_le_bytes());
        bytes[24..32].copy_from_slice(&(at as u64).to_le_bytes());
        bytes[32..40].copy_from_slice(&(len as u64).to_le_bytes());
        bytes
    };
    put(sections_at + SECTION, &header(1, 1, info_at, info.len()));
    put(
        sections_at + 2 * SECTION,
        &header(10, 3, names_at, names.len()),
    );
    file
}

/// A module as the kernel's own build packs it for a file of that name.
fn packed(file: &str, module: &[u8]) -> Vec<u8> {
    match Path::new(file).extension().and_then(|it| it.to_str()) {
        Some("zst") => zstd::encode_all(module, 1).unwrap(),
        Some("xz") => by_program("xz", &["--check=crc32", "--lzma2=dict=1MiB"], module),
        Some("gz") => by_program("gzip", &["-n", "-f"], module),
        _ => module.to_owned(),
    }
}

fn by_program(program: &str, args: &[&str], module: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("install {program}: {error}"));
    // It is less than a pipe holds.
    child.stdin.take().unwrap().write_all(module).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn folder(modules: &[(&str, &str)], builtin: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("kernel/drivers")).unwrap();
    fs::write(folder.path().join("modules.builtin"), builtin).unwrap();
    for (file, depends) in modules {
        let bytes = module(format!("license=GPL\0depends={depends}\0").as_bytes());
        let path = folder.path().join("kernel/drivers").join(file);
        fs::write(path, packed(file, &bytes)).unwrap();
    }
    folder
}

fn names(modules: &[Module]) -> Vec<&str> {
    modules.iter().map(|module| module.name.as_str()).collect()
}

#[test]
fn dependencies_come_first_and_once() {
    let folder = folder(
        &[
            ("virtio_mmio.ko", "virtio_ring,virtio"),
            ("virtio.ko.gz", "virtio_ring"),
            ("virtio_ring.ko.xz", ""),
            ("virtio-rng.ko.zst", "virtio,rng-core"),
        ],
        "kernel/drivers/char/hw_random/rng-core.ko\nkernel/fs/ext4/ext4.ko\n",
    );
    let modules = in_load_order(
        folder.path(),
        &["virtio_mmio", "ext4"],
        &["virtio_rng", "absent"],
    )
    .unwrap();
    assert_eq!(
        names(&modules),
        ["virtio_ring", "virtio", "virtio_mmio", "virtio_rng"]
    );
    assert!(
        modules
            .iter()
            .all(|module| module.content.starts_with(b"\x7fELF"))
    );
}

#[test]
fn modules_that_depend_on_each_other_end() {
    let folder = folder(&[("a.ko", "b"), ("b.ko", "a")], "");
    assert_eq!(
        names(&in_load_order(folder.path(), &["a"], &[]).unwrap()),
        ["b", "a"]
    );
}

#[test]
fn a_missing_module_is_named_with_its_folder() {
    let folder = folder(&[("virtio_blk.ko", "virtio")], "");
    let error = in_load_order(folder.path(), &["virtio_blk"], &[]).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Kernel);
    let text = error.to_string();
    assert!(
        text.contains("virtio ") && text.contains(folder.path().to_str().unwrap()),
        "{text}"
    );
}

#[test]
fn what_is_no_module_is_refused() {
    let folder = folder(&[], "");
    fs::write(folder.path().join("a.ko"), "not ELF").unwrap();
    let error = in_load_order(folder.path(), &["a"], &[]).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Kernel);
    assert!(error.to_string().contains("a.ko is no"), "{error}");
}

#[test]
fn a_packed_module_that_is_damaged_is_named() {
    let folder = folder(&[], "");
    for file in ["a.ko.zst", "b.ko.xz", "c.ko.gz"] {
        let whole = packed(file, &module(b"depends=\0"));
        for length in [0, 4, whole.len() / 2, whole.len() - 1] {
            fs::write(folder.path().join(file), &whole[..length]).unwrap();
            let error = in_load_order(folder.path(), &[&file[..1]], &[]).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Kernel);
            assert!(error.to_string().contains(file), "{length}: {error}");
        }
    }
}

#[test]
fn a_module_does_not_unpack_to_any_size() {
    let folder = folder(&[], "");
    let endless = io::repeat(0).take(MAX_MODULE_BYTES);
    fs::write(
        folder.path().join("a.ko.zst"),
        zstd::encode_all(endless, 1).unwrap(),
    )
    .unwrap();
    let error = in_load_order(folder.path(), &["a"], &[]).unwrap_err();
    assert!(error.to_string().contains("a.ko.zst"), "{error}");
}

#[test]
fn a_folder_that_is_missing_is_named() {
    let error = in_load_order(Path::new("/nowhere/modules"), &["a"], &[]).unwrap_err();
    assert!(error.to_string().contains("/nowhere/modules"), "{error}");
}

#[test]
fn the_list_of_modules_says_where_they_are_packed_or_not() {
    let folder = folder(&[("one.ko", "two"), ("two.ko.xz", "")], "");
    let place = folder.path().join("kernel/drivers");
    fs::create_dir(place.join("deep")).unwrap();
    fs::rename(place.join("two.ko.xz"), place.join("deep/two.ko.xz")).unwrap();
    let order = "kernel/drivers/one.ko\nkernel/drivers/deep/two.ko\n";
    fs::write(folder.path().join("modules.order"), order).unwrap();
    let mut files = Files::new(folder.path()).unwrap();
    let found = files.find("two").unwrap();
    assert_eq!(found, place.join("deep/two.ko.xz"));
    assert!(!files.is_whole);
    let modules = in_load_order(folder.path(), &["one"], &["three"]).unwrap();
    assert_eq!(names(&modules), ["two", "one"]);
}

#[test]
fn modules_that_the_list_does_not_know_or_has_elsewhere_are_looked_for() {
    let folder = folder(&[("one.ko", "own"), ("own.ko", "")], "");
    let order = "kernel/elsewhere/one.ko\n";
    fs::write(folder.path().join("modules.order"), order).unwrap();
    let modules = in_load_order(folder.path(), &["one"], &[]).unwrap();
    assert_eq!(names(&modules), ["own", "one"]);
}
