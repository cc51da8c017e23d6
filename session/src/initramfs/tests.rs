use super::*;

/// The members of a `newc` archive: path, mode and content.
fn members(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
    let mut found = Vec::new();
    loop {
        assert!(bytes.starts_with(b"070701"));
        let field = |index: usize| {
            let digits = &bytes[6 + index * 8..14 + index * 8];
            u32::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
        };
        let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
        let name = String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).unwrap();
        let start = (110 + name_size).next_multiple_of(4);
        let end = start + size;
        if name == "TRAILER!!!" {
            return found;
        }
        found.push((name, mode, bytes[start..end].to_vec()));
        bytes = &bytes[end.next_multiple_of(4)..];
    }
}

fn module(name: &str) -> modules::Module {
    modules::Module {
        name: name.to_owned(),
        content: name.as_bytes().to_vec(),
    }
}

#[test]
fn the_archive_holds_what_the_agent_expects() {
    let archive = members(&pack(&[module("virtio_ring"), module("virtio")]));
    let find = |path: &str| archive.iter().find(|member| member.0 == path).unwrap();
    assert_eq!(find("init").1, 0o100_755);
    assert_eq!(find("dev/console").1, 0o020_600);
    assert_eq!(find("dev/null").1, 0o020_666);
    assert_eq!(find("modules/virtio.ko").2, b"virtio");
    assert_eq!(
        find("modules.list").2,
        b"/modules/virtio_ring.ko\n/modules/virtio.ko\n"
    );
}

#[test]
fn the_agent_is_a_static_program() {
    use object::{Object, ObjectSection};
    let file = object::File::parse(AGENT).unwrap();
    let sections: Vec<_> = file
        .sections()
        .map(|s| s.name().unwrap().to_owned())
        .collect();
    assert!(
        !sections.iter().any(|name| name == ".interp"),
        "{sections:?}"
    );
}

#[test]
fn the_same_modules_give_the_same_bytes() {
    assert_eq!(pack(&[module("a")]), pack(&[module("a")]));
}
