//! Images, and disks as files.

use std::os::unix::fs::MetadataExt;

use super::playground::{Bed, complaint, env};

#[test]
fn an_image_is_imported_named_described_exported_and_forgotten() {
    let bed = Bed::empty();
    let image = env("VM_TEST_BUSYBOX_IMAGE");
    let imported = bed.json(&["image", "import", &image, "--name", "box", "--size", "1GiB"]);
    let snapshot = imported["snapshot"].as_str().unwrap();
    assert!(snapshot.starts_with("sha256:"), "{imported}");
    assert_eq!(imported["disk_bytes"], 1 << 30);
    for field in ["new_chunks", "new_bytes", "stored_bytes"] {
        assert!(imported[field].as_u64().unwrap() > 0, "{field}: {imported}");
    }
    assert!(imported["seconds"].is_f64(), "{imported}");

    let again = bed.json(&["image", "import", &image, "--size", "1GiB"]);
    assert_eq!(again["snapshot"], snapshot);
    assert_eq!(again["new_bytes"], 0);

    let images = bed.json(&["image", "ls"]);
    assert_eq!(images["images"][0]["name"], "box");
    assert_eq!(images["images"][0]["snapshot"], snapshot);
    for text in ["box", snapshot, &snapshot[..19]] {
        assert_eq!(bed.json(&["image", "inspect", text])["disk_bytes"], 1 << 30);
    }

    let file = bed.path("disk.raw");
    let exported = bed.json(&["disk", "export", "box", file.to_str().unwrap()]);
    let metadata = std::fs::metadata(&file).unwrap();
    assert_eq!(
        (metadata.len(), exported["disk_bytes"].as_u64()),
        (1 << 30, Some(1 << 30))
    );
    assert!(
        metadata.blocks() * 512 < 100 << 20,
        "the file is not sparse"
    );
    let taken = bed.run(&["disk", "export", "box", file.to_str().unwrap()]);
    assert_eq!(taken.status.code(), Some(1));
    assert!(complaint(&taken).contains("exists"), "{taken:?}");

    bed.json(&["image", "rm", "box"]);
    assert_eq!(
        bed.json(&["image", "ls"])["images"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
    assert_eq!(bed.run(&["image", "rm", "box"]).status.code(), Some(1));
}

#[test]
fn the_same_image_is_the_same_snapshot_in_any_store() {
    let image = env("VM_TEST_BUSYBOX_IMAGE");
    let digest = || Bed::empty().json(&["image", "import", &image])["snapshot"].clone();
    assert_eq!(digest(), digest());
}
