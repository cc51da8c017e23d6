//! Calls of the host that a thread may be allowed to make, or not.

#![expect(
    unsafe_code,
    reason = "some of the calls that are to fail have no safe interface"
)]

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// What was opened before there was a filter.
pub(super) struct Place {
    folder: TempDir,
    sockets: [UnixStream; 2],
    file: File,
}

impl Place {
    pub(super) fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            sockets: UnixStream::pair().unwrap().into(),
            file: tempfile::tempfile().unwrap(),
        }
    }
}

/// A probe's name, and the number of the error that it ended with.
pub(super) type Answer = (&'static str, Option<i32>);
pub(super) type Probe = (&'static str, fn(&Place) -> io::Result<()>);

/// What every thread may do.
pub(super) const BENIGN: [Probe; 5] = [
    ("write to an open socket in pieces", |place| {
        let [one, other] = &place.sockets;
        let pieces = [IoSlice::new(b"a"), IoSlice::new(b"b")];
        let count = (&mut &*one).write_vectored(&pieces)?;
        (&mut &*other).read_exact(&mut [0; 2][..count])
    }),
    ("write to an open socket and read it", |place| {
        let [one, other] = &place.sockets;
        (&mut &*one).write_all(b"?")?;
        (&mut &*other).read_exact(&mut [0])
    }),
    ("sleep", |_| {
        thread::sleep(Duration::from_millis(1));
        Ok(())
    }),
    ("allocate", |_| {
        let mut large = vec![1u8; 1 << 20];
        large.resize(64 << 20, 1);
        assert_eq!(large.last(), Some(&1));
        Ok(())
    }),
    ("ask for randomness", |_| {
        let set: HashSet<u8> = [1].into();
        assert!(set.contains(&1));
        Ok(())
    }),
];

/// What backends with open files may do, too.
pub(super) const OPEN_FILES: [Probe; 3] = [
    ("read and write at an offset", |place| {
        place.file.write_all_at(b"text", 4096)?;
        place.file.read_exact_at(&mut [0; 4], 4096)?;
        place.file.sync_data()
    }),
    ("give back space", |place| {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: the call takes no pointers.
        let answer = unsafe { libc::fallocate(place.file.as_raw_fd(), mode, 0, 4096) };
        check(answer == 0)
    }),
    ("ask for a size", |place| place.file.metadata().map(drop)),
];

/// What backends that open files may do, too.
pub(super) const FILES: [Probe; 6] = [
    ("clone a file and lock it as databases do", |place| {
        let file = place.file.try_clone()?;
        // SAFETY: zeroes make a lock.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        lock.l_type = libc::c_short::try_from(libc::F_WRLCK).map_err(io::Error::other)?;
        // SAFETY: the command takes a pointer to a lock, which lives for the call.
        let posix = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw const lock) };
        check(posix == 0)?;
        // SAFETY: as before.
        let of_file = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw const lock) };
        check(of_file == 0)
    }),
    ("ask how a file was opened", |place| {
        control(&place.file, libc::F_GETFL, 0)
    }),
    ("look at a path", |place| {
        place.folder.path().metadata().map(drop)
    }),
    ("open the process's memory", |_| {
        File::open("/proc/self/mem").map(drop)
    }),
    ("make, write, sync, resize and rename a file", |place| {
        let (new, old) = (
            place.folder.path().join("new"),
            place.folder.path().join("old"),
        );
        let mut file = File::create(&new)?;
        file.write_all(b"text")?;
        file.set_len(1 << 20)?;
        file.sync_all()?;
        file.lock()?;
        fs::rename(&new, &old)?;
        fs::remove_file(&old)
    }),
    ("make and look at a folder", |place| {
        let inner = place.folder.path().join("inner");
        fs::create_dir(&inner)?;
        assert!(inner.metadata()?.is_dir());
        assert_eq!(fs::read_dir(place.folder.path())?.count(), 1);
        fs::remove_dir(inner)
    }),
];

/// What only threads without a filter may do.
pub(super) const OUTWARD: [Probe; 2] = [
    ("make a socket", |_| UnixStream::pair().map(drop)),
    ("start a thread", |_| {
        let thread = thread::Builder::new().spawn(|| {})?;
        thread.join().map_err(|_| io::ErrorKind::Other.into())
    }),
];

/// Chooses a signal (`linux/fcntl.h`).
const F_SETSIG: libc::c_int = 10;

/// What guests would like to do.
pub(super) const HARMFUL: [Probe; 9] = [
    ("have signals sent for a file", |place| {
        control(&place.file, libc::F_SETOWN, 0)
    }),
    ("choose the signal that is sent", |place| {
        control(&place.file, F_SETSIG, 0)
    }),
    ("change how a file is open", |place| {
        control(&place.file, libc::F_SETFL, 0)
    }),
    ("send a message that may hold descriptors", |place| {
        // SAFETY: zeroes make a message without anything.
        let message: libc::msghdr = unsafe { std::mem::zeroed() };
        let socket = place.sockets[0].as_raw_fd();
        // SAFETY: the message, which points to nothing, lives for the call.
        let sent = unsafe { libc::sendmsg(socket, &raw const message, 0) };
        check(sent == 0)
    }),
    ("abort a thread of another process", |_| {
        // SAFETY: the call takes no pointers, and there are no such threads.
        let answer = unsafe { libc::syscall(libc::SYS_tgkill, i32::MAX, i32::MAX, libc::SIGABRT) };
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ESRCH) if answer == -1 => Ok(()),
            _ => Err(error),
        }
    }),
    ("become another program", |_| {
        let none = [std::ptr::null()];
        // SAFETY: the path and the two empty lists end as they should, and live for the call.
        unsafe { libc::execve(c"/nonexistent".as_ptr(), none.as_ptr(), none.as_ptr()) };
        let error = io::Error::last_os_error();
        check(error.kind() == io::ErrorKind::NotFound)
    }),
    ("start another program", |_| {
        Command::new("/bin/true").status().map(drop)
    }),
    ("signal a process", |_| {
        // SAFETY: the call takes no pointers, and signal 0 is none.
        let answer = unsafe { libc::kill(std::process::id().cast_signed(), 0) };
        check(answer == 0)
    }),
    ("make memory executable", |_| {
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a mapping at an address of the kernel's choice replaces nothing.
        let mapped = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
        check(mapped != libc::MAP_FAILED)
    }),
];

fn control(file: &File, command: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the commands that come here take no pointers.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), command, value) };
    check(answer >= 0)
}

fn check(worked: bool) -> io::Result<()> {
    worked.then_some(()).ok_or_else(io::Error::last_os_error)
}

/// Tries everything on the calling thread.
pub(super) fn answers(place: &Place) -> Vec<Answer> {
    let all = [&BENIGN[..], &OPEN_FILES, &FILES, &OUTWARD, &HARMFUL].concat();
    let answer = |(name, probe): Probe| (name, probe(place).err().map(errno));
    all.into_iter().map(answer).collect()
}

fn errno(error: io::Error) -> i32 {
    error.raw_os_error().unwrap_or(i32::MAX)
}
