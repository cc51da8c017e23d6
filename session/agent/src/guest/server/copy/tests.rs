use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;

use agent::protocol::{Copied, FailureKind, StreamError, read_frame, write_frame};
use nix::unistd::{getgid, getuid};
use tempfile::TempDir;

use super::*;

/// Runs `job` on a connection; the host's side of it is returned.
fn serve(job: impl FnOnce(&mut Link) -> Option<Frame> + Send + 'static) -> UnixStream {
    let (host, guest) = UnixStream::pair().unwrap();
    thread::spawn(move || {
        let mut link = Link::new(File::from(OwnedFd::from(guest))).unwrap();
        if let Some(last) = job(&mut link) {
            link.finish(&last);
        }
    });
    host
}

fn source() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("large"), vec![5; 3_000_000]).unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    folder
}

fn request(path: &Path) -> Pack {
    Pack {
        path: path.to_str().unwrap().to_owned(),
        name: Some("x".to_owned()),
    }
}

#[test]
fn what_is_packed_can_be_unpacked_by_another_connection() {
    let (from, to) = (source(), tempfile::tempdir().unwrap());
    let pack_it = request(from.path());
    let mut packing = serve(move |link| pack(link, &pack_it));
    let mut stream = Vec::new();
    DataReader::new(&mut packing)
        .read_to_end(&mut stream)
        .unwrap();
    let Some(Frame::Copied(sent)) = read_frame(&mut packing).unwrap() else {
        panic!("no account")
    };
    assert_eq!(
        (sent.files, sent.directories, sent.bytes),
        (1, 2, 3_000_000)
    );
    let unpack_it = Unpack {
        directory: to.path().join("new/place").to_str().unwrap().to_owned(),
        owner: Owner::User(format!("{}:{}", getuid(), getgid())),
    };
    let mut unpacking = serve(move |link| unpack(link, &unpack_it));
    let mut writer = DataWriter::new(&mut unpacking);
    std::io::Write::write_all(&mut writer, &stream).unwrap();
    writer.finish().unwrap();
    assert_eq!(
        read_frame(&mut unpacking).unwrap(),
        Some(Frame::Copied(sent))
    );
    let made = fs::read(to.path().join("new/place/x/large")).unwrap();
    assert!(made == vec![5; 3_000_000]);
}

#[test]
fn failures_have_a_kind_and_name_the_file() {
    let missing = request(Path::new("/no/such/file"));
    let mut packing = serve(move |link| pack(link, &missing));
    let error = DataReader::new(&mut packing).read_to_end(&mut Vec::new());
    let error = error.unwrap_err().into_inner().unwrap();
    let Ok(StreamError::Failed(failure)) = error.downcast::<StreamError>().map(|error| *error)
    else {
        panic!("no failure")
    };
    assert_eq!(failure.kind, FailureKind::NotFound);
    assert!(
        failure.message.contains("/no/such/file"),
        "{}",
        failure.message
    );
    let answers = [
        ("/dev/null/x", Owner::Stream, FailureKind::NoDirectory),
        (
            "/tmp",
            Owner::User("no-such-user".to_owned()),
            FailureKind::NoUser,
        ),
    ];
    for (directory, owner, expected) in answers {
        let directory = directory.to_owned();
        let request = Unpack { directory, owner };
        let mut unpacking = serve(move |link| unpack(link, &request));
        let answer = read_frame(&mut unpacking).unwrap();
        assert!(matches!(answer, Some(Frame::Failed(failure)) if failure.kind == expected));
    }
}

#[test]
fn a_host_that_hangs_up_ends_either_job() {
    let from = source();
    let pack_it = request(from.path());
    let (ended, has_ended) = std::sync::mpsc::channel();
    let told = ended.clone();
    let packing = serve(move |link| {
        let last = pack(link, &pack_it);
        told.send(last).unwrap();
        None
    });
    drop(packing);
    let patience = std::time::Duration::from_secs(10);
    assert!(has_ended.recv_timeout(patience).is_ok());
    let to = tempfile::tempdir().unwrap();
    let unpack_it = Unpack {
        directory: to.path().to_str().unwrap().to_owned(),
        owner: Owner::Stream,
    };
    let mut unpacking = serve(move |link| {
        ended.send(unpack(link, &unpack_it)).unwrap();
        None
    });
    write_frame(&mut unpacking, &Frame::Data(vec![0; 100])).unwrap();
    drop(unpacking);
    let last = has_ended.recv_timeout(patience).unwrap();
    assert!(!matches!(last, Some(Frame::Copied(Copied { .. }))));
}

/// What unpacking an empty stream in `directory` comes to.
fn unpack_nothing(directory: &Path) -> Frame {
    let request = Unpack {
        directory: directory.to_str().unwrap().to_owned(),
        owner: Owner::User(format!("{}:{}", getuid(), getgid())),
    };
    let mut unpacking = serve(move |link| unpack(link, &request));
    let mut writer = DataWriter::new(&mut unpacking);
    std::io::Write::write_all(&mut writer, &[0; 1024]).unwrap();
    drop(writer.finish());
    read_frame(&mut unpacking).unwrap().unwrap()
}

#[test]
fn copies_follow_roots_links_and_not_those_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("real");
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, folder.path().join("link")).unwrap();
    let made = unpack_nothing(&folder.path().join("link/new"));
    assert!(matches!(made, Frame::Copied(_)), "{made:?}");
    assert!(real.join("new").is_dir());
    assert!(matches!(unpack_nothing(Path::new("/")), Frame::Copied(_)));
    // Only root can make others' links.
    if getuid().is_root() {
        let link = folder.path().join("theirs");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(1000), Some(1000)).unwrap();
        let refused = unpack_nothing(&link.join("x"));
        let Frame::Failed(failure) = refused else {
            panic!("{refused:?}")
        };
        assert!(failure.message.contains("user 1000"), "{}", failure.message);
        assert!(!real.join("x").exists());
    }
}
