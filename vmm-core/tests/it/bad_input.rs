//! Mistakes of the embedder's user, and the errors that explain them.

use std::error::Error;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use vmm_core::{
    BootProtocol, Drive, Exit, FileBackend, KernelError, Net, NetBackend, OffloadHeader,
    StartError, Switch, Vm, VmConfig, VsockSocketError,
};

use super::guest::{Screen, config, elf, file, out, spin};
use super::lifecycle::TURN;

fn start(path: &Path, change: impl FnOnce(&mut VmConfig)) -> StartError {
    let mut config = config(path.to_owned(), &Screen::default());
    change(&mut config);
    let _turn = TURN.lock();
    Vm::start(config).expect_err("the VM must not start")
}

fn kernel_error(bytes: &[u8]) -> String {
    let (_dir, path) = file(bytes);
    let error = start(&path, |_| {});
    assert!(error.to_string().contains(path.to_str().unwrap()));
    error
        .source()
        .expect("the reason is the source")
        .to_string()
}

#[test]
fn a_missing_kernel_is_named() {
    let error = start(Path::new("/no/such/kernel"), |_| {});
    assert!(matches!(error, StartError::ReadKernel { .. }));
    assert!(error.to_string().contains("/no/such/kernel"));
}

#[test]
fn a_file_that_is_no_kernel_is_refused() {
    assert!(kernel_error(b"#!/bin/sh\n").contains("not a kernel"));
    assert!(kernel_error(b"").contains("not a kernel"));
    let program = std::fs::read("/proc/self/exe").unwrap();
    assert!(kernel_error(&program).contains("not a kernel"));
}

#[test]
fn what_is_not_even_a_file_is_refused_without_reading_it() {
    for path in ["/dev/zero", "/proc/self"] {
        let error = start(Path::new(path), |_| {});
        assert!(error.to_string().contains(path));
        let reason = error.source().expect("the reason is the source");
        assert!(reason.to_string().contains("not a regular file"));
    }
}

#[test]
fn a_truncated_kernel_is_refused() {
    let kernel = elf(&[spin(), vec![0x90; 5000]]);
    for length in [10, 70, 0x1000, kernel.len() - 1] {
        assert!(kernel_error(&kernel[..length]).contains("truncated"));
    }
}

#[test]
fn what_does_not_fit_in_memory_is_refused() {
    let (_dir, path) = file(&elf(&[spin(), vec![0; 15 << 20]]));
    let error = start(&path, |config| config.memory_mib = 16);
    let StartError::Kernel { source, .. } = error else {
        panic!("{error}");
    };
    assert!(matches!(source, KernelError::DoesNotFit { .. }));

    let (_dir, path) = file(&elf(&[spin()]));
    let error = start(&path, |config| config.initrd = Some(vec![0; 63 << 20]));
    let StartError::InitrdTooLarge { room_bytes, .. } = error else {
        panic!("{error}");
    };
    assert!(error.to_string().contains(&room_bytes.to_string()));
    // What it says would fit does, to the byte.
    for (more, fits) in [(0, true), (1, false)] {
        let bytes = usize::try_from(room_bytes + more).unwrap();
        let mut config = config(path.clone(), &Screen::default());
        config.initrd = Some(vec![0; bytes]);
        let _turn = TURN.lock();
        assert_eq!(Vm::start(config).is_ok(), fits, "{bytes} bytes");
    }
}

#[test]
fn memory_of_any_whole_number_of_mebibytes_will_do() {
    let power_off = out(0x600, 5 << 2 | 1 << 5);
    let (_dir, path) = file(&elf(&[power_off, spin()]));
    for mib in [17, 63, 3071, 3073] {
        let mut config = config(path.clone(), &Screen::default());
        config.memory_mib = mib;
        let _turn = TURN.lock();
        let vm = Vm::start(config).unwrap();
        assert!(matches!(vm.wait(), Exit::PowerOff), "{mib} MiB");
    }
}

#[test]
fn a_disk_that_can_only_be_read_needs_a_drive_that_is_read_only() {
    let (dir, path) = file(&elf(&[spin()]));
    let image = dir.path().join("image");
    std::fs::write(&image, [0; 4096]).unwrap();
    let disk = Arc::new(FileBackend::open(&image, true).unwrap());
    let error = start(&path, |config| config.drives = vec![Drive::new(disk)]);
    assert!(matches!(error, StartError::DriveNotWritable { index: 0 }));
    assert!(error.to_string().contains("read_only"), "{error}");
}

/// A network backend that is a file, for which nobody can wait.
struct FileNet(File);

impl AsFd for FileNet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl NetBackend for FileNet {
    fn receive(&mut self, _: &mut [u8], _: &mut OffloadHeader) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
    fn send(&mut self, _: &[u8], _: &OffloadHeader) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_network_that_cannot_be_waited_for_is_refused() {
    let (_dir, path) = file(&elf(&[spin()]));
    let error = start(&path, |config| {
        let port = Switch::new().port().unwrap();
        let file = FileNet(File::open(&path).unwrap());
        config.nets = vec![Net::new(port), Net::new(file)];
    });
    let StartError::NetBackend { index: 1, source } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(source.raw_os_error(), Some(libc::EPERM));
    assert!(error.to_string().contains("network device 1"), "{error}");
}

#[test]
fn a_protocol_that_the_kernel_does_not_speak_is_refused() {
    let (_dir, path) = file(&elf(&[spin()]));
    let error = start(&path, |config| config.boot_protocol = BootProtocol::Pvh);
    let StartError::Kernel { source, .. } = error else {
        panic!("{error}");
    };
    assert!(matches!(source, KernelError::NoPvhEntry));
    assert!(source.to_string().contains("CONFIG_PVH"));
}

#[test]
fn memory_that_the_host_cannot_give_is_refused() {
    let (_dir, path) = file(&elf(&[spin()]));
    // More than KVM takes in one piece; some processors' addresses don't reach that far.
    let mib: u32 = 16 << 20;
    let error = start(&path, |config| config.memory_mib = mib);
    let is_of_memory = matches!(
        error,
        StartError::MapMemory { .. } | StartError::MemoryOutOfReach { .. }
    );
    assert!(is_of_memory, "{error}");
    assert!(error.to_string().contains(&mib.to_string()));
}

#[test]
fn machines_that_cannot_be_are_refused() {
    let (_dir, path) = file(&elf(&[spin()]));
    let error = start(&path, |config| config.vcpus = 0);
    assert!(error.to_string().contains("1 to 32"));
    let error = start(&path, |config| config.memory_mib = 1);
    assert!(error.to_string().contains("at least 16 MiB"));
    let error = start(&path, |config| config.command_line = "x".repeat(4096));
    assert!(error.to_string().contains("2047"));
}

#[test]
fn a_vsock_socket_that_cannot_be_is_refused_and_leaves_nothing() {
    let (dir, path) = file(&elf(&[spin()]));
    let refused = |socket: &Path, cid| {
        let error = start(&path, |config| {
            config.vsock_socket = Some(socket.to_owned());
            config.vsock_cid = cid;
        });
        assert!(error.to_string().contains("vsock_socket"), "{error}");
        match error {
            StartError::VsockSocket(error) => error,
            other => panic!("{other}"),
        }
    };
    let socket = dir.path().join("vm.sock");
    let error = refused(&socket, None);
    assert!(error.to_string().contains("vsock_cid"), "{error}");
    let error = refused(&dir.path().join("x".repeat(100)), Some(3));
    assert!(matches!(error, VsockSocketError::PathLength { .. }));
    let error = refused(&path, Some(3));
    assert!(matches!(error, VsockSocketError::NotASocket { .. }));

    let listener = UnixListener::bind(&socket).unwrap();
    let error = refused(&socket, Some(3));
    assert!(matches!(error, VsockSocketError::InUse { .. }));
    drop(listener);
    // What fails later takes the socket with it, which has replaced the one that nobody listens at any more.
    assert!(socket.exists());
    start(&path, |config| {
        config.vsock_socket = Some(socket.clone());
        config.vsock_cid = Some(3);
        config.initrd = Some(vec![0; 62 << 20]);
    });
    assert!(!socket.exists());
}
