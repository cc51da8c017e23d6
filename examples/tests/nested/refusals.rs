//! What can't be done is said in one line, with the right status, and leaves nothing.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::playground::{Bed, args_of_run, complaint, env, machine};

fn refused(bed: &Bed, args: &[&str], words: &str) {
    let output = bed.run(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let line = complaint(&output);
    assert!(line.contains(words), "{args:?}: {line}");
}

#[test]
fn wrong_usage_has_status_2() {
    let bed = Bed::empty();
    for args in [
        &[][..],
        &["run", "box"],
        &["run", "box", "--vcpus", "x", "--", "true"],
        &["image", "import", "oci:x", "--size", "8 parsecs"],
        &["resume"],
        &["no-such-command"],
    ] {
        let output = bed.run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
    }
}

#[test]
fn bad_input_is_named_and_leaves_nothing() {
    let bed = Bed::new();
    let kernel = env("VM_TEST_KERNEL");
    let text = bed.path("text");
    std::fs::write(&text, "no kernel".repeat(1000)).unwrap();
    let text = text.to_str().unwrap();
    let run = |options: &[&'static str], words: &str| {
        let args = [
            &["run", "box"],
            options,
            &["--kernel", &kernel, "--", "true"],
        ]
        .concat();
        refused(&bed, &args, words);
    };
    run(&["--session", "../x"], "session id");
    run(&["--hostname", "a_b"], "hostname");
    run(&["--memory", "3"], "MiB");
    run(&["--vcpus", "0"], "vCPUs");
    refused(
        &bed,
        &["run", "box", "--kernel", "/nowhere", "--", "true"],
        "/nowhere",
    );
    refused(
        &bed,
        &["run", "box", "--kernel", text, "--", "true"],
        "kernel",
    );
    refused(
        &bed,
        &[
            "run",
            "box",
            "--kernel",
            &kernel,
            "--modules",
            "/nowhere",
            "--",
            "true",
        ],
        "/nowhere",
    );
    refused(
        &bed,
        &["run", "nobody", "--kernel", &kernel, "--", "true"],
        "nobody",
    );
    refused(
        &bed,
        &["run", "oci:/nowhere", "--kernel", &kernel, "--", "true"],
        "/nowhere",
    );
    refused(
        &bed,
        &["run", "docker://alpine", "--kernel", &kernel, "--", "true"],
        "alpine",
    );
    refused(&bed, &["image", "import", "alpine"], "names no image");
    refused(
        &bed,
        &["image", "import", "oci:/nowhere", "--name", "sessions/x"],
        "reserved",
    );
    refused(&bed, &["image", "inspect", "nobody"], "nobody");
    refused(&bed, &["resume", "nobody", "--", "true"], "nobody");
    refused(&bed, &["inspect", "nobody"], "nobody");
    refused(&bed, &["rm", "nobody"], "nobody");
    assert_eq!(bed.json(&["ls"])["sessions"].as_array().unwrap().len(), 0);
    assert_eq!(
        bed.json(&["image", "ls"])["images"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn an_id_that_is_taken_or_running_is_refused() {
    let bed = Bed::new();
    bed.session("taken", "true");
    let args = args_of_run(&machine(), "taken", "true");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    refused(&bed, &args, "exists already");

    let sleep = [
        "resume",
        "taken",
        "--",
        "sh",
        "-c",
        "echo ready; sleep 1000",
    ];
    let mut command = bed.command(&sleep);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
    refused(&bed, &["resume", "taken", "--", "true"], "running");
    refused(&bed, &["rm", "taken"], "running");
    refused(&bed, &["run", "taken", "--", "true"], "running");
    child.kill().unwrap();
    child.wait().unwrap();
    refused(&bed, &["image", "inspect", "taken"], "interrupted");
}

/// Copies a file to where every user can read it.
fn readable(bed: &Bed, file: &str, name: &str) -> String {
    let copy = bed.path(name);
    std::fs::copy(file, &copy).unwrap();
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    copy.to_str().unwrap().to_owned()
}

/// Runs the program with a `/dev` of its own, in which `nodes` makes what is there besides the usual.
fn with_dev(bed: &Bed, nodes: &str, prefix: &str) -> std::process::Output {
    let dev = bed.path("dev");
    std::fs::create_dir_all(&dev).unwrap();
    let options = machine().into_iter().map(|option| match option {
        kernel if kernel == env("VM_TEST_KERNEL") => readable(bed, &kernel, "vmlinuz"),
        other => other,
    });
    let args = args_of_run(&options.collect::<Vec<_>>(), "kvm", "true");
    let playground = readable(bed, &env("VM_TEST_PLAYGROUND"), "playground");
    let script = format!(
        "set -e; d={}; mount -t tmpfs dev $d; mknod -m 666 $d/null c 1 3; mknod -m 666 $d/urandom c 1 9; \
         {nodes} mount --move $d /dev; exec {prefix} \"$@\"",
        dev.display()
    );
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", &script, "sh"])
        .arg(playground);
    command.arg("--store").arg(bed.path("store")).args(args);
    command.output().unwrap()
}

#[test]
fn a_host_without_kvm_or_without_permission_says_so() {
    let bed = Bed::new();
    let missing = with_dev(&bed, "", "");
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
    assert!(
        complaint(&missing).contains("there is no KVM"),
        "{missing:?}"
    );
    assert_eq!(bed.state("kvm"), None);

    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(bed.folder.path(), open).unwrap();
    let nobody = Command::new("chown")
        .args(["-R", "65534"])
        .arg(bed.path("store"))
        .status();
    assert!(nobody.unwrap().success());
    let node = "mknod -m 600 $d/kvm c 10 232;";
    let user = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    let forbidden = with_dev(&bed, node, user);
    assert_eq!(forbidden.status.code(), Some(1), "{forbidden:?}");
    assert!(
        complaint(&forbidden).contains("no permission"),
        "{forbidden:?}"
    );
    assert_eq!(bed.state("kvm"), None);
}
