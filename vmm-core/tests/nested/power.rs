//! The power button, and the watchdog.

use vmm_core::{Event, Exit, Vm};

use super::events::Diary;
use super::machine::{Screen, config, end};

#[test]
fn a_guest_powers_off_when_its_button_is_pressed() {
    let screen = Screen::default();
    let config = config(
        "load evdev button\n\
         echo listening; head -c 24 /dev/input/event0 >/dev/null; echo pressed; poweroff -f",
        &screen,
    );
    let vm = Vm::start(config).unwrap();
    // Before anybody listens, which must not break what comes later.
    vm.press_power_button();
    screen.wait_for("listening\n");
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(!screen.text().contains("pressed"));
    vm.press_power_button();
    assert!(matches!(end(&vm, &screen), Exit::PowerOff));
    assert!(screen.text().contains("pressed\n"));
    vm.press_power_button();
}

#[test]
fn a_watchdog_that_is_kept_alive_does_nothing_and_one_that_is_not_resets() {
    let screen = Screen::default();
    let mut config = config(
        "load watchdog wdat_wdt\n\
         watchdog -T 5 -t 1 /dev/watchdog; sleep 9; echo alive\n\
         killall -9 watchdog; echo killed; sleep 1000",
        &screen,
    );
    config.watchdog = true;
    let diary = Diary::of(&mut config);
    let vm = Vm::start(config).unwrap();
    screen.wait_for("alive\n");
    assert!(diary.events().is_empty());
    screen.wait_for("killed\n");
    assert!(matches!(end(&vm, &screen), Exit::Reboot));
    let events = diary.events();
    assert!(matches!(events[..], [Event::WatchdogExpired]), "{events:?}");
}

#[test]
fn a_watchdog_that_is_closed_in_order_does_not_reset() {
    let screen = Screen::default();
    let mut config = config(
        "load watchdog wdat_wdt\n\
         (echo; sleep 1; printf V) >/dev/watchdog\n\
         watchdog -T 2 -t 1 /dev/watchdog; sleep 1; killall watchdog\n\
         sleep 5; echo still here; poweroff -f",
        &screen,
    );
    config.watchdog = true;
    let diary = Diary::of(&mut config);
    let vm = Vm::start(config).unwrap();
    assert!(
        matches!(end(&vm, &screen), Exit::PowerOff),
        "{}",
        screen.text()
    );
    assert!(screen.text().contains("still here\n"));
    assert!(matches!(diary.events()[..], [Event::PowerOffAsked]));
}
