//! Kernel modules and what they depend on.
//!
//! Packages carry no `modules.dep` (it is made at installation), so the dependencies are read from the
//! `.modinfo` section of the modules themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use object::{Object, ObjectSection};

use crate::error::{Error, Repr};

/// Folders below a modules folder are nested no deeper than this.
const MAX_DEPTH: u32 = 16;
/// The list of all modules that were built, which packages carry.
const ORDER: &str = "modules.order";
/// What the name of a packed module ends with.
const COMPRESSIONS: [&str; 3] = ["zst", "xz", "gz"];
/// What a module unpacks to is less than this.
const MAX_MODULE_BYTES: u64 = 256 << 20;
/// What unpacking xz may take. A distribution's modules have dictionaries of up to 8 MiB.
const XZ_LIMIT_KIB: u32 = 128 << 10;

/// One module, ready to be loaded.
#[derive(Debug)]
pub(crate) struct Module {
    /// With `_` where the file may have `-`.
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
}

/// Reads `needed`, those of `welcome` that are there, and all that they depend on, each after its dependencies.
pub(crate) fn in_load_order(
    folder: &Path,
    needed: &[&str],
    welcome: &[&str],
) -> Result<Vec<Module>, Error> {
    let mut order = LoadOrder {
        files: Files::new(folder)?,
        builtin: builtin(folder)?,
        seen: BTreeSet::new(),
        modules: Vec::new(),
    };
    for name in needed {
        order.add(name)?;
    }
    for name in welcome {
        if order.files.has(name) {
            order.add(name)?;
        }
    }
    Ok(order.modules)
}

struct LoadOrder<'a> {
    files: Files<'a>,
    builtin: BTreeSet<String>,
    seen: BTreeSet<String>,
    modules: Vec<Module>,
}

impl LoadOrder<'_> {
    /// Recursion ends because each name is entered once.
    fn add(&mut self, name: &str) -> Result<(), Error> {
        if self.builtin.contains(name) || !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let path = self.files.find(name)?;
        let content = read(&path)?;
        let depends = dependencies(&content).ok_or(Repr::NotAModule { path })?;
        for dependency in depends {
            self.add(&dependency)?;
        }
        self.modules.push(Module {
            name: name.to_owned(),
            content,
        });
        Ok(())
    }
}

/// Where the modules below a folder are. A distribution has hundreds of folders, so they are only gone through where
/// `modules.order` does not say.
struct Files<'a> {
    folder: &'a Path,
    paths: BTreeMap<String, PathBuf>,
    is_whole: bool,
}

impl<'a> Files<'a> {
    fn new(folder: &'a Path) -> Result<Self, Error> {
        let path = folder.join(ORDER);
        let listed = match fs::read_to_string(&path) {
            Ok(listed) => listed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(Repr::KernelUnreadable { path, source }.into()),
        };
        let named = |line: &str| Some((module_name(line.rsplit('/').next()?)?, folder.join(line)));
        let mut files = Self {
            folder,
            paths: listed.lines().filter_map(named).collect(),
            is_whole: false,
        };
        if files.paths.is_empty() {
            files.go_through()?;
        }
        Ok(files)
    }

    fn has(&self, name: &str) -> bool {
        self.paths.contains_key(name)
    }

    /// The file of a module, which may be packed though the list does not say so, or be elsewhere.
    fn find(&mut self, name: &str) -> Result<PathBuf, Error> {
        let packed = |path: &PathBuf| {
            let variants = COMPRESSIONS.map(|ending| path.with_added_extension(ending));
            [path.clone()]
                .into_iter()
                .chain(variants)
                .find(|path| path.is_file())
        };
        if !self.is_whole {
            if let Some(path) = self.paths.get(name).and_then(packed) {
                return Ok(path);
            }
            self.go_through()?;
        }
        let found = self.paths.get(name).cloned();
        Ok(found.ok_or_else(|| Repr::ModuleMissing {
            name: name.to_owned(),
            folder: self.folder.to_owned(),
        })?)
    }

    fn go_through(&mut self) -> Result<(), Error> {
        self.paths.clear();
        self.is_whole = true;
        collect(self.folder, MAX_DEPTH, &mut self.paths)
    }
}

fn collect(folder: &Path, depth: u32, files: &mut BTreeMap<String, PathBuf>) -> Result<(), Error> {
    let unreadable = |source| Repr::KernelUnreadable {
        path: folder.to_owned(),
        source,
    };
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        // Links such as `build` lead out of the folder.
        if entry.file_type().map_err(unreadable)?.is_dir() {
            if depth > 0 {
                collect(&path, depth - 1, files)?;
            }
        } else if let Some(name) = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(module_name)
        {
            files.insert(name, path);
        }
    }
    Ok(())
}

/// `virtio-rng.ko` and `virtio-rng.ko.xz` are both `virtio_rng`.
fn module_name(file: &str) -> Option<String> {
    let (name, rest) = file.split_once(".ko")?;
    let is_packed = |ending: &str| COMPRESSIONS.contains(&ending);
    let is_module = rest.is_empty() || rest.strip_prefix('.').is_some_and(is_packed);
    is_module.then(|| name.replace('-', "_"))
}

fn builtin(folder: &Path) -> Result<BTreeSet<String>, Error> {
    let path = folder.join("modules.builtin");
    let list =
        fs::read_to_string(&path).map_err(|source| Repr::KernelUnreadable { path, source })?;
    let names = list
        .lines()
        .filter_map(|line| module_name(line.rsplit('/').next()?));
    Ok(names.collect())
}

/// Reads a module's file, which is unpacked if its name says that it is packed.
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = fs::read(path).map_err(|source| Repr::KernelUnreadable {
        path: path.to_owned(),
        source,
    })?;
    let packed = bytes.as_slice();
    let unpacked = match path.extension().and_then(|extension| extension.to_str()) {
        Some("zst") => zstd::Decoder::with_buffer(packed).and_then(read_all),
        Some("xz") => read_all(XzReader::new_mem_limit(packed, true, XZ_LIMIT_KIB)),
        Some("gz") => read_all(MultiGzDecoder::new(packed)),
        _ => return Ok(bytes),
    };
    Ok(unpacked.map_err(|source| Repr::ModuleDamaged {
        path: path.to_owned(),
        source,
    })?)
}

fn read_all(decoder: impl Read) -> io::Result<Vec<u8>> {
    let mut module = Vec::new();
    decoder.take(MAX_MODULE_BYTES).read_to_end(&mut module)?;
    match module.len() as u64 {
        MAX_MODULE_BYTES => Err(io::ErrorKind::FileTooLarge.into()),
        _ => Ok(module),
    }
}

/// The names after `depends=`, or nothing if these bytes are no module.
fn dependencies(module: &[u8]) -> Option<Vec<String>> {
    let file = object::File::parse(module).ok()?;
    let section = file.section_by_name(".modinfo")?;
    let mut names = Vec::new();
    for field in section.data().ok()?.split(|byte| *byte == 0) {
        if let Some(list) = field.strip_prefix(b"depends=") {
            let list = std::str::from_utf8(list).ok()?;
            names.extend(
                list.split(',')
                    .filter(|name| !name.is_empty())
                    .map(|name| name.replace('-', "_")),
            );
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests;
