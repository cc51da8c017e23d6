use std::time::Duration;

use rootfs_store::StoreOptions;
use testbed::{Front, Options, Registry};

use super::*;
use crate::event::Event;
use crate::holding::Holding;
use crate::store::Store;
use crate::testing::{heard, record, store_with_image};
use crate::{Registries, RegistryOptions};

fn open(dir: &std::path::Path, front: &Front) -> Store {
    let mut registries = RegistryOptions::default();
    registries.plain_http.insert(front.host().to_owned());
    let options = StoreOptions {
        registries: Some(Registries::new(registries).unwrap()),
        read_patience: Duration::from_millis(300),
        ..StoreOptions::default()
    };
    Store::open_with(dir, options).unwrap()
}

#[test]
fn disk_in_a_registry_needs_more_than_files() {
    let registry = Registry::start(&Options::default()).unwrap();
    let front = Front::start(registry.host()).unwrap();
    let (folder, store, image) = store_with_image();
    let name = format!("{}/labs/disk:v1", front.host());
    let pusher = open(store.dir(), &front);
    pusher.push(image, name.clone()).start().wait().unwrap();
    let lazy = open(&folder.path().join("lazy"), &front);
    lazy.pull_lazily(name, Some("disk")).start().wait().unwrap();
    let mut holding = Holding::create(&lazy, record("a", image)).unwrap();
    let disk = Arc::clone(holding.open_disks().unwrap().root());
    assert_eq!(disk.host_calls(), HostCalls::Any);
}

#[test]
fn disk_in_a_registry_tells_when_that_is_gone_and_when_it_is_back() {
    let registry = Registry::start(&Options::default()).unwrap();
    let front = Front::start(registry.host()).unwrap();
    let (folder, store, image) = store_with_image();
    let name = format!("{}/labs/disk:v1", front.host());
    let pusher = open(store.dir(), &front);
    pusher.push(image, name.clone()).start().wait().unwrap();
    let lazy = open(&folder.path().join("lazy"), &front);
    lazy.pull_lazily(name, Some("disk")).start().wait().unwrap();
    let disk = lazy.inner().create_disk("d", &image).unwrap();
    let (events, heard) = heard();
    let events = Arc::new(events);
    let disk = RootDisk::new(disk).telling(Device::RootDisk, Arc::clone(&events));
    assert_eq!(disk.trouble(), None);
    front.down();
    let mut buffer = vec![0; 4096];
    for _ in 0..2 {
        disk.read_at(&mut ReadTarget::from_slice(&mut buffer), 0)
            .unwrap_err();
    }
    let trouble = disk.trouble().unwrap();
    assert_eq!(trouble.reads, 2);
    assert!(trouble.message.contains(front.host()), "{trouble:?}");
    assert_eq!(heard.so_far(&events).len(), 1);
    front.up().unwrap();
    disk.read_at(&mut ReadTarget::from_slice(&mut buffer), 0)
        .unwrap();
    let told = heard.so_far(&events);
    assert!(
        matches!(told[..], [Event::DiskReachableAgain { failed: 2, .. }]),
        "{told:?}"
    );
    // No change of the disk failed, so a snapshot can be made of it.
    assert!(disk.failure().is_none());
    drop(folder);
}

#[test]
fn failure_of_the_host_is_told_with_the_disk_and_not_time_and_again() {
    let (_folder, store, image) = store_with_image();
    let (events, heard) = heard();
    let events = Arc::new(events);
    let device = Device::Drive {
        name: "data".into(),
    };
    let disk = store.inner().create_disk("d", &image).unwrap();
    let disk = RootDisk::new(disk).telling(device.clone(), Arc::clone(&events));
    let mut buffer = vec![0; 4096];
    for _ in 0..3 {
        let mut target = ReadTarget::from_slice(&mut buffer);
        disk.read_at(&mut target, disk.size()).unwrap_err();
    }
    let told = heard.so_far(&events);
    let [
        Event::DiskFailed {
            device: of,
            message,
        },
    ] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!(*of, device);
    assert!(message.contains("pass the end"), "{message}");
}
