//! A small image made by umoci, and skopeo to move it about.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use testbed::Registry;

/// An OCI layout with busybox in it.
pub(crate) struct Image {
    folder: TempDir,
}

impl Image {
    pub(crate) fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = Self { folder };
        let layout = image.path("layout");
        let tagged = format!("{}:first", layout.display());
        umoci(&["init", "--layout", layout.to_str().unwrap()]);
        umoci(&["new", "--image", &tagged]);
        umoci(&[
            "insert",
            "--rootless",
            "--image",
            &tagged,
            "/bin/busybox",
            "/bin/busybox",
        ]);
        image
    }

    /// How skopeo calls it.
    pub(crate) fn reference(&self) -> String {
        format!("oci:{}:first", self.path("layout").display())
    }

    /// How skopeo calls a copy that need not be there yet.
    pub(crate) fn copy(&self) -> String {
        format!("oci:{}:first", self.path("copy").display())
    }

    /// The digest of the manifest of the image or of its copy, by its `index.json`.
    pub(crate) fn digest(&self, name: &str) -> String {
        let index = std::fs::read(self.path(name).join("index.json")).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        index["manifests"][0]["digest"].as_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn umoci(args: &[&str]) {
    let output = Command::new("umoci").args(args).output().unwrap();
    assert!(output.status.success(), "umoci {args:?}: {output:?}");
}

/// Copies by skopeo, with the registry's credentials and its authority, or without TLS.
pub(crate) fn skopeo_copy(registry: &Registry, from: &str, to: &str) -> Output {
    skopeo_copy_by(
        registry,
        &registry.docker_config_dir().join("config.json"),
        from,
        to,
    )
}

/// As [`skopeo_copy`], with the credentials in `auth_file`.
pub(crate) fn skopeo_copy_by(
    registry: &Registry,
    auth_file: &Path,
    from: &str,
    to: &str,
) -> Output {
    let mut command = Command::new("skopeo");
    command.args(["copy", "--authfile"]).arg(auth_file);
    match registry.ca_file() {
        Some(file) => {
            let folder = file.parent().unwrap();
            command.arg("--src-cert-dir").arg(folder);
            command.arg("--dest-cert-dir").arg(folder);
        }
        None => {
            command.args(["--src-tls-verify=false", "--dest-tls-verify=false"]);
        }
    }
    command.args([from, to]).output().unwrap()
}

/// Copies the image to `host` and back, and checks that it is the same.
pub(crate) fn there_and_back(registry: &Registry, host: &str) {
    let image = Image::make();
    let remote = format!("docker://{host}/some/image:first");
    for (from, to) in [
        (image.reference(), &remote),
        (remote.clone(), &image.copy()),
    ] {
        let output = skopeo_copy(registry, &from, to);
        assert!(output.status.success(), "{output:?}\n{}", registry.log());
    }
    assert_eq!(image.digest("layout"), image.digest("copy"));
}
