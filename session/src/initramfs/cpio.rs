//! Archives in the `newc` form that the kernel unpacks as its initramfs.
//!
//! Layout: `Documentation/driver-api/early-userspace/buffer-format.rst` of the kernel. Owners and times are
//! zero, so the same members give the same bytes.

const MAGIC: &str = "070701";
const TRAILER: &str = "TRAILER!!!";
const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_REGULAR: u32 = 0o100_000;
const TYPE_CHARACTER_DEVICE: u32 = 0o020_000;

/// Writes one archive member after the other.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    members: u32,
}

struct Member<'a> {
    path: &'a str,
    mode: u32,
    device: (u32, u32),
    content: &'a [u8],
}

impl Archive {
    /// Adds a directory, readable by all.
    pub(crate) fn directory(&mut self, path: &str) {
        self.member(&Member {
            path,
            mode: TYPE_DIRECTORY | 0o755,
            device: (0, 0),
            content: &[],
        });
    }

    /// Adds a file; `content` must be shorter than 4 GiB, as everything here is.
    pub(crate) fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        self.member(&Member {
            path,
            mode: TYPE_REGULAR | permissions,
            device: (0, 0),
            content,
        });
    }

    /// Adds a character device node.
    pub(crate) fn character_device(
        &mut self,
        path: &str,
        permissions: u32,
        major: u32,
        minor: u32,
    ) {
        self.member(&Member {
            path,
            mode: TYPE_CHARACTER_DEVICE | permissions,
            device: (major, minor),
            content: &[],
        });
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.member(&Member {
            path: TRAILER,
            mode: 0,
            device: (0, 0),
            content: &[],
        });
        self.bytes
    }

    fn member(&mut self, member: &Member<'_>) {
        self.members += 1;
        let links = 1;
        let fields = [
            self.members, // inode number: unique, so that nothing is taken for a hard link
            member.mode,
            0, // uid
            0, // gid
            links,
            0, // mtime
            length(member.content.len()),
            0, // device of the file itself, major
            0, // and minor
            member.device.0,
            member.device.1,
            length(member.path.len() + 1),
            0, // checksum: unused in this form
        ];
        self.bytes.extend_from_slice(MAGIC.as_bytes());
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(member.path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(member.content);
        self.pad();
    }

    /// Names and contents start at multiples of four bytes.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes)
        .expect("initramfs members are the agent and kernel modules, all far below 4 GiB")
}
