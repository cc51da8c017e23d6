//! Images in Docker archives, as skopeo and Docker write them, and as nobody should.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use rootfs_store::image::{ArchiveError, ImageError};
use rootfs_store::tree::{Limits, TreeError};
use rootfs_store::{
    BlobDigest, ImageReference, ImportError, ImportOptions, Imported, Progress, Snapshot, Stage,
    Store,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::layer::Layer;
use crate::oci_layout::gzip;
use crate::sample_image::{self, Sample};

/// A store, and a folder for archives beside it.
struct Bed {
    dir: TempDir,
    store: Store,
}

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        Self { dir, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn import(&self, reference: &str) -> Result<Imported, ImportError> {
        let reference: ImageReference = reference.parse().unwrap();
        self.store
            .import(&reference, &ImportOptions::default(), &())
    }

    fn imported(&self, reference: &str) -> Snapshot {
        let imported = self.import(reference).unwrap();
        self.store.snapshot(&imported.snapshot).unwrap()
    }

    /// Writes an archive and returns its reference.
    fn archive(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).unwrap();
        format!("docker-archive:{}", self.path(name).display())
    }

    /// The reason why an archive can't be imported; nothing may be left of the attempt.
    #[track_caller]
    fn fails(&self, reference: &str) -> ImageError {
        let error = self.import(reference).unwrap_err();
        for folder in ["blobs/sha256", "staging"] {
            let left = fs::read_dir(self.store.dir().join(folder)).unwrap();
            assert_eq!(left.count(), 0, "{folder}");
        }
        match error {
            ImportError::Image { source, .. } => source,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn archive_fails(&self, bytes: &[u8]) -> ArchiveError {
        match self.fails(&self.archive("bad.tar", bytes)) {
            ImageError::Archive { path, source } => {
                assert_eq!(path, self.path("bad.tar"));
                source
            }
            other => panic!("{other:?}"),
        }
    }
}

fn skopeo_copy(from: &ImageReference, to: &str) {
    let output = Command::new("skopeo")
        .args(["copy", "--insecure-policy", &from.to_string(), to])
        .output()
        .expect("skopeo should be installed (Debian: skopeo)");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "skopeo says:\n{text}");
}

fn gzip_file(path: &Path) {
    let status = Command::new("gzip").arg("-kf").arg(path).status().unwrap();
    assert!(status.success());
}

fn layer() -> Vec<u8> {
    Layer::new().file("etc/note", b"from an archive").bytes()
}

fn config(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<_> = layers
        .iter()
        .map(|layer| BlobDigest::of(layer).to_string())
        .collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": { "Cmd": ["sh"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    config.to_string().into_bytes()
}

fn hex(bytes: &[u8]) -> String {
    BlobDigest::of(bytes).to_string()[7..].to_owned()
}

fn manifest(images: &[(&str, &[&str], &[&str])]) -> Vec<u8> {
    let images: Vec<Value> = images
        .iter()
        .map(|(config, tags, layers)| json!({ "Config": config, "RepoTags": tags, "Layers": layers }))
        .collect();
    json!(images).to_string().into_bytes()
}

/// An archive of one image, whose only layer is the member `layer.tar`; `add` adds the layer.
fn archive(add: impl FnOnce(&mut Layer)) -> Vec<u8> {
    let mut archive = Layer::new();
    add(&mut archive);
    archive.file("c.json", &config(&[&layer()])).file(
        "manifest.json",
        &manifest(&[("c.json", &["a:b"], &["layer.tar"])]),
    );
    archive.bytes()
}

#[test]
fn an_archive_by_skopeo_gives_the_disk_that_its_layout_gives() {
    let bed = Bed::new();
    let image = sample_image::write(&bed.path("image"), &Sample::default());
    let file = bed.path("a.tar");
    skopeo_copy(
        &image,
        &format!("docker-archive:{}:sample:1", file.display()),
    );
    gzip_file(&file);
    let expected = bed.imported(&image.to_string());
    let plain = bed.imported(&format!("docker-archive:{}", file.display()));
    // A store that has no such image yet reads the layers again.
    let other = Bed::new();
    let zipped = other.imported(&format!("docker-archive:{}.gz:sample:1", file.display()));
    for snapshot in [&plain, &zipped] {
        assert_eq!(snapshot.packs, expected.packs);
        assert_eq!(snapshot.disk_bytes, expected.disk_bytes);
        assert_eq!(snapshot.machine, expected.machine);
    }
    assert_eq!(plain.image, zipped.image);
}

#[test]
fn docker_s_older_archives_share_layers_by_links() {
    let bed = Bed::new();
    let upper = Layer::new().file("etc/upper", b"u").bytes();
    let config = config(&[&layer(), &upper, &layer()]);
    let mut archive = Layer::new();
    archive
        .file("./1/layer.tar", &layer())
        .file("1/VERSION", b"1.0")
        .symlink("2/layer.tar", "../1/layer.tar")
        .hard_link("3/layer.tar", "2/layer.tar")
        .file("4/layer.tar", &gzip(&upper))
        .file(&format!("{}.json", hex(&config)), &config)
        .file(
            "repositories",
            b"what older versions wrote is not looked at",
        )
        .file(
            "manifest.json",
            &manifest(&[(
                &format!("{}.json", hex(&config)),
                &[],
                &["3/layer.tar", "4/layer.tar", "2/layer.tar"],
            )]),
        );
    let snapshot = bed.imported(&bed.archive("old.tar", &archive.bytes()));
    assert_eq!(snapshot.machine.cmd, ["sh"]);
    assert_eq!(snapshot.image.unwrap(), BlobDigest::of(&config).to_string());
}

#[test]
fn docker_s_newer_archives_are_layouts_too() {
    let bed = Bed::new();
    let (config, blob) = (config(&[&layer()]), gzip(&layer()));
    let name = |bytes: &[u8]| format!("blobs/sha256/{}", hex(bytes));
    let mut archive = Layer::new();
    archive
        .directory("blobs/")
        .directory("blobs/sha256/")
        .file(&name(&config), &config)
        .file(&name(&blob), &blob)
        .file("index.json", b"{}")
        .file(
            "manifest.json",
            &manifest(&[(&name(&config), &["x:y"], &[&name(&blob)])]),
        )
        .file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    let newer = bed.imported(&bed.archive("newer.tar", &archive.bytes()));
    let zstd = zstd::encode_all(&*archive.bytes(), 1).unwrap();
    let other = Bed::new();
    let zipped = other.imported(&other.archive("newer.tar.zst", &zstd));
    assert_eq!(newer.packs, zipped.packs);
}

#[test]
fn images_of_an_archive_are_told_apart_by_name() {
    let bed = Bed::new();
    let other = Layer::new().file("other", b"o").bytes();
    let (one, two) = (config(&[&layer()]), config(&[&other]));
    let mut archive = Layer::new();
    archive
        .file("1.tar", &layer())
        .file("2.tar", &other)
        .file("1.json", &one)
        .file("2.json", &two)
        .file(
            "manifest.json",
            &manifest(&[
                ("1.json", &["busybox:1.36", "busybox:latest"], &["1.tar"]),
                ("2.json", &["ghcr.io/me/tool:v2"], &["2.tar"]),
            ]),
        );
    let reference = bed.archive("two.tar", &archive.bytes());
    for (name, config) in [
        ("busybox", &one),
        ("docker.io/library/busybox:1.36", &one),
        ("1.36", &one),
        ("@0", &one),
        ("ghcr.io/me/tool:v2", &two),
        ("v2", &two),
        ("@1", &two),
    ] {
        let snapshot = bed.imported(&format!("{reference}:{name}"));
        let expected = BlobDigest::of(config).to_string();
        assert_eq!(snapshot.image.unwrap(), expected, "{name}");
    }
    let bed = Bed::new();
    let reference = bed.archive("bad.tar", &archive.bytes());
    for name in ["busybox:2", "tool", "@2", "@"] {
        let error = bed.fails(&format!("{reference}:{name}"));
        let ImageError::Archive {
            source: ArchiveError::NoSuchImage { available, .. },
            ..
        } = error
        else {
            panic!("{name}: {error:?}");
        };
        assert_eq!(
            available,
            "busybox:1.36, busybox:latest, ghcr.io/me/tool:v2"
        );
    }
    let error = bed.archive_fails(&archive.bytes());
    assert!(matches!(error, ArchiveError::Ambiguous { .. }), "{error:?}");
}

#[test]
fn members_that_are_not_there_or_no_files_are_errors() {
    let bed = Bed::new();
    let error = bed.archive_fails(&archive(|_| {}));
    assert!(
        matches!(&error, ArchiveError::MissingMember { name } if name == "layer.tar"),
        "{error:?}"
    );
    let error = bed.archive_fails(&Layer::new().file("f", b"").bytes());
    assert!(
        matches!(&error, ArchiveError::MissingMember { name } if name == "manifest.json"),
        "{error:?}"
    );
    let secret = bed.path("secret");
    fs::write(&secret, layer()).unwrap();
    for target in [secret.to_str().unwrap(), "../../secret"] {
        let error = bed.archive_fails(&archive(|a| {
            a.symlink("layer.tar", target);
        }));
        assert!(
            matches!(
                error,
                ArchiveError::MissingMember { .. } | ArchiveError::NotAFile { .. }
            ),
            "{error:?}"
        );
    }
    let error = bed.archive_fails(&archive(|a| {
        a.directory("layer.tar");
    }));
    assert!(matches!(error, ArchiveError::NotAFile { .. }), "{error:?}");
    let error = bed.archive_fails(&archive(|a| {
        a.symlink("layer.tar", "b").symlink("b", "layer.tar");
    }));
    assert!(
        matches!(error, ArchiveError::TooManyLinks { .. }),
        "{error:?}"
    );
}

/// Tools disagree about which of two members of one name counts.
#[test]
fn members_of_the_same_name_are_an_error_where_they_matter() {
    let bed = Bed::new();
    let error = bed.archive_fails(&archive(|a| {
        a.file("layer.tar", &layer()).file("./layer.tar", b"other");
    }));
    assert!(
        matches!(error, ArchiveError::DuplicateMember { .. }),
        "{error:?}"
    );
    let fine = archive(|a| {
        a.file("layer.tar", &layer())
            .file("json", b"1")
            .file("json", b"2");
    });
    bed.imported(&bed.archive("fine.tar", &fine));
}

#[test]
fn a_layer_with_another_diff_id_is_refused() {
    for blob in [
        b"no tar at all".to_vec(),
        Layer::new().file("evil", b"").bytes(),
    ] {
        for blob in [gzip(&blob), blob] {
            let bed = Bed::new();
            let bytes = archive(|a| {
                a.file("layer.tar", &blob);
            });
            let error = bed.import(&bed.archive("bad.tar", &bytes)).unwrap_err();
            let ImportError::Tree {
                source: TreeError::DiffIdMismatch { layer, .. } | TreeError::Tar { layer, .. },
                ..
            } = error
            else {
                panic!("{error:?}");
            };
            assert_eq!(layer, BlobDigest::of(&self::layer()).to_string());
        }
    }
}

#[test]
fn a_config_with_another_digest_than_its_name_is_refused() {
    let bed = Bed::new();
    let name = format!("{}.json", "0".repeat(64));
    let mut archive = Layer::new();
    archive
        .file("l", &layer())
        .file(&name, &config(&[&layer()]))
        .file("manifest.json", &manifest(&[(&name, &[], &["l"])]));
    let error = bed.fails(&bed.archive("bad.tar", &archive.bytes()));
    assert!(
        matches!(error, ImageError::DigestMismatch { .. }),
        "{error:?}"
    );
}

#[test]
fn archives_that_are_cut_off_or_no_archives_are_errors() {
    let bed = Bed::new();
    let whole = archive(|a| {
        a.file("layer.tar", &layer());
    });
    // The layer comes last here, so that only its own end is missing.
    let mut last = Layer::new();
    last.file("c.json", &config(&[&layer()]))
        .file(
            "manifest.json",
            &manifest(&[("c.json", &[], &["layer.tar"])]),
        )
        .file("layer.tar", &layer());
    let last = last.bytes();
    let cut = last.len() - 1024 - layer().len() / 2;
    let error = bed.archive_fails(&last[..cut]);
    assert!(matches!(error, ArchiveError::Truncated { .. }), "{error:?}");
    let zipped = gzip(&whole);
    let error = bed.archive_fails(&zipped[..zipped.len() / 2]);
    assert!(
        matches!(error, ArchiveError::Decompress { .. }),
        "{error:?}"
    );
    let error = bed.archive_fails(b"BZh91AY&SY and so on");
    assert!(
        matches!(error, ArchiveError::Compression { format: "bzip2" }),
        "{error:?}"
    );
    let xz = archive(|a| {
        a.file("layer.tar", b"\xfd7zXZ\0 and so on");
    });
    let error = bed.archive_fails(&xz);
    assert!(
        matches!(&error, ArchiveError::LayerCompression { name, format: "xz" } if name == "layer.tar"),
        "{error:?}"
    );
    let error = bed.archive_fails(&[b'x'; 2048]);
    assert!(matches!(error, ArchiveError::Tar { .. }), "{error:?}");
    let error = bed.archive_fails(&Layer::new().file("manifest.json", b"[]").bytes());
    assert!(matches!(error, ArchiveError::Empty), "{error:?}");
    let error = bed.fails(&format!("docker-archive:{}", bed.dir.path().display()));
    assert!(matches!(error, ImageError::Io { .. }), "{error:?}");
}

#[test]
fn an_archive_that_decompresses_to_too_much_leaves_nothing() {
    let bed = Bed::new();
    let reference = bed.archive("bomb.tar.gz", &gzip(&vec![0; 32 << 20]));
    let limits = Limits {
        unpacked_bytes: 16 << 20,
        ..Limits::default()
    };
    let options = ImportOptions {
        limits,
        ..ImportOptions::default()
    };
    let error = bed.store.import(&reference.parse().unwrap(), &options, &());
    let Err(ImportError::Image {
        source: ImageError::Archive { source, .. },
        ..
    }) = error
    else {
        panic!("{error:?}");
    };
    assert!(
        matches!(source, ArchiveError::TooLarge { .. }),
        "{source:?}"
    );
}

#[test]
fn an_archive_of_very_many_names_is_refused() {
    let bed = Bed::new();
    let mut archive = Layer::new();
    let long = "n".repeat(200);
    for n in 0..5000 {
        archive.file(&format!("{}{n}", format!("{long}/").repeat(19)), b"");
    }
    let error = bed.archive_fails(&archive.bytes());
    assert!(matches!(error, ArchiveError::TooManyNames), "{error:?}");
}

/// What was told of the reading of an archive.
#[derive(Default)]
struct Told(Mutex<Vec<(u64, u64)>>);

impl Progress for Told {
    fn advance(&self, stage: Stage, done: u64, total: u64) {
        if stage == Stage::Archive {
            self.0.lock().unwrap().push((done, total));
        }
    }
}

#[test]
fn decompressing_an_archive_is_progress() {
    let bed = Bed::new();
    let add_layer = |archive: &mut Layer| {
        archive.file("layer.tar", &layer());
    };
    let zipped = gzip(&archive(add_layer));
    let image = bed.archive("a.tar.gz", &zipped).parse().unwrap();
    let told = Told::default();
    let store = Store::open(bed.path("told")).unwrap();
    store
        .import(&image, &ImportOptions::default(), &told)
        .unwrap();
    let told = told.0.into_inner().unwrap();
    let all = zipped.len() as u64;
    assert_eq!(told.last(), Some(&(all, all)));
}
