//! Whole identities in a root of a test's own.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use agent::protocol::Root as RootDisk;
use agent::protocol::identity::{Group, Machine, Password, PlacedFile, Secret, User};

use super::*;

struct Guest {
    folder: tempfile::TempDir,
    root: Root,
}

impl Guest {
    /// A guest of an image that has nothing.
    fn empty() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests give files away"
        );
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        Self { folder, root }
    }

    fn with(files: &[(&str, &str)]) -> Self {
        let guest = Self::empty();
        for (path, text) in files {
            fs::create_dir_all(guest.path(path).parent().unwrap()).unwrap();
            fs::write(guest.path(path), text).unwrap();
        }
        guest
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path.trim_start_matches('/'))
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn mode(&self, path: &str) -> u32 {
        self.path(path)
            .symlink_metadata()
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    }

    fn owner(&self, path: &str) -> (u32, u32) {
        let data = self.path(path).symlink_metadata().unwrap();
        (data.uid(), data.gid())
    }

    fn start(&self, identity: &Identity) -> Result<Vec<String>, StartError> {
        carry_out(&self.root, &config(identity))
    }

    /// Everything below the root with what changes when it is written.
    fn state(&self) -> Vec<(PathBuf, u64, i64)> {
        let mut state = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let data = path.symlink_metadata().unwrap();
                state.push((
                    path.clone(),
                    data.ino(),
                    data.ctime() * 1_000_000_000 + data.ctime_nsec(),
                ));
                if data.is_dir() {
                    folders.push(path);
                }
            }
        }
        state.sort();
        state
    }
}

fn config(identity: &Identity) -> Config {
    Config {
        hostname: Some("lab".to_owned()),
        root: RootDisk {
            serial: String::new(),
            fstype: "ext4".to_owned(),
            read_only: false,
        },
        env: Vec::new(),
        working_dir: None,
        user: None,
        identity: Box::new(identity.clone()),
        mounts: Vec::new(),
    }
}

fn machine(id: char, revision: &str) -> Option<Machine> {
    Some(Machine {
        id: id.to_string().repeat(32),
        revision: revision.to_owned(),
        continues: false,
        host_key: Secret(format!("private {id}\n")),
        host_key_public: format!("public {id}"),
    })
}

fn ann() -> User {
    User {
        name: "ann".to_owned(),
        groups: vec!["lab".to_owned()],
        sudo: true,
        password: Some(Password::Hash("$6$x".to_owned())),
        authorized_keys: vec!["ssh-ed25519 AAAA ann@desk".to_owned()],
        ..User::default()
    }
}

fn identity() -> Identity {
    Identity {
        machine: machine('a', "1"),
        groups: vec![Group {
            name: "lab".to_owned(),
            gid: Some(500),
        }],
        users: vec![ann()],
        files: vec![PlacedFile {
            path: "/home/ann/notes/today".to_owned(),
            bytes: b"hello".to_vec(),
            mode: 0o640,
            owner: Some("ann".to_owned()),
        }],
        ..Identity::default()
    }
}

#[test]
fn an_image_that_has_nothing_gets_all_of_it() {
    let guest = Guest::empty();
    assert!(guest.start(&identity()).unwrap().is_empty());
    assert_eq!(guest.text("/etc/hostname"), "lab\n");
    assert!(guest.text("/etc/hosts").contains("127.0.1.1\tlab\n"));
    let passwd = guest.text("/etc/passwd");
    assert!(
        passwd.ends_with("ann:x:1000:1000:ann:/home/ann:/sbin/nologin\n"),
        "{passwd}"
    );
    assert!(guest.text("/etc/group").contains("lab:x:500:ann\n"));
    assert!(guest.text("/etc/shadow").contains("ann:$6$x::0:"));
    assert_eq!(
        (guest.mode("/etc/shadow"), guest.mode("/etc/passwd")),
        (0o600, 0o644)
    );
    assert_eq!(
        guest.text("/etc/machine-id"),
        format!("{}\n", "a".repeat(32))
    );
    assert_eq!(guest.text("/etc/ssh/ssh_host_ed25519_key"), "private a\n");
    assert_eq!(guest.mode("/etc/ssh/ssh_host_ed25519_key"), 0o600);
    assert_eq!(
        guest.text("/etc/ssh/ssh_host_ed25519_key.pub"),
        "public a\n"
    );
    let sudoers = "/etc/sudoers.d/vm-session-ann";
    assert_eq!(guest.text(sudoers), "ann ALL=(ALL:ALL) NOPASSWD: ALL\n");
    assert_eq!(guest.mode(sudoers), 0o440);
    let keys = "/home/ann/.ssh/authorized_keys";
    assert!(guest.text(keys).contains("\nssh-ed25519 AAAA ann@desk\n"));
    assert_eq!((guest.mode(keys), guest.owner(keys)), (0o600, (1000, 1000)));
    assert_eq!(
        (guest.mode("/home/ann/.ssh"), guest.mode("/home/ann")),
        (0o700, 0o700)
    );
    assert_eq!(guest.text("/home/ann/notes/today"), "hello");
    assert_eq!(guest.owner("/home/ann/notes"), (1000, 1000));
    assert_eq!(guest.mode("/home/ann/notes/today"), 0o640);
}

#[test]
fn a_second_start_writes_nothing() {
    let guest = Guest::with(&[("/etc/skel/.profile", "umask 022\n"), ("/bin/sh", "")]);
    guest.start(&identity()).unwrap();
    let before = guest.state();
    assert!(guest.start(&identity()).unwrap().is_empty());
    assert_eq!(guest.state(), before);
    assert_eq!(guest.text("/home/ann/.profile"), "umask 022\n");
    assert_eq!(guest.owner("/home/ann/.profile"), (1000, 1000));
}

#[test]
fn keys_that_the_image_brought_go_once_and_later_ones_stay() {
    let guest = Guest::with(&[
        ("/etc/ssh/ssh_host_rsa_key", "shared"),
        ("/etc/ssh/ssh_host_rsa_key.pub", "shared"),
        ("/etc/ssh/sshd_config", ""),
        ("/etc/machine-id", "image\n"),
        ("/var/lib/dbus/machine-id", "image\n"),
    ]);
    guest.start(&identity()).unwrap();
    assert!(!guest.path("/etc/ssh/ssh_host_rsa_key").exists());
    assert!(!guest.path("/etc/ssh/ssh_host_rsa_key.pub").exists());
    assert!(guest.path("/etc/ssh/sshd_config").exists());
    assert_eq!(
        guest.text("/var/lib/dbus/machine-id"),
        guest.text("/etc/machine-id")
    );
    fs::write(guest.path("/etc/ssh/ssh_host_rsa_key"), "the admin's").unwrap();
    fs::write(guest.path("/etc/ssh/ssh_host_ed25519_key"), "the admin's").unwrap();
    fs::write(guest.path("/home/ann/notes/today"), "changed").unwrap();
    let passwd = guest.text("/etc/shadow").replace("$6$x", "$6$changed");
    fs::write(guest.path("/etc/shadow"), passwd).unwrap();
    guest.start(&identity()).unwrap();
    assert_eq!(guest.text("/etc/ssh/ssh_host_rsa_key"), "the admin's");
    assert_eq!(guest.text("/etc/ssh/ssh_host_ed25519_key"), "the admin's");
    assert_eq!(guest.text("/home/ann/notes/today"), "changed");
    assert!(guest.text("/etc/shadow").contains("$6$changed"));
    // Another description of the same machine.
    let described_anew = Identity {
        machine: machine('a', "2"),
        ..identity()
    };
    guest.start(&described_anew).unwrap();
    assert_eq!(guest.text("/etc/ssh/ssh_host_ed25519_key"), "the admin's");
    // Another machine on the same disk.
    let forked = Identity {
        machine: machine('b', "2"),
        ..identity()
    };
    guest.start(&forked).unwrap();
    assert!(!guest.path("/etc/ssh/ssh_host_rsa_key").exists());
    assert_eq!(guest.text("/etc/ssh/ssh_host_ed25519_key"), "private b\n");
    assert_eq!(
        guest.text("/etc/machine-id"),
        format!("{}\n", "b".repeat(32))
    );
}

/// What the people of a guest make of what was described.
fn change(guest: &Guest) {
    fs::write(guest.path("/home/ann/notes/today"), "changed").unwrap();
    let passwd = guest.text("/etc/shadow").replace("$6$x", "$6$changed");
    fs::write(guest.path("/etc/shadow"), passwd).unwrap();
}

#[test]
fn a_description_that_says_more_leaves_alone_what_it_said_before() {
    let guest = Guest::empty();
    guest.start(&identity()).unwrap();
    change(&guest);
    let mut more = identity();
    more.machine = machine('a', "2");
    more.users[0].shell = Some("/bin/zsh".to_owned());
    more.files.push(PlacedFile {
        path: "/etc/motd".to_owned(),
        ..more.files[0].clone()
    });
    guest.start(&more).unwrap();
    assert_eq!(guest.text("/etc/motd"), "hello");
    assert!(guest.text("/etc/passwd").contains("/bin/zsh"));
    assert_eq!(guest.text("/home/ann/notes/today"), "changed");
    assert!(guest.text("/etc/shadow").contains("$6$changed"));
    // What it says differently is carried out.
    more.machine = machine('a', "3");
    more.users[0].password = Some(Password::Hash("$6$y".to_owned()));
    more.files[0].bytes = b"tomorrow".to_vec();
    fs::write(guest.path("/etc/motd"), "changed").unwrap();
    guest.start(&more).unwrap();
    assert_eq!(guest.text("/home/ann/notes/today"), "tomorrow");
    assert!(guest.text("/etc/shadow").contains("$6$y"));
    assert_eq!(guest.text("/etc/motd"), "changed");
    assert_eq!(guest.mode("/var/lib/vm-session/identity"), 0o600);
}

#[test]
fn a_fork_keeps_what_was_changed_and_another_machine_on_the_disk_does_not() {
    for continues in [true, false] {
        let guest = Guest::empty();
        guest.start(&identity()).unwrap();
        change(&guest);
        let mut other = identity();
        other.machine = machine('b', "1");
        other.machine.as_mut().unwrap().continues = continues;
        guest.start(&other).unwrap();
        let expected = if continues { "changed" } else { "hello" };
        assert_eq!(guest.text("/home/ann/notes/today"), expected);
        let is_kept = guest.text("/etc/shadow").contains("$6$changed");
        assert_eq!(is_kept, continues);
        assert!(guest.text("/etc/machine-id").starts_with('b'));
    }
}

#[test]
fn a_directory_in_a_files_place_stops_only_what_is_to_change_it_and_is_named() {
    let guest = Guest::empty();
    guest.start(&identity()).unwrap();
    fs::remove_file(guest.path("/home/ann/notes/today")).unwrap();
    fs::create_dir(guest.path("/home/ann/notes/today")).unwrap();
    let mut more = identity();
    more.machine = machine('a', "2");
    more.files.push(PlacedFile {
        path: "/etc/motd".to_owned(),
        ..more.files[0].clone()
    });
    guest.start(&more).unwrap();
    more.machine = machine('a', "3");
    more.files[0].mode = 0o600;
    let error = console::one_line(&guest.start(&more).unwrap_err());
    assert!(
        error.contains("/notes/today") && error.contains("directory"),
        "{error}"
    );
}

#[test]
fn a_number_that_changed_is_not_in_the_tables_before_the_home_is_handed_over() {
    let guest = Guest::empty();
    guest.start(&identity()).unwrap();
    let mut moved = identity();
    moved.machine = machine('a', "2");
    moved.users[0].uid = Some(4000);
    // The tables can't be written, as if power went away just before.
    let passwd = guest.text("/etc/passwd");
    fs::create_dir(guest.path("/etc/.passwd.vm-agent")).unwrap();
    guest.start(&moved).unwrap_err();
    assert_eq!(guest.text("/etc/passwd"), passwd);
    assert_eq!(guest.owner("/home/ann/notes/today").0, 4000);
    fs::remove_dir(guest.path("/etc/.passwd.vm-agent")).unwrap();
    guest.start(&moved).unwrap();
    assert!(guest.text("/etc/passwd").contains("ann:x:4000:"));
    assert_eq!(guest.owner("/home/ann").0, 4000);
}

#[test]
fn a_new_drive_at_a_new_users_home_becomes_the_users() {
    let guest = Guest::with(&[("/etc/skel/.profile", "umask 022\n")]);
    fs::create_dir_all(guest.path("/home/ann/lost+found")).unwrap();
    guest.start(&identity()).unwrap();
    assert_eq!(guest.owner("/home/ann"), (1000, 1000));
    assert_eq!(guest.mode("/home/ann"), 0o700);
    assert_eq!(guest.text("/home/ann/.profile"), "umask 022\n");
    assert_eq!(guest.owner("/home/ann/lost+found"), (0, 0));
}

#[test]
fn a_home_whose_making_was_cut_off_is_made_to_the_end() {
    let guest = Guest::with(&[("/etc/skel/.profile", "umask 022\n"), ("/etc/skel/zz", "")]);
    symlink(".profile", guest.path("/etc/skel/a link")).unwrap();
    let too_long = fs::File::create(guest.path("/etc/skel/zz")).unwrap();
    too_long.set_len(64 << 20).unwrap();
    guest.start(&identity()).unwrap_err();
    assert_eq!(guest.owner("/home/ann"), (0, 0));
    too_long.set_len(1).unwrap();
    guest.start(&identity()).unwrap();
    assert_eq!(guest.owner("/home/ann"), (1000, 1000));
    assert_eq!(guest.mode("/home/ann"), 0o700);
    assert_eq!(guest.text("/home/ann/a link"), "umask 022\n");
    assert_eq!(guest.owner("/home/ann/zz"), (1000, 1000));
}

#[test]
fn a_home_that_holds_something_or_is_of_a_user_of_the_image_stays_as_it_is() {
    let guest = Guest::with(&[("/home/ann/data", ""), ("/home/ann/lost+found/x", "")]);
    guest.start(&identity()).unwrap();
    assert_eq!(guest.owner("/home/ann"), (0, 0));
    let guest = Guest::with(&[("/etc/passwd", "ann:x:1000:1000::/home/ann:/bin/sh\n")]);
    fs::create_dir_all(guest.path("/home/ann")).unwrap();
    guest.start(&identity()).unwrap();
    assert_eq!(guest.owner("/home/ann"), (0, 0));
}

#[test]
fn an_odd_table_is_nobodys_trouble_if_nobody_is_described() {
    let guest = Guest::empty();
    fs::create_dir_all(guest.path("/etc/passwd")).unwrap();
    let nobody = Identity {
        machine: machine('a', "1"),
        ..Identity::default()
    };
    assert!(guest.start(&nobody).unwrap().is_empty());
    let mut somebody = identity();
    somebody.machine = machine('a', "2");
    guest.start(&somebody).unwrap_err();
}

#[test]
fn what_fails_ends_a_first_start_and_is_told_of_later_ones() {
    let guest = Guest::with(&[("/etc/passwd", "www-data:x:33:33::/var/www:/bin/false\n")]);
    let taken = Identity {
        users: vec![User {
            uid: Some(33),
            ..ann()
        }],
        ..identity()
    };
    let error = console::one_line(&guest.start(&taken).unwrap_err());
    assert!(
        error.contains("33") && error.contains("www-data"),
        "{error}"
    );
    guest.start(&identity()).unwrap();
    // What a user does to its own home harms nobody else, and stops no start.
    fs::remove_dir_all(guest.path("/home/ann/.ssh")).unwrap();
    symlink("/etc", guest.path("/home/ann/.ssh")).unwrap();
    guest
        .root
        .change_owner("/home/ann/.ssh", 1000, 1000)
        .unwrap();
    let complaints = guest.start(&identity()).unwrap();
    assert!(
        complaints[0].contains("belongs to user 1000"),
        "{complaints:?}"
    );
    assert!(!guest.path("/etc/authorized_keys").exists());
}

#[test]
fn a_user_whose_number_changes_keeps_the_home() {
    let guest = Guest::empty();
    guest.start(&identity()).unwrap();
    let moved = Identity {
        users: vec![User {
            uid: Some(4000),
            sudo: false,
            authorized_keys: Vec::new(),
            ..ann()
        }],
        ..identity()
    };
    guest.start(&moved).unwrap();
    assert_eq!(guest.owner("/home/ann/notes/today"), (4000, 1000));
    assert_eq!(guest.owner("/home/ann"), (4000, 1000));
    assert!(!guest.path("/etc/sudoers.d/vm-session-ann").exists());
    assert_eq!(guest.text("/home/ann/.ssh/authorized_keys"), "");
}

#[test]
fn a_read_only_root_is_left_alone() {
    let guest = Guest::empty();
    let mut config = config(&identity());
    config.root.read_only = true;
    carry_out(&guest.root, &config).unwrap();
    assert!(guest.state().is_empty());
}
