use super::*;
use crate::ErrorKind;

/// An ELF of one segment, which loads at 16 MiB and has no more than this byte.
fn elf(code: u8) -> Vec<u8> {
    let mut file = vec![0; 0x1000];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    let address = 0x100_0000u64.to_le_bytes();
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &[2, 0, 62]);
    put(24, &address);
    put(32, &64u64.to_le_bytes());
    put(54, &[56, 0, 1]);
    put(64, &[1]);
    put(72, &0x1000u64.to_le_bytes());
    put(88, &address);
    put(96, &[1]);
    put(104, &[1]);
    file.push(code);
    file
}

#[test]
fn sessions_share_a_kernel_until_its_file_changes_or_none_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vmlinux");
    std::fs::write(&path, elf(0xf4)).unwrap();
    let kernels = OpenKernels::default();
    let first = kernels.open(&path).unwrap();
    let shares = |a: &HeldKernel, b: &HeldKernel| Arc::ptr_eq(&a._place, &b._place);
    assert!(shares(&first, &kernels.open(&path).unwrap()));

    let newer = folder.path().join("newer");
    std::fs::write(&newer, elf(0x90)).unwrap();
    std::fs::rename(&newer, &path).unwrap();
    let second = kernels.open(&path).unwrap();
    assert!(!shares(&first, &second));

    let held = Arc::downgrade(&second._place);
    drop((first, second));
    assert_eq!(held.strong_count(), 0);
    let _third = kernels.open(&path).unwrap();
    assert_eq!(kernels.entries.lock().unwrap().len(), 1);
}

#[test]
fn what_is_no_kernel_is_an_error_about_it() {
    let folder = tempfile::tempdir().unwrap();
    let kernels = OpenKernels::default();
    for (name, bytes) in [("text", Some("no kernel")), ("missing", None)] {
        let path = folder.path().join(name);
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).unwrap();
        }
        let error = kernels.open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Kernel);
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
    }
}
