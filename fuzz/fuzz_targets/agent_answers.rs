//! A session whose agent says whatever it likes: to a command, to copies, on a stream and on the control connection.
//!
//! Oracles: each of these ends, and comes to what the frames say, read one by one. A copy makes nothing beside the name
//! that it was given.
#![no_main]

#[path = "../folders.rs"]
mod folders;

use std::fs;
use std::path::PathBuf;

use agent::protocol::{ExitStatus, Frame, read_frame};
use folders::open_up;
use libfuzzer_sys::fuzz_target;
use session::fuzzing::Words;

/// What a command may print.
const OUTPUT: usize = 4096;
/// What a copy may bring.
const COPY: u64 = 1 << 16;

/// The frames up to the first bytes that are none.
fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Ok(Some(frame)) = read_frame(&mut bytes) {
        frames.push(frame);
    }
    frames
}

/// What a command that was answered so prints, if it comes to an end.
fn printed(frames: &[Frame]) -> Option<(Vec<u8>, Vec<u8>, ExitStatus)> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    for frame in frames {
        match frame {
            Frame::Stdout(bytes) => stdout.extend(bytes),
            Frame::Stderr(bytes) => stderr.extend(bytes),
            Frame::Exit(status) => return Some((stdout, stderr, *status)),
            _ => return None,
        }
        if stdout.len() + stderr.len() > OUTPUT {
            return None;
        }
    }
    None
}

/// The tar stream, if it is whole and its end was told.
fn tar(frames: &[Frame]) -> Option<Vec<u8>> {
    let mut tar = Vec::new();
    let mut frames = frames.iter();
    loop {
        match frames.next()? {
            Frame::Data(bytes) if !bytes.is_empty() => tar.extend(bytes),
            Frame::DataEnd => break,
            _ => return None,
        }
    }
    matches!(frames.next()?, Frame::Copied(_)).then_some(tar)
}

/// Whether these are the answers to all questions, in their order.
fn is_obedient(frames: &[Frame]) -> bool {
    match frames {
        [
            Frame::Hello(hello),
            Frame::Ready(_),
            Frame::Frozen(_),
            Frame::Thawed,
            Frame::Noticed,
            Frame::PoweringOff,
            ..,
        ] => hello.check().is_ok(),
        _ => false,
    }
}

/// What comes on a stream once it is connected.
fn streamed(mut bytes: &[u8]) -> Option<Vec<u8>> {
    match read_frame(&mut bytes) {
        Ok(Some(Frame::Connected)) => Some(bytes.to_vec()),
        _ => None,
    }
}

/// A folder for copies, next to which nothing may appear.
fn place() -> PathBuf {
    let outer = std::env::temp_dir().join(format!("agent_answers.{}", std::process::id()));
    let _old = fs::remove_dir_all(&outer);
    fs::create_dir_all(outer.join("inner")).expect("a folder");
    outer
}

fn check_copy(words: &Words) {
    let outer = place();
    let copied = words.copy_out(&outer.join("inner/name"), COPY);
    let entries = |folder: PathBuf| -> Vec<_> {
        let names = fs::read_dir(folder).expect("a listing");
        names
            .map(|entry| entry.expect("an entry").file_name())
            .collect()
    };
    assert_eq!(entries(outer.clone()), ["inner"]);
    let names = entries(outer.join("inner"));
    assert!(names.iter().all(|name| *name == "name"), "{names:?}");
    if let Ok(copied) = copied {
        assert!(copied.bytes <= COPY);
    }
    open_up(&outer);
    fs::remove_dir_all(&outer).expect("the folder can be removed");
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let words = Words::new(bytes, usize::from(piece) + 1);
    let frames = frames(bytes);
    let output = words.command(OUTPUT).ok();
    let output = output.map(|it| (it.stdout, it.stderr, it.status));
    let expected = printed(&frames).map(|(out, err, status)| (out, err, status.into()));
    assert_eq!(output, expected);
    assert_eq!(words.tar().ok(), tar(&frames));
    assert_eq!(words.connect().ok(), streamed(bytes));
    assert_eq!(words.control().is_ok(), is_obedient(&frames));
    check_copy(&words);
});
