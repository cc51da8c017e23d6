//! The config and the manifest of an image that is made of a snapshot.
//!
//! Invariant: members are written in the order of their names, and times come from files, so equal images have equal
//! documents.

use serde_json::{Map, Value, json};

use super::layout::Written;
use super::{PublishError, PublishedLayer, time};
use crate::digest::SnapshotDigest;
use crate::image::{Compression, Image, ImageConfig, Layer, Platform};
use crate::registry::OCI_MANIFEST;

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The image below.
pub(super) struct Base<'a> {
    pub(super) image: &'a Image,
    /// Its config as it is, with all that nothing here knows.
    pub(super) config: &'a Value,
}

/// The layer that was made.
pub(super) struct NewLayer<'a> {
    pub(super) layer: &'a PublishedLayer,
    pub(super) compression: Compression,
    pub(super) snapshot: &'a SnapshotDigest,
}

/// What an image's documents follow from.
pub(super) struct Documents<'a> {
    pub(super) base: Option<Base<'a>>,
    pub(super) layer: Option<NewLayer<'a>>,
    /// What is to be run; what the base says, if nothing is known.
    pub(super) machine: Option<&'a ImageConfig>,
    pub(super) platform: Platform,
}

impl Documents<'_> {
    /// Descriptors of all layers, lowest first.
    pub(super) fn layers(&self) -> Vec<Value> {
        let below = self.base.iter().flat_map(|base| &base.image.layers);
        let below = below.map(|layer| {
            let media_type = layer_type(layer.compression);
            descriptor(&media_type, layer.name(), layer.size)
        });
        let new = self.layer.iter().map(|new| {
            let media_type = layer_type(new.compression);
            descriptor(&media_type, &new.layer.digest.to_string(), new.layer.bytes)
        });
        below.chain(new).collect()
    }

    pub(super) fn manifest(&self, config: &Written) -> Result<Vec<u8>, PublishError> {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(CONFIG, &config.digest.to_string(), config.bytes),
            "layers": self.layers(),
        });
        encode("manifest", &manifest)
    }

    pub(super) fn config(&self) -> Result<Vec<u8>, PublishError> {
        let mut config = match &self.base {
            Some(base) => base.config.as_object().cloned().unwrap_or_default(),
            None => self.platform(),
        };
        let run = config.entry("config").or_insert_with(|| json!({}));
        if !run.is_object() {
            *run = json!({});
        }
        if let (Some(run), Some(machine)) = (run.as_object_mut(), self.machine) {
            put_machine(run, machine);
        }
        config.insert("rootfs".into(), self.rootfs());
        if let Some(new) = &self.layer {
            let history = self.history(config.remove("history"), new);
            config.insert("history".into(), history);
            if let Some(created) = created(new) {
                config.insert("created".into(), created.into());
            }
        }
        encode("config", &Value::Object(config))
    }

    fn platform(&self) -> Map<String, Value> {
        let mut config = Map::new();
        config.insert("os".into(), self.platform.os.clone().into());
        let architecture = self.platform.architecture.clone();
        config.insert("architecture".into(), architecture.into());
        if let Some(variant) = &self.platform.variant {
            config.insert("variant".into(), variant.clone().into());
        }
        config
    }

    fn rootfs(&self) -> Value {
        let below = self.base.iter().flat_map(|base| &base.image.layers);
        let below = below.map(|layer: &Layer| layer.diff_id.clone());
        let new = self.layer.iter().map(|new| new.layer.diff_id.to_string());
        let diff_ids: Vec<_> = below.chain(new).collect();
        json!({ "type": "layers", "diff_ids": diff_ids })
    }

    /// The history of the base and of the new layer; of a base whose history does not fit its layers, nothing but how
    /// many these are.
    fn history(&self, below: Option<Value>, new: &NewLayer<'_>) -> Value {
        let layers = self.base.as_ref().map_or(0, |base| base.image.layers.len());
        let below = match below {
            Some(Value::Array(entries)) if layers_of(&entries) == layers => entries,
            _ => vec![json!({}); layers],
        };
        let mut entry = Map::new();
        if let Some(created) = created(new) {
            entry.insert("created".into(), created.into());
        }
        let created_by = format!("vm-sessions publish {}", new.snapshot);
        entry.insert("created_by".into(), created_by.into());
        let mut history = below;
        history.push(Value::Object(entry));
        Value::Array(history)
    }
}

/// What is to be run, in the place of what the base says.
fn put_machine(run: &mut Map<String, Value>, machine: &ImageConfig) {
    let labels: Map<String, Value> = machine
        .labels
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    let stop_signal = machine.stop_signal.clone().unwrap_or_default();
    for (member, value, is_empty) in [
        ("Env", json!(machine.env), machine.env.is_empty()),
        (
            "Entrypoint",
            json!(machine.entrypoint),
            machine.entrypoint.is_empty(),
        ),
        ("Cmd", json!(machine.cmd), machine.cmd.is_empty()),
        ("User", json!(machine.user), machine.user.is_empty()),
        (
            "WorkingDir",
            json!(machine.working_dir),
            machine.working_dir.is_empty(),
        ),
        ("Labels", json!(labels), labels.is_empty()),
        ("StopSignal", json!(stop_signal), stop_signal.is_empty()),
    ] {
        match is_empty {
            true => run.remove(member),
            false => run.insert(member.into(), value),
        };
    }
}

/// Layers that entries of a history stand for.
fn layers_of(entries: &[Value]) -> usize {
    let is_empty = |entry: &&Value| entry["empty_layer"] == Value::Bool(true);
    entries.iter().filter(|entry| !is_empty(entry)).count()
}

/// The newest time in a layer: the same whenever and wherever the layer is made.
fn created(new: &NewLayer<'_>) -> Option<String> {
    new.layer.summary.newest.map(time::rfc3339)
}

fn layer_type(compression: Compression) -> String {
    let suffix = match compression {
        Compression::None => "",
        Compression::Gzip => "+gzip",
        Compression::Zstd => "+zstd",
    };
    format!("{LAYER}{suffix}")
}

pub(super) fn manifest_descriptor(written: &Written) -> Value {
    descriptor(OCI_MANIFEST, &written.digest.to_string(), written.bytes)
}

fn descriptor(media_type: &str, digest: &str, bytes: u64) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": bytes })
}

pub(super) fn encode(document: &'static str, value: &Value) -> Result<Vec<u8>, PublishError> {
    serde_json::to_vec(value).map_err(|source| PublishError::Encode { document, source })
}
