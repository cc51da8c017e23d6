use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::digest::BlobDigest;
use crate::files::Files;
use crate::registry::{Registries, RegistryOptions, sleep};

/// Much longer than it takes to see the end of a transfer, even on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// Downloads that no registry is asked for.
fn downloads(count: u8) -> (tempfile::TempDir, Vec<Arc<Download>>) {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path(), Files::default()).unwrap();
    let registries = Registries::new(RegistryOptions::default()).unwrap();
    let made = (0..count).map(|number| {
        let repository = registries.repository("registry.invalid", "some/image");
        let digest = BlobDigest::of(&[number]);
        Arc::new(Download::new(repository, digest, 1, &blobs, dir.path()))
    });
    let made = made.collect();
    (dir, made)
}

fn failure(text: &str) -> Failure {
    Failure::Io(std::io::Error::other(text.to_owned()))
}

fn read(download: &Download) -> String {
    download.read_at(&mut [0], 0).unwrap_err().to_string()
}

#[test]
fn failure_of_one_is_what_readers_of_all_are_told() {
    let (_dir, made) = downloads(9);
    let downloads: Vec<_> = made.iter().collect();
    let together = Together::new(&downloads);
    let begun = std::time::Instant::now();
    let fetch = |download: &Download| match std::ptr::eq(download, &*made[1]) {
        true => Err(failure("gone")),
        false => {
            sleep(LONG);
            Err(failure("cut short"))
        }
    };
    let told: BTreeSet<String> = thread::scope(|scope| {
        (0..3).for_each(|_| drop(scope.spawn(|| together.run(fetch))));
        made.iter().map(|download| read(download)).collect()
    });
    assert_eq!(told, BTreeSet::from(["gone".to_owned()]));
    assert!(begun.elapsed() < LONG / 4);
    assert!(made.iter().all(|download| download.has_failed()));
}

#[test]
fn panic_leaves_no_reader_waiting_and_goes_on_to_the_caller() {
    let (_dir, made) = downloads(4);
    let downloads: Vec<_> = made.iter().collect();
    let together = Together::new(&downloads);
    let run = AssertUnwindSafe(|| together.run(|_| panic!("as a subscriber of events may")));
    let panic = catch_unwind(run).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"as a subscriber of events may"));
    assert!(
        made.iter()
            .all(|download| read(download).contains("nobody waits"))
    );
}

#[test]
fn nothing_is_begun_after_the_work_has_ended() {
    let (_dir, made) = downloads(3);
    let downloads: Vec<_> = made.iter().collect();
    let together = Together::new(&downloads);
    drop(together.wanted.ends());
    let begun = Mutex::new(0);
    together.run(|_| {
        *begun.lock().unwrap() += 1;
        Ok(())
    });
    assert_eq!(begun.into_inner().unwrap(), 0);
    assert!(!made.iter().any(|download| download.has_failed()));
}
