//! What a real guest's owner hears.

use std::sync::{Arc, Mutex};

use vmm_core::{CrashKind, Event, Exit, Vm, VmConfig};

use super::machine::{Screen, config, end};

/// The events of a VM so far.
#[derive(Clone, Default)]
pub(crate) struct Diary(Arc<Mutex<Vec<Event>>>);

impl Diary {
    pub(crate) fn of(config: &mut VmConfig) -> Self {
        let diary = Self::default();
        let writer = diary.clone();
        config.on_event = Some(Box::new(move |event| writer.0.lock().unwrap().push(event)));
        diary
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }
}

#[test]
fn an_init_marks_the_end_of_its_boot() {
    let screen = Screen::default();
    let mut config = config("port-write 0x604 1; poweroff -f", &screen);
    let diary = Diary::of(&mut config);
    let vm = Vm::start(config).unwrap();
    assert!(matches!(end(&vm, &screen), Exit::PowerOff));
    let events = diary.events();
    let [Event::Booted { after }, Event::PowerOffAsked] = events[..] else {
        panic!("{events:?}\n{}", screen.text());
    };
    println!("booted after {after:?}");
    assert_eq!(vm.boot_time(), Some(after));
}

#[test]
fn a_kernel_that_panics_tells_so() {
    let screen = Screen::default();
    let mut config = config("load pvpanic pvpanic-mmio; exit 1", &screen);
    let diary = Diary::of(&mut config);
    let vm = Vm::start(config).unwrap();
    assert!(matches!(end(&vm, &screen), Exit::Reboot));
    let events = diary.events();
    let [
        Event::Crashed {
            kind: CrashKind::Panicked,
        },
        Event::RebootAsked,
    ] = events[..]
    else {
        panic!("{events:?}\n{}", screen.text());
    };
}
