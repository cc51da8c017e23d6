use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use agent::protocol::{Frame, write_frame};

use super::*;
use crate::testing::FakeGuest;

fn guest() -> Arc<dyn Guest> {
    Arc::new(FakeGuest::repeated(|stream, first| {
        assert_eq!(first, Frame::Connect(Address::Ssh));
        write_frame(stream, &Frame::Connected).unwrap();
        stream.write_all(b"SSH-2.0-guest\r\n").unwrap();
    }))
}

#[test]
fn the_socket_is_reached_by_a_path_of_any_length_and_goes() {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("long".repeat(50));
    fs::create_dir(&folder).unwrap();
    let served = serve(guest(), &folder).unwrap();
    let mode = fs::metadata(folder.join(NAME))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut banner = String::new();
    connect(&folder)
        .unwrap()
        .read_to_string(&mut banner)
        .unwrap();
    assert_eq!(banner, "SSH-2.0-guest\r\n");
    drop(served);
    assert!(!folder.join(NAME).exists());
    assert!(connect(&folder).is_err());
}

#[test]
fn what_a_process_left_behind_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(NAME), "left behind").unwrap();
    let _served = serve(guest(), folder.path()).unwrap();
    assert!(connect(folder.path()).is_ok());
}
