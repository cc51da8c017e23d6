use std::fs;
use std::os::unix::fs::symlink;

use super::*;

#[test]
fn servers_are_written_once_and_over_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let root = Root::open(folder.path()).unwrap();
    let path = folder.path().join("etc/resolv.conf");
    fs::create_dir(folder.path().join("etc")).unwrap();
    let servers: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    settle(&root, &[]).unwrap();
    assert!(!path.exists());
    symlink("../run/systemd/resolve/stub-resolv.conf", &path).unwrap();
    settle(&root, &servers).unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "nameserver 10.0.0.1\nnameserver fd00::1\n"
    );
    assert!(path.symlink_metadata().unwrap().is_file());
    let own = "# mine\nsearch lab\nnameserver\t10.0.0.1\nnameserver fd00:0::1\n";
    fs::write(&path, own).unwrap();
    settle(&root, &servers).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), own);
    settle(&root, &servers[..1]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "nameserver 10.0.0.1\n");
}
