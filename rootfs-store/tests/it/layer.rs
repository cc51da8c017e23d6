//! Writes tar streams for tests, as image builders do: PAX records where a header is too small.

use std::io::{self, Read};

/// A tar stream under construction.
pub(crate) struct Layer {
    builder: tar::Builder<Vec<u8>>,
    records: Vec<(String, Vec<u8>)>,
    mode: u32,
    owner: (u64, u64),
    mtime: u64,
}

impl Layer {
    pub(crate) fn new() -> Self {
        Self {
            builder: tar::Builder::new(Vec::new()),
            records: Vec::new(),
            mode: 0o644,
            owner: (0, 0),
            mtime: 1_700_000_000,
        }
    }

    /// Gives the next entry this mode.
    pub(crate) fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = mode;
        self
    }

    /// Gives the next entry these owners.
    pub(crate) fn owner(&mut self, uid: u64, gid: u64) -> &mut Self {
        self.owner = (uid, gid);
        self
    }

    /// Gives the next entry this time, as a PAX record has it.
    pub(crate) fn pax_mtime(&mut self, mtime: &str) -> &mut Self {
        self.record("mtime", mtime.as_bytes())
    }

    /// Gives the next entry an extended attribute.
    pub(crate) fn xattr(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.record(&format!("SCHILY.xattr.{name}"), value)
    }

    /// Gives the next entry a PAX record.
    pub(crate) fn record(&mut self, key: &str, value: &[u8]) -> &mut Self {
        self.records.push((key.to_owned(), value.to_vec()));
        self
    }

    pub(crate) fn file(&mut self, path: &str, data: &[u8]) -> &mut Self {
        self.entry(path, tar::EntryType::Regular, None, data.len() as u64, data)
    }

    pub(crate) fn file_from(&mut self, path: &str, len: u64, data: impl Read) -> &mut Self {
        self.entry(path, tar::EntryType::Regular, None, len, data)
    }

    pub(crate) fn directory(&mut self, path: &str) -> &mut Self {
        if self.mode == 0o644 {
            self.mode = 0o755;
        }
        self.entry(path, tar::EntryType::Directory, None, 0, io::empty())
    }

    pub(crate) fn symlink(&mut self, path: &str, target: &str) -> &mut Self {
        self.link(path, tar::EntryType::Symlink, target)
    }

    pub(crate) fn hard_link(&mut self, path: &str, target: &str) -> &mut Self {
        self.link(path, tar::EntryType::Link, target)
    }

    pub(crate) fn fifo(&mut self, path: &str) -> &mut Self {
        self.entry(path, tar::EntryType::Fifo, None, 0, io::empty())
    }

    pub(crate) fn char_device(&mut self, path: &str, major: u32, minor: u32) -> &mut Self {
        let device = Some((major, minor));
        self.entry(path, tar::EntryType::Char, device, 0, io::empty())
    }

    pub(crate) fn block_device(&mut self, path: &str, major: u32, minor: u32) -> &mut Self {
        let device = Some((major, minor));
        self.entry(path, tar::EntryType::Block, device, 0, io::empty())
    }

    /// Adds a sparse file in PAX format 1.0: `pieces` are offsets and data, `len` its length with holes.
    pub(crate) fn sparse(&mut self, path: &str, len: u64, pieces: &[(u64, &[u8])]) -> &mut Self {
        let mut map = format!("{}\n", pieces.len());
        for (offset, data) in pieces {
            map += &format!("{offset}\n{}\n", data.len());
        }
        let mut data = map.into_bytes();
        data.resize(data.len().next_multiple_of(512), 0);
        for (_, piece) in pieces {
            data.extend_from_slice(piece);
        }
        self.record("GNU.sparse.major", b"1");
        self.record("GNU.sparse.minor", b"0");
        self.record("GNU.sparse.name", path.as_bytes());
        self.record("GNU.sparse.realsize", len.to_string().as_bytes());
        self.file("GNUSparseFile.0/piece", &data)
    }

    /// Adds a sparse file in PAX format 0.0: 20,000 bytes, `abc` at 5,000 and `yz` at the end.
    pub(crate) fn sparse_0_0(&mut self, path: &str) -> &mut Self {
        self.record("GNU.sparse.size", b"20000")
            .record("GNU.sparse.numblocks", b"2")
            .record("GNU.sparse.offset", b"5000")
            .record("GNU.sparse.numbytes", b"3")
            .record("GNU.sparse.offset", b"19998")
            .record("GNU.sparse.numbytes", b"2")
            .file(path, b"abcyz")
    }

    /// Adds the same sparse file in PAX format 0.1.
    pub(crate) fn sparse_0_1(&mut self, path: &str) -> &mut Self {
        self.record("GNU.sparse.major", b"0")
            .record("GNU.sparse.minor", b"1")
            .record("GNU.sparse.name", path.as_bytes())
            .record("GNU.sparse.size", b"20000")
            .record("GNU.sparse.numblocks", b"2")
            .record("GNU.sparse.map", b"5000,3,19998,2")
            .file("GNUSparseFile.1/x", b"abcyz")
    }

    /// Adds an entry of which only the header's name, type and data are given, in GNU's format.
    pub(crate) fn gnu(&mut self, name: &[u8], kind: u8, data: &[u8]) -> &mut Self {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.mtime);
        header.set_size(data.len() as u64);
        header.set_cksum();
        self.builder.append(&header, data).unwrap();
        self
    }

    /// The stream so far, with its end.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.builder.get_ref().clone();
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }

    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let builder = std::mem::replace(&mut self.builder, tar::Builder::new(Vec::new()));
        builder.into_inner().unwrap()
    }

    fn link(&mut self, path: &str, kind: tar::EntryType, target: &str) -> &mut Self {
        self.record("linkpath", target.as_bytes());
        self.entry(path, kind, None, 0, io::empty())
    }

    fn entry(
        &mut self,
        path: &str,
        kind: tar::EntryType,
        device: Option<(u32, u32)>,
        len: u64,
        data: impl Read,
    ) -> &mut Self {
        if path.len() > 100 {
            self.record("path", path.as_bytes());
        }
        let records = std::mem::take(&mut self.records);
        let records = records.iter().map(|(k, v)| (k.as_str(), v.as_slice()));
        self.builder.append_pax_extensions(records).unwrap();
        let mut header = tar::Header::new_ustar();
        let name = &path.as_bytes()[..path.len().min(100)];
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_mode(std::mem::replace(&mut self.mode, 0o644));
        let (uid, gid) = std::mem::take(&mut self.owner);
        header.set_uid(uid);
        header.set_gid(gid);
        header.set_mtime(self.mtime);
        header.set_size(len);
        if let Some((major, minor)) = device {
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
        }
        header.set_cksum();
        self.builder.append(&header, data).unwrap();
        self
    }
}
