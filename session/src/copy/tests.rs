use std::fs;
use std::io::{self, Cursor, Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use agent::protocol::{
    DataReader, DataWriter, Failure, FailureKind, Frame, Owner, Pack, Unpack, read_frame,
    write_frame,
};
use tar::{EntryType, Header};
use tempfile::TempDir;

use super::*;
use crate::ErrorKind;
use crate::command::Guest;
use crate::testing::FakeGuest;

fn guest(script: impl FnOnce(&mut UnixStream, Frame) + Send + 'static) -> Arc<dyn Guest> {
    Arc::new(FakeGuest::new(script))
}

fn say(stream: &mut UnixStream, frame: Frame) {
    write_frame(stream, &frame).unwrap();
}

fn failure(message: &str) -> Frame {
    Frame::Failed(Failure {
        kind: FailureKind::System,
        message: message.into(),
    })
}

/// One entry with these names as they are.
fn entry(kind: EntryType, name: &str, link: &str, data: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_mode(0o4755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(data.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// A copy out of a guest that sends `stream` and then `last`.
fn copy_out(folder: &Path, stream: Vec<u8>, last: Frame) -> CopyOut {
    let guest = guest(move |connection, first| {
        let expected = Pack {
            path: "/from".into(),
            name: Some("copy".into()),
        };
        assert_eq!(first, Frame::Pack(expected));
        let mut writer = DataWriter::new(connection);
        // Whoever has heard enough hangs up.
        if writer.write_all(&stream).is_ok()
            && let Ok(connection) = writer.finish()
        {
            drop(write_frame(connection, &last));
        }
    });
    CopyOut::new(guest, "/from".into(), folder.join("to"), 0)
}

fn bed() -> (TempDir, std::path::PathBuf) {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join(".bashrc"), "mine").unwrap();
    (outer, folder)
}

#[test]
fn a_guest_can_only_make_what_was_asked_for_under_the_name_that_was_given() {
    let (outer, folder) = bed();
    let file = |name: &str| entry(EntryType::Regular, name, "", b"evil");
    let link = |name: &str, target: &str| entry(EntryType::Symlink, name, target, b"");
    let streams = [
        [file(".bashrc"), file("copy")],
        [file("../escaped"), file("copy")],
        [file("/etc/escaped"), file("copy")],
        [file("copy/../.bashrc"), file("copy")],
        [link("copy", ".."), file("copy/escaped")],
        [link("copy", "/"), file("copy/escaped")],
        [
            link("copy", ".bashrc"),
            entry(EntryType::Link, "copy/x", "copy", b""),
        ],
        [entry(EntryType::Link, "copy", ".bashrc", b""), file("x")],
        [file("./"), file(".")],
    ];
    for stream in streams {
        let copied = copy_out(&folder, stream.concat(), Frame::Copied(Copied::default()));
        let _made_or_refused = copied.start().wait();
        assert_eq!(fs::read(folder.join(".bashrc")).unwrap(), b"mine");
        let outside: Vec<_> = fs::read_dir(outer.path()).unwrap().collect();
        assert_eq!(outside.len(), 1, "{outside:?}");
        let names = fs::read_dir(&folder).unwrap().flatten();
        let mut names: Vec<_> = names.map(|entry| entry.file_name()).collect();
        names.sort();
        names.retain(|name| name != "to");
        assert_eq!(names, [".bashrc"]);
        let to = folder.join("to");
        drop(fs::remove_file(&to).or_else(|_| fs::remove_dir_all(&to)));
    }
    assert!(!Path::new("/etc/escaped").exists() && !Path::new("/escaped").exists());
}

#[test]
fn a_link_in_the_place_of_the_copy_is_replaced_and_not_followed() {
    let (_outer, folder) = bed();
    symlink(".bashrc", folder.join("to")).unwrap();
    let file = entry(EntryType::Regular, "copy", "", b"new");
    let done = Frame::Copied(Copied {
        skipped: 3,
        files: 99,
        ..Copied::default()
    });
    let copied = copy_out(&folder, file, done).start().wait().unwrap();
    // What was made is counted here; only what was left out is the guest's word.
    assert_eq!((copied.files, copied.bytes, copied.skipped), (1, 3, 3));
    assert_eq!(fs::read(folder.join(".bashrc")).unwrap(), b"mine");
    assert_eq!(fs::read(folder.join("to")).unwrap(), b"new");
}

#[test]
fn limits_end_a_copy_that_has_no_end() {
    let (_outer, folder) = bed();
    let (ended, has_ended) = channel();
    let flood = guest(move |connection, _| {
        let mut writer = DataWriter::new(connection);
        for number in 0_u64.. {
            let file = entry(EntryType::Regular, &format!("copy/{number}"), "", &[1; 600]);
            if writer.write_all(&file).is_err() {
                break;
            }
        }
        ended.send(()).unwrap();
    });
    let copy = CopyOut::new(Arc::clone(&flood), "/x".into(), folder.join("to"), 0);
    let error = copy.max_bytes(100_000).start().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Copy);
    assert!(
        crate::error::one_line(&error).contains("100000 bytes"),
        "{error}"
    );
    has_ended.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(fs::read_dir(folder.join("to")).unwrap().count() <= 167);
}

#[test]
fn a_guest_that_fails_vanishes_or_talks_nonsense_is_told_apart() {
    let (_outer, folder) = bed();
    let half = || entry(EntryType::Regular, "copy", "", &[7; 5000])[..2000].to_vec();
    let kind = |script: Box<dyn FnOnce(&mut UnixStream) + Send>| {
        let guest = guest(move |stream, _| script(stream));
        let copy = CopyOut::new(guest, "/x".into(), folder.join("to"), 0);
        let error = copy.start().wait().unwrap_err();
        assert!(!folder.join("to").exists(), "a part of a file is left");
        (error.kind(), crate::error::one_line(&error))
    };
    let (found, text) = kind(Box::new(move |stream| {
        say(stream, Frame::Data(half()));
        say(stream, failure("the disk is on fire"));
    }));
    assert_eq!(found, ErrorKind::Copy);
    assert!(text.contains("on fire"), "{text}");
    let (found, text) = kind(Box::new(move |stream| say(stream, Frame::Data(half()))));
    assert_eq!(found, ErrorKind::Guest, "{text}");
    for stray in [Frame::Thawed, Frame::StdinEnd] {
        let (found, text) = kind(Box::new(move |stream| {
            say(stream, Frame::Data(half()));
            say(stream, stray);
        }));
        assert_eq!(found, ErrorKind::Guest, "{text}");
    }
    let (found, text) = kind(Box::new(|stream| {
        say(stream, Frame::Data(vec![0xff; 4096]));
        say(stream, Frame::DataEnd);
    }));
    assert_eq!(found, ErrorKind::Copy, "{text}");
    let not_there = Failure {
        kind: FailureKind::NotFound,
        message: "no".into(),
    };
    let (found, _) = kind(Box::new(|stream| say(stream, Frame::Failed(not_there))));
    assert_eq!(found, ErrorKind::NotFound);
}

#[test]
fn a_copy_without_its_last_word_is_no_copy() {
    let (_outer, folder) = bed();
    let guest = guest(|stream, _| {
        let mut writer = DataWriter::new(stream);
        writer
            .write_all(&entry(EntryType::Regular, "copy", "", b"x"))
            .unwrap();
        writer.finish().unwrap();
    });
    let copy = CopyOut::new(guest, "/x".into(), folder.join("to"), 0);
    assert_eq!(copy.start().wait().unwrap_err().kind(), ErrorKind::Guest);
}

#[test]
fn files_are_sent_by_the_name_that_the_copy_shall_have() {
    let (_outer, folder) = bed();
    let taken = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&taken);
    let guest = guest(move |stream, first| {
        let expected = Unpack {
            directory: "/srv".into(),
            owner: Owner::User("www:7".into()),
        };
        assert_eq!(first, Frame::Unpack(expected));
        let mut reader = DataReader::new(&mut *stream);
        reader.read_to_end(&mut kept.lock().unwrap()).unwrap();
        say(stream, Frame::Copied(Copied::default()));
    });
    let heard = Arc::new(Mutex::new(Copied::default()));
    let told = Arc::clone(&heard);
    let copied = CopyIn::path(guest, folder, "/srv/site".into())
        .owner("www:7")
        .on_progress(move |copied| *told.lock().unwrap() = *copied)
        .start()
        .wait()
        .unwrap();
    assert_eq!((copied.files, copied.directories, copied.bytes), (1, 1, 4));
    assert_eq!(*heard.lock().unwrap(), copied);
    let stream = taken.lock().unwrap().clone();
    let mut archive = tar::Archive::new(stream.as_slice());
    let names = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        entry.path().unwrap().display().to_string()
    });
    assert_eq!(names.collect::<Vec<_>>(), ["site", "site/.bashrc"]);
}

#[test]
fn a_guest_that_refuses_is_heard_while_it_takes_nothing() {
    let (hung_up, is_hung_up) = channel();
    let guest = guest(move |stream, _| {
        say(stream, failure("no room for \"big\""));
        // It reads nothing, and waits for the host to go.
        thread::sleep(Duration::from_millis(100));
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest));
        hung_up.send(()).unwrap();
    });
    let endless = io::repeat(7);
    let error = CopyIn::stream(guest, endless, "/x".into()).start().wait();
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Copy);
    assert!(error.to_string().contains("no room for \"big\""), "{error}");
    is_hung_up.recv_timeout(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_source_that_can_not_be_read_ends_the_copy_with_its_own_error() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("a broken reader"))
        }
    }
    let waits = || guest(|stream, _| drop(read_frame(stream)));
    let error = CopyIn::stream(waits(), Broken, "/x".into()).start().wait();
    let text = crate::error::one_line(&error.unwrap_err());
    assert!(text.contains("a broken reader"), "{text}");
    let missing = CopyIn::path(waits(), "/no/such/file".into(), "/x".into());
    let text = crate::error::one_line(&missing.start().wait().unwrap_err());
    assert!(text.contains("/no/such/file"), "{text}");
}

#[test]
fn paths_that_can_be_none_are_refused_before_the_guest_hears_of_them() {
    let never = || guest(|_, _| panic!("the guest was asked"));
    let (_outer, folder) = bed();
    for path in ["", "relative", "/", "/a/..", "/a\0b"] {
        let copy = CopyIn::path(never(), folder.clone(), path.into());
        let error = copy.start().wait().unwrap_err();
        assert!(error.is_invalid_input(), "{path:?}: {error}");
    }
    let unpack = CopyIn::stream(never(), Cursor::new(vec![]), "relative".into());
    assert!(unpack.start().wait().unwrap_err().is_invalid_input());
    for path in ["/", "..", "a/.."] {
        let copy = CopyOut::new(never(), "/x".into(), path.into(), 0);
        let error = copy.start().wait().unwrap_err();
        assert!(error.is_invalid_input(), "{path:?}: {error}");
    }
    let nowhere = CopyOut::new(never(), "/x".into(), "/no/such/folder/x".into(), 0);
    assert_eq!(
        nowhere.start().wait().unwrap_err().kind(),
        ErrorKind::Storage
    );
}

#[test]
fn a_raw_stream_ends_with_an_account_or_an_error() {
    let account = Copied {
        files: 5,
        ..Copied::default()
    };
    let whole = guest(move |stream, _| {
        say(stream, Frame::Data(b"bytes".to_vec()));
        say(stream, Frame::DataEnd);
        say(stream, Frame::Copied(account));
    });
    let mut stream = GuestTar::start(whole, "/x".into()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(
        (bytes.as_slice(), stream.copied()),
        (&b"bytes"[..], Some(account))
    );
    let broken = guest(|stream, _| {
        say(stream, Frame::Data(b"bytes".to_vec()));
        say(stream, failure("gone bad"));
    });
    let mut stream = GuestTar::start(broken, "/x".into()).unwrap();
    let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("gone bad"), "{error}");
    assert_eq!(stream.copied(), None);
}

const SHORT: Duration = Duration::from_millis(40);

/// A guest whose patience is short, and what its agent did to the end of the connection.
fn impatient(
    script: impl FnOnce(&mut UnixStream) + Send + 'static,
) -> (Arc<dyn Guest>, std::sync::mpsc::Receiver<()>) {
    let (hung_up, is_hung_up) = channel();
    let guest = FakeGuest::new(move |stream, _| {
        script(stream);
        // It takes nothing, and holds the connection to its end.
        while stream.peek_end() {}
        hung_up.send(()).unwrap();
    });
    (Arc::new(guest.patience(SHORT)), is_hung_up)
}

trait PeekEnd {
    fn peek_end(&self) -> bool;
}

impl PeekEnd for UnixStream {
    /// Whether the other side is still there, whatever it has sent.
    fn peek_end(&self) -> bool {
        thread::sleep(Duration::from_millis(5));
        let mut fds = [rustix::event::PollFd::new(
            self,
            rustix::event::PollFlags::RDHUP,
        )];
        let now = rustix::event::Timespec::default();
        rustix::event::poll(&mut fds, Some(&now)).unwrap() == 0
    }
}

#[test]
fn a_guest_that_stands_still_ends_a_copy() {
    let (_outer, folder) = bed();
    let (guest, is_hung_up) = impatient(|stream| {
        say(
            stream,
            Frame::Data(entry(EntryType::Regular, "copy", "", &[7; 600])[..700].to_vec()),
        );
    });
    let copy = CopyOut::new(guest, "/x".into(), folder.join("to"), 0);
    assert_eq!(copy.start().wait().unwrap_err().kind(), ErrorKind::Timeout);
    is_hung_up.recv_timeout(Duration::from_secs(10)).unwrap();
    // One that takes nothing, and one that takes all and gives no account.
    let (guest, is_hung_up) = impatient(|_| ());
    let copy = CopyIn::stream(guest, io::repeat(7), "/x".into());
    assert_eq!(copy.start().wait().unwrap_err().kind(), ErrorKind::Timeout);
    is_hung_up.recv_timeout(Duration::from_secs(10)).unwrap();
    let (guest, is_hung_up) = impatient(|stream| {
        drop(DataReader::new(&mut *stream).read_to_end(&mut Vec::new()));
    });
    let copy = CopyIn::stream(guest, Cursor::new(vec![0; 100]), "/x".into());
    assert_eq!(copy.start().wait().unwrap_err().kind(), ErrorKind::Timeout);
    is_hung_up.recv_timeout(Duration::from_secs(10)).unwrap();
}

#[test]
fn an_account_of_what_was_not_sent_yet_ends_a_copy() {
    let guest = guest(|stream, _| {
        say(stream, Frame::Copied(Copied::default()));
        while stream.peek_end() {}
    });
    let error = CopyIn::stream(guest, io::repeat(7), "/x".into())
        .start()
        .wait();
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Guest, "{error}");
}

#[test]
fn a_panic_of_the_callers_own_code_ends_a_copy() {
    struct Panics;
    impl Read for Panics {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("a defect of the caller's")
        }
    }
    let (waits, is_hung_up) = impatient(|_| ());
    let error = CopyIn::stream(waits, Panics, "/x".into()).start().wait();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Internal);
    is_hung_up.recv_timeout(Duration::from_secs(10)).unwrap();
    let (_outer, folder) = bed();
    let (waits, is_hung_up) = impatient(|_| ());
    let copy = CopyIn::path(waits, folder, "/x/y".into());
    let copy = copy.on_progress(|_| panic!("a defect of the caller's"));
    assert_eq!(copy.start().wait().unwrap_err().kind(), ErrorKind::Internal);
    is_hung_up.recv_timeout(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_copy_out_leaves_the_reserve_free() {
    let (_outer, folder) = bed();
    let file = entry(EntryType::Regular, "copy", "", b"x");
    let mut copy = copy_out(&folder, file, Frame::Copied(Copied::default()));
    copy.limits.reserve = u64::MAX;
    assert_eq!(copy.start().wait().unwrap_err().kind(), ErrorKind::Copy);
    assert!(!folder.join("to").exists());
}
