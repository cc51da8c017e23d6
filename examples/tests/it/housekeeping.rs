//! Disks in files, and keeping house.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use testbed::{Options, Registry};

const CHUNK: u64 = 64 << 10;

struct Bed {
    folder: TempDir,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_playground"));
        command.arg("--store").arg(self.path("store")).args(args);
        command.output().unwrap()
    }

    /// Runs with `--json`; returns the status, and the one object that is printed.
    fn json(&self, args: &[&str]) -> (i32, Value) {
        let output = self.run(&[&["--json"], args].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), 1, "{args:?}: {text}");
        (
            output.status.code().unwrap(),
            serde_json::from_str(&text).unwrap(),
        )
    }

    fn succeed(&self, args: &[&str]) -> Value {
        let (status, value) = self.json(args);
        assert_eq!(status, 0, "{args:?}: {value}");
        value
    }

    /// A raw disk of ten chunks with data in some of them, imported under a name.
    fn disk(&self, name: &str, data: &[(u64, u8)]) -> PathBuf {
        let path = self.path(&format!("{name}.raw"));
        let file = File::create(&path).unwrap();
        file.set_len(10 * CHUNK).unwrap();
        for (chunk, byte) in data {
            file.write_all_at(&noise(*byte), chunk * CHUNK).unwrap();
        }
        self.succeed(&["disk", "import", path.to_str().unwrap(), "--name", name]);
        path
    }

    fn snapshot(&self, name: &str) -> String {
        let value = self.succeed(&["image", "inspect", name]);
        value["snapshot"].as_str().unwrap().to_owned()
    }

    /// The largest blob, which is a pack.
    fn pack(&self) -> PathBuf {
        let blobs = fs::read_dir(self.path("store/blobs/sha256")).unwrap();
        let files = blobs.map(|entry| entry.unwrap().path());
        let largest = files.max_by_key(|path| path.metadata().unwrap().len());
        largest.unwrap()
    }
}

/// What does not compress, so that packs are larger than documents.
fn noise(seed: u8) -> Vec<u8> {
    let start = u32::from(seed).wrapping_mul(77_777);
    let noise = (start..start + 5000).map(|n| n.wrapping_mul(2_654_435_761).wrapping_mul(n));
    noise.map(|n| n.to_le_bytes()[3]).collect()
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[1000] ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn raw_disk_is_imported_and_exported_as_it_was() {
    let bed = Bed::new();
    let raw = bed.disk("a", &[(0, 1), (7, 2)]);
    let imported = bed.succeed(&["disk", "import", raw.to_str().unwrap()]);
    assert_eq!(imported["disk_bytes"], 10 * CHUNK);
    assert_eq!(imported["new_bytes"], 0);
    assert_eq!(imported["snapshot"], bed.snapshot("a"));
    let copy = bed.path("copy");
    bed.succeed(&["disk", "export", "a", copy.to_str().unwrap()]);
    assert_eq!(fs::read(copy).unwrap(), fs::read(raw).unwrap());
    let missing = bed.run(&["disk", "import", "/nowhere"]);
    assert_eq!(missing.status.code(), Some(1));
    let reserved = bed.run(&["disk", "import", "/dev/null", "--name", "sessions/x"]);
    assert_eq!(reserved.status.code(), Some(1));
}

#[test]
fn diff_lists_the_ranges_that_differ() {
    let bed = Bed::new();
    bed.disk("a", &[(0, 1), (3, 1), (4, 1), (9, 1)]);
    bed.disk("b", &[(0, 1), (3, 2), (4, 2), (9, 1)]);
    let diff = bed.succeed(&["disk", "diff", "a", &bed.snapshot("b")[..20]]);
    assert_eq!(diff["changed_ranges"], 1);
    assert_eq!(diff["changed_bytes"], 2 * CHUNK);
    assert_eq!(diff["ranges"][0]["offset"], 3 * CHUNK);
    let text = bed.run(&["disk", "diff", "a", "b"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("1 ranges differ, 128.0 KiB"), "{text}");
    assert_eq!(bed.succeed(&["disk", "diff", "a", "a"])["changed_bytes"], 0);
}

#[test]
fn gc_frees_what_du_calls_unreachable_and_nothing_else() {
    let bed = Bed::new();
    bed.disk("a", &[(0, 1)]);
    bed.disk("b", &[(0, 2), (1, 3)]);
    bed.succeed(&["image", "rm", "b"]);
    let usage = bed.succeed(&["du"]);
    assert_eq!(usage["snapshots"][0]["needed_by"][0], "name `a`");
    assert_eq!(usage["snapshots"][0]["disk_bytes"], 10 * CHUNK);
    let spared = bed.succeed(&["gc"]);
    assert_eq!(
        (&spared["removed_blobs"], &spared["spared_blobs"]),
        (&0.into(), &3.into())
    );
    let collected = bed.succeed(&["gc", "--grace", "0s"]);
    assert_eq!(collected["freed_bytes"], usage["unreachable_bytes"]);
    assert_eq!(bed.succeed(&["du"])["unreachable_bytes"], 0);
    let text = String::from_utf8(bed.run(&["du"]).stdout).unwrap();
    assert!(text.contains("name `a`"), "{text}");
    assert_eq!(bed.run(&["gc", "--grace", "soon"]).status.code(), Some(2));
}

#[test]
fn verify_names_a_damaged_pack_and_what_it_costs() {
    let bed = Bed::new();
    bed.disk("a", &[(0, 1), (5, 2)]);
    let whole = bed.succeed(&["verify"]);
    assert_eq!(
        (&whole["snapshots"], &whole["blobs"]),
        (&1.into(), &3.into())
    );
    damage(&bed.pack());
    let (status, found) = bed.json(&["verify"]);
    assert_eq!(status, 1);
    let fault = &found["faults"][0];
    assert_eq!(fault["file"], bed.pack().to_str().unwrap());
    assert_eq!(fault["affected"][0]["needed_by"][0], "name `a`");
    assert_eq!(fault["affected"][0]["ranges"][0]["bytes"], CHUNK);
    let text = bed.run(&["verify"]);
    assert_eq!(text.status.code(), Some(1));
    assert!(
        String::from_utf8(text.stdout)
            .unwrap()
            .contains("loses 64.0 KiB")
    );
}

#[test]
fn repair_takes_damaged_blobs_from_a_second_store() {
    let bed = Bed::new();
    bed.disk("a", &[(0, 1), (5, 2)]);
    let second = bed.path("second");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(bed.path("store"))
        .arg(&second)
        .status();
    assert!(copied.unwrap().success());
    damage(&bed.pack());
    let repair = ["verify", "--repair", "--from", second.to_str().unwrap()];
    let repaired = bed.succeed(&repair);
    assert_eq!(repaired["repaired"].as_array().unwrap().len(), 1);
    bed.succeed(&["verify"]);
    // Damaged in both: it is named, and stays a fault.
    let pack = bed.pack();
    damage(&pack);
    damage(&second.join("blobs/sha256").join(pack.file_name().unwrap()));
    let (status, left) = bed.json(&repair);
    assert_eq!(status, 1);
    assert_eq!(left["lost"].as_array().unwrap().len(), 1, "{left}");
    let none = bed.run(&["verify", "--repair", "--from", "/"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(
        String::from_utf8(none.stderr)
            .unwrap()
            .contains("blobs/sha256")
    );
    assert_eq!(bed.run(&["verify", "--repair"]).status.code(), Some(2));
}

#[test]
fn repair_takes_damaged_blobs_from_the_registry_that_they_were_pushed_to() {
    let registry = Registry::start(&Options::default()).unwrap();
    let bed = Bed::new();
    bed.disk("a", &[(0, 1), (5, 2)]);
    let plain = ["--plain-http", registry.host()];
    let name = format!("{}/labs/disk", registry.host());
    bed.succeed(&["push", "a", &name, plain[0], plain[1]]);
    damage(&bed.pack());
    let from = format!("docker://{name}");
    let repair = ["verify", "--repair", "--from", &from, plain[0], plain[1]];
    let repaired = bed.succeed(&repair);
    assert_eq!(repaired["repaired"].as_array().unwrap().len(), 1);
    bed.succeed(&["verify"]);
    registry.stop();
    damage(&bed.pack());
    let gone = bed.run(&repair);
    let complaint = String::from_utf8(gone.stderr).unwrap();
    assert_eq!(gone.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains(&from), "{complaint}");
    let bad = ["verify", "--repair", "--from", "docker://not a name"];
    assert_eq!(bed.run(&bad).status.code(), Some(2));
}

#[test]
fn session_that_cant_be_read_is_listed_as_such() {
    let bed = Bed::new();
    let folder = bed.path("store/sessions/broken");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("record.json"), "{").unwrap();
    let listed = bed.succeed(&["ls"]);
    assert!(listed["sessions"].as_array().unwrap().is_empty());
    assert_eq!(listed["unreadable"][0]["session"], "broken");
    let output = bed.run(&["ls"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("broken   unreadable\n"), "{text}");
    assert!(text.contains("sessions/broken/record.json"), "{text}");
    bed.succeed(&["rm", "broken"]);
}

#[test]
fn files_of_a_disk_become_an_image_in_a_folder() {
    let bed = Bed::new();
    let (files, raw, layout) = (bed.path("files"), bed.path("disk.raw"), bed.path("layout"));
    fs::create_dir(&files).unwrap();
    fs::write(files.join("note"), "kept").unwrap();
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-t", "ext4", "-d"]).arg(&files).arg(&raw);
    assert!(make.arg("16M").status().unwrap().success());
    bed.succeed(&["disk", "import", raw.to_str().unwrap(), "--name", "disk"]);
    let to = format!("oci:{}:v1", layout.display());
    bed.succeed(&["publish", "disk", &to, "--squash"]);
    let mut unpack = Command::new("umoci");
    unpack.args(["unpack", "--rootless", "--image"]);
    unpack.arg(format!("{}:v1", layout.display()));
    assert!(unpack.arg(bed.path("bundle")).status().unwrap().success());
    let note = fs::read_to_string(bed.path("bundle/rootfs/note"));
    assert_eq!(note.unwrap(), "kept");
}
