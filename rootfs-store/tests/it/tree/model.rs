//! Random layers, applied by the store and by a model that thinks in paths.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::listing;
use crate::disk::tree;
use crate::layer::Layer;

#[derive(Debug, Clone)]
enum Step {
    File(String, u8),
    Directory(String),
    HardLink(String, String),
    Whiteout(String),
    Opaque(String),
}

/// Paths of up to three names out of three, so that steps meet.
fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..=3)
        .prop_map(|p| p.join("/"))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (path(), any::<u8>()).prop_map(|(p, data)| Step::File(p, data)),
        3 => path().prop_map(Step::Directory),
        1 => (path(), path()).prop_map(|(p, t)| Step::HardLink(p, t)),
        2 => path().prop_map(Step::Whiteout),
        1 => path().prop_map(Step::Opaque),
    ]
}

/// The model: what is at each path, nothing for a directory.
#[derive(Debug, Clone, Default)]
struct Model(BTreeMap<String, Option<u8>>);

impl Model {
    /// Applies a layer: all whiteouts to what was there before, then everything else.
    fn apply(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Whiteout(path) => self.remove(path),
                Step::Opaque(path) => self.remove_below(path),
                _ => {}
            }
        }
        for step in steps {
            match step {
                Step::File(path, data) => self.put(path, Some(*data)),
                Step::Directory(path) if self.0.get(path) == Some(&None) => {}
                Step::Directory(path) => self.put(path, None),
                Step::HardLink(path, target) => {
                    if let Some(Some(data)) = self.0.get(target).copied() {
                        self.put(path, Some(data));
                    }
                }
                Step::Whiteout(_) | Step::Opaque(_) => {}
            }
        }
    }

    fn put(&mut self, path: &str, what: Option<u8>) {
        self.remove(path);
        for (slash, _) in path.match_indices('/') {
            self.0.insert(path[..slash].to_owned(), None);
        }
        self.0.insert(path.to_owned(), what);
    }

    fn remove(&mut self, path: &str) {
        self.0.remove(path);
        self.remove_below(path);
    }

    fn remove_below(&mut self, path: &str) {
        let below = format!("{path}/");
        self.0.retain(|p, _| !p.starts_with(&below));
    }

    /// Whether all parents of a path are directories or not there.
    fn reaches(&self, path: &str) -> bool {
        let mut parents = path.match_indices('/').map(|(slash, _)| &path[..slash]);
        parents.all(|parent| !matches!(self.0.get(parent), Some(Some(_))))
    }

    /// Leaves out steps that are errors, whichever of them is applied first.
    fn keep_valid(&self, steps: Vec<Step>) -> Vec<Step> {
        let mut valid: Vec<Step> = Vec::new();
        for step in steps {
            // What is there while the step is applied, with and without the whiteouts of its layer.
            let mut after = self.clone();
            after.apply(&valid);
            let mut without: Vec<_> = valid.clone();
            without.retain(|s| !matches!(s, Step::Whiteout(_) | Step::Opaque(_)));
            let mut unhidden = self.clone();
            unhidden.apply(&without);
            let reaches = |path: &str| after.reaches(path) && unhidden.reaches(path);
            let fine = match &step {
                Step::File(path, _) | Step::Directory(path) | Step::Whiteout(path) => reaches(path),
                Step::Opaque(path) => reaches(&format!("{path}/x")),
                Step::HardLink(path, target) => {
                    let (one, two) = (after.0.get(target), unhidden.0.get(target));
                    let file = matches!(one, Some(Some(_))) && one == two;
                    reaches(path) && reaches(target) && file
                }
            };
            // A whiteout after a replaced file would hide in the model what the layer's own step depends on.
            let depends = matches!(step, Step::Whiteout(_) | Step::Opaque(_))
                && valid.iter().any(|s| matches!(s, Step::HardLink(..)));
            if fine && !depends {
                valid.push(step);
            }
        }
        valid
    }
}

fn layer_of(steps: &[Step]) -> Vec<u8> {
    let mut layer = Layer::new();
    for step in steps {
        match step {
            Step::File(path, data) => layer.file(path, format!("#{data}").as_bytes()),
            Step::Directory(path) => layer.directory(path),
            Step::HardLink(path, target) => layer.hard_link(path, target),
            Step::Whiteout(path) => {
                let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
                layer.file(&format!("{parent}/.wh.{name}"), b"")
            }
            Step::Opaque(path) => layer.file(&format!("{path}/.wh..wh..opq"), b""),
        };
    }
    layer.bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn layers_give_the_tree_that_a_naive_model_gives(
        layers in prop::collection::vec(prop::collection::vec(step(), 0..12), 1..5)
    ) {
        let mut model = Model::default();
        let mut streams = Vec::new();
        for steps in layers {
            let steps = model.keep_valid(steps);
            model.apply(&steps);
            streams.push(layer_of(&steps));
        }
        let streams: Vec<_> = streams.iter().map(Vec::as_slice).collect();
        let expected: BTreeMap<_, _> = model.0.iter().map(|(path, what)| {
            (format!("/{path}"), what.map_or("/".to_owned(), |data| format!("#{data}")))
        }).collect();
        prop_assert_eq!(listing(&tree(&streams)), expected);
    }
}
