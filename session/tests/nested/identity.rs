//! Who a guest is, on images that bring everything, little, and nothing.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use session::{Event, Group, GuestFile, Session, SessionBuilder, Task, TaskState, User};

use super::bed::{Bed, DISK_BYTES, kernel, next_news, patient, sh, sh_as_root};
use super::{drives, ssh};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGPKSUTyz1HwHReFVvD5obVsALAgJRNarH4TRpNePnAS ann@desk";

fn described(builder: SessionBuilder) -> SessionBuilder {
    let ann = User::new("ann")
        .uid(1100)
        .groups(["lab"])
        .sudo()
        .empty_password()
        .authorized_key(KEY);
    patient(builder.kernel(kernel()))
        .hostname("lab-9")
        .group(Group::new("lab").gid(500))
        .user(ann)
        .file(
            GuestFile::new("/srv/lab/task", "solve it\n")
                .mode(0o640)
                .owner("ann:lab"),
        )
        .env("LAB", "nine")
        .working_dir("/srv/lab")
        .run_as("ann")
}

/// What has to be so on any image, read without a shell: `cat` prints a file.
fn check(session: &Session, cat: &[&str]) {
    let read = |path: &str| {
        let command = session
            .command(cat[0])
            .args(cat[1..].to_vec())
            .arg(path)
            .user("root");
        let output = command.output().wait().unwrap();
        assert!(output.status.success(), "{path}: {}", output.status);
        String::from_utf8(output.stdout).unwrap()
    };
    let passwd = read("/etc/passwd");
    assert!(
        passwd.contains("\nann:x:1100:1100:ann:/home/ann:"),
        "{passwd}"
    );
    assert!(read("/etc/group").contains("\nlab:x:500:ann\n"));
    assert!(
        read("/etc/shadow")
            .lines()
            .any(|line| line.starts_with("ann::"))
    );
    assert!(read("/home/ann/.ssh/authorized_keys").contains(KEY));
    let sudo = "ann ALL=(ALL:ALL) NOPASSWD: ALL\n";
    assert_eq!(read("/etc/sudoers.d/vm-session-ann"), sudo);
    assert_eq!(read("/srv/lab/task"), "solve it\n");
    assert_eq!(read("/etc/hostname"), "lab-9\n");
    assert!(read("/etc/hosts").contains("127.0.1.1\tlab-9\n"));
    assert_eq!(read("/proc/sys/kernel/hostname"), "lab-9\n");
    let public = read("/etc/ssh/ssh_host_ed25519_key.pub");
    assert_eq!(public.trim(), session.ssh_host_key());
    assert!(read("/etc/ssh/ssh_host_ed25519_key").contains("OPENSSH PRIVATE KEY"));
}

#[test]
fn a_small_image_becomes_a_machine_with_people() {
    let bed = Bed::busybox();
    let new = || Session::from_snapshot(&bed.store, bed.image);
    let tasks = [
        Task::script("first", "echo first $X >> /srv/tasks; id -un; echo err >&2").env("X", "1"),
        Task::script("always", "echo always >> /srv/tasks")
            .needs(["first"])
            .at_every_start(),
        Task::command("as-ann", ["id", "-un"])
            .user("ann")
            .needs(["first"]),
        Task::script("fails", "exit 9").needs(["always"]),
        Task::script("after", "true").needs(["fails"]),
        Task::script("slow", "sleep 4321").timeout(Duration::from_secs(2)),
    ];
    let builder = tasks
        .into_iter()
        .fold(described(new().id("small")), SessionBuilder::task);
    let session = builder.wait_for_tasks().start().wait().unwrap();
    let states = |session: &Session| {
        let states = session
            .tasks()
            .into_iter()
            .map(|task| task.state.to_string());
        states.collect::<Vec<_>>().join(", ")
    };
    let expected =
        "done, done, done, failed (status 9), skipped, as fails did not succeed, timed out";
    assert_eq!(states(&session), expected);
    let printed = session
        .tasks()
        .into_iter()
        .map(|task| task.output)
        .collect::<Vec<_>>();
    assert_eq!(printed[..3], [&b"root\nerr\n"[..], b"", b"ann\n"]);
    check(&session, &["cat"]);
    let facts = "id -un; id -Gn; pwd; echo $LAB $HOME; stat -c '%U:%G %a' task /srv/lab ~ ~/.ssh";
    let expected = "ann\nann lab\n/srv/lab\nnine /home/ann\nann:lab 640\nroot:root 755\nann:ann 700\nann:ann 700\n";
    assert_eq!(sh(&session, facts), expected);
    let root = |session: &Session, script: &str| {
        let command = session.command("sh").args(["-c", script]).user("root");
        let output = command.output().wait().unwrap();
        assert!(output.status.success(), "{script}");
        String::from_utf8(output.stdout).unwrap()
    };
    let id = root(&session, "cat /etc/machine-id");
    let info = bed.store.session("small").unwrap();
    assert_eq!(Some(id.trim()), info.machine_id.as_deref());
    assert_eq!(info.ssh_host_key.as_deref(), Some(session.ssh_host_key()));
    // What people change stays theirs, and a start that has nothing to do writes nothing.
    let changed = "sed -i 's/^ann:[^:]*/ann:$1$changed/' /etc/shadow; echo done > /srv/lab/task; \
                   echo own > /etc/ssh/ssh_host_rsa_key";
    root(&session, changed);
    let times = "stat -c '%n %i %z' /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/hosts /etc/hostname \
                 /etc/machine-id /etc/ssh/* /home/ann/.ssh/* /etc/sudoers.d/* /srv/lab/*";
    let before = root(&session, times);
    let key = session.ssh_host_key().to_owned();
    bed.shut_down(&session);
    let session = bed.resume("small");
    let ended = session.wait_tasks().wait().unwrap();
    assert_eq!(ended[0].state, TaskState::DoneBefore);
    let expected = "done before, done, done before, failed (status 9), skipped, as fails did not succeed, timed out";
    assert_eq!(states(&session), expected);
    assert_eq!(
        root(&session, "cat /srv/tasks"),
        "first 1\nalways\nalways\n"
    );
    assert_eq!(root(&session, times), before);
    assert_eq!(session.ssh_host_key(), key);
    assert_eq!(root(&session, "cat /etc/machine-id"), id);
    bed.shut_down(&session);
    // Another machine from the same disk, with one more user.
    let snapshot = bed.store.session("small").unwrap().snapshot;
    let fork = Session::from_snapshot(&bed.store, snapshot)
        .id("fork")
        .user(User::new("bob"));
    let fork = patient(fork.kernel(kernel())).start().wait().unwrap();
    assert_ne!(fork.ssh_host_key(), key);
    let facts = "cat /etc/machine-id; ls /etc/ssh; id -un bob; id -un ann; cat /srv/lab/task";
    let facts = sh(&fork, facts);
    assert!(
        !facts.contains(id.trim()) && !facts.contains("rsa"),
        "{facts}"
    );
    assert!(facts.ends_with("bob\nann\ndone\n"), "{facts}");
    bed.shut_down(&fork);
    // A description that says more leaves alone what people changed.
    let more = patient(Session::resume(&bed.store, "small")).user(User::new("cid"));
    let session = more.start().wait().unwrap();
    assert_eq!(
        root(&session, "id -un cid; cat /srv/lab/task"),
        "cid\ndone\n"
    );
    assert!(root(&session, "cat /etc/shadow").contains("ann:$1$changed"));
    bed.shut_down(&session);
}

#[test]
fn debian_knows_its_people_has_its_drives_and_serves_ssh() {
    let bed = Bed::debian();
    let new = Session::from_snapshot(&bed.store, bed.image).id("debian");
    let client = ssh::Client::new(&bed, "debian");
    let login = User::new("bea").sudo().authorized_key(&client.key);
    let new = described(new.drive(drives::data())).user(login);
    let session = new.start().wait().unwrap();
    drives::check_settled(&session);
    check(&session, &["cat"]);
    let facts = "id -un; id -Gn; getent passwd ann; hostname; getent hosts lab-9 | tr -s ' '; echo $LAB; \
                 cat ~/.bashrc | head -1";
    let facts = sh(&session, facts);
    let expected = "ann\nann lab\nann:x:1100:1100:ann:/home/ann:/bin/bash\nlab-9\n127.0.1.1 lab-9\nnine\n# ~/.bashrc";
    assert!(facts.starts_with(expected), "{facts}");
    // The image's own tools agree.
    let judged = sh_as_root(&session, "pwck -r 2>&1 || test $? = 2");
    assert!(
        !judged.contains("'ann'") && !judged.contains("'bea'"),
        "{judged}"
    );
    let tools = "mkdir -p /run/sshd; grpck -r && ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key && systemd-machine-id-setup --print \
                 && sshd -T -C user=ann | grep ^hostkey";
    let text = sh_as_root(&session, tools);
    let info = bed.store.session("debian").unwrap();
    assert!(text.contains(info.machine_id.as_deref().unwrap()), "{text}");
    assert!(text.contains("ED25519"), "{text}");
    check_systemd_lives_on(&bed, &session, &client);
    ssh::check(&client, &bed, &session, "debian");
    let snapshot = bed.shut_down(&session);
    drives::check_kept(&bed, &snapshot);
    ssh::check_closed(&bed, "debian");
}

/// A snapshot of a systemd that runs, and a reboot by a user who may.
fn check_systemd_lives_on(bed: &Bed, session: &Session, client: &ssh::Client<'_>) {
    ssh::check_user(client, session, "bea");
    sh_as_root(session, "echo not synced > /root/note");
    let snapshot = session.snapshot().wait().unwrap();
    assert!(snapshot.clean);
    bed.check(snapshot.digest);
    let boot_id = || {
        let id = session
            .command("cat")
            .arg("/proc/sys/kernel/random/boot_id");
        let output = id.output().wait().ok()?;
        output.status.success().then_some(output.stdout)
    };
    let before = boot_id().unwrap();
    drop(client.ssh("bea", None, "sudo -n reboot"));
    let deadline = Instant::now() + Duration::from_secs(300);
    // A guest that goes down answers no more, and one that comes up not yet.
    while boot_id().is_none_or(|id| id == before) {
        assert!(Instant::now() < deadline, "{}", session.status());
        thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(sh_as_root(session, "cat /root/note"), "not synced\n");
    ssh::check_user(client, session, "bea");
}

#[test]
fn an_image_of_one_static_program_gets_all_that_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("app.tar");
    one_program(&archive, Path::new("/bin/busybox"));
    let bed = Bed::of(format!("docker-archive:{}", archive.display()), DISK_BYTES);
    let new = Session::from_snapshot(&bed.store, bed.image).id("app");
    let session = described(new).start().wait().unwrap();
    check(&session, &["/busybox", "cat"]);
    let passwd = session
        .command("/busybox")
        .args(["tail", "-n", "1", "/etc/passwd"]);
    let passwd = passwd.output().wait().unwrap().stdout;
    assert!(passwd.ends_with(b":/home/ann:/sbin/nologin\n"));
    let who = session
        .command("/busybox")
        .arg("id")
        .output()
        .wait()
        .unwrap();
    assert!(
        who.stdout.starts_with(b"uid=1100(ann) gid=1100(ann)"),
        "{who:?}"
    );
    // Nothing of this takes a program of the image's.
    assert!(session.snapshot().wait().unwrap().clean);
    session.reboot().wait().unwrap();
    check(&session, &["/busybox", "cat"]);
    // A user who leads the agent astray gets nowhere, and the session resumes without what that spoils.
    for args in [["rm", "-r", "/home/ann/.ssh"], ["ln", "-s", "/etc"]] {
        let command = session.command("/busybox").args(args);
        let command = command
            .cwd("/home/ann")
            .args((args[0] == "ln").then_some(".ssh"));
        assert!(command.status().wait().unwrap().success(), "{args:?}");
    }
    bed.shut_down(&session);
    let (telling, told) = mpsc::channel();
    let resumed = patient(Session::resume(&bed.store, "app"));
    let resumed = resumed.on_event(move |event| drop(telling.send(event.clone())));
    let session = resumed.start().wait().unwrap();
    let told = next_news(&told);
    let is_of_ann = |message: &str| message.contains("/home/ann") && message.contains("1100");
    assert!(
        matches!(&told, Event::IdentityIncomplete { message } if is_of_ann(message)),
        "{told:?}"
    );
    let missing = session
        .command("/busybox")
        .args(["cat", "/etc/authorized_keys"]);
    assert!(!missing.status().wait().unwrap().success());
    bed.shut_down(&session);
}

/// An image as `docker save` writes it, of one program.
fn one_program(archive: &Path, program: &Path) {
    let mut layer = tar::Builder::new(Vec::new());
    layer.append_path_with_name(program, "busybox").unwrap();
    let layer = layer.into_inner().unwrap();
    let diff_id = hex(&layer);
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/busybox"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{diff_id}")]},
    });
    let manifest = serde_json::json!([
        {"Config": "config.json", "RepoTags": ["app:latest"], "Layers": ["layer.tar"]}
    ]);
    let mut tar = tar::Builder::new(std::fs::File::create(archive).unwrap());
    for (name, bytes) in [
        ("layer.tar", layer),
        ("config.json", config.to_string().into_bytes()),
        ("manifest.json", manifest.to_string().into_bytes()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    tar.finish().unwrap();
}

fn hex(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
